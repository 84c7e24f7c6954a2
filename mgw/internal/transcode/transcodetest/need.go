// Package transcodetest lets tests say which codecs they need. Floor 2, for tests only.
package transcodetest

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Need skips t where this build cannot code one of codecs: one without cgo, or with a tag that leaves a library out. A full build codes
// them all, or the test fails: nothing is skipped there.
func Need(t testing.TB, codecs ...codec.Codec) {
	t.Helper()
	for _, c := range codecs {
		err := transcode.Unsupported(c)
		switch {
		case err == nil:
		case full:
			t.Fatal(err)
		default:
			t.Skip(err)
		}
	}
}
