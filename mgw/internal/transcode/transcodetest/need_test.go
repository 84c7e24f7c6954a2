package transcodetest

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestFullBuildHasEveryCodec: many tests leave out what the build cannot code; a build that should be able to all must not get through by that.
func TestFullBuildHasEveryCodec(t *testing.T) {
	Need(t, codec.Codec{Name: codec.Opus, ClockRate: 48000, Channels: 2}, codec.Codec{Name: codec.AMRWB, ClockRate: 16000, Channels: 1},
		codec.Codec{Name: codec.AMR, ClockRate: 8000, Channels: 1})
}
