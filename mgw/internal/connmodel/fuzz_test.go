package connmodel

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// FuzzApply gives any two actions that decode to a context with both sides: no panic, texts of errors bounded and printable, and
// media is what the values say. Seeds are the actions of the scripts.
func FuzzApply(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, b := range blocks(string(raw)) {
			act := &iqv1.Action{}
			text, isAction := strings.CutPrefix(b.input, "action\n")
			if !isAction || prototext.Unmarshal([]byte(text), act) != nil {
				continue
			}
			wire, err := proto.Marshal(act)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(wire, wire)
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		g := &generator{t: t, media: newFakeMedia(t), cx: New("m.b.7", 7)}
		for _, wire := range [][]byte{first, second} {
			act := &iqv1.Action{}
			if proto.Unmarshal(wire, act) != nil {
				return
			}
			rep := g.cx.Apply(testEnv(), act, g.media.perform)
			if text := rep.GetError().GetText(); len(text) > maxErrorText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("error text %q", text)
			}
			if _, err := proto.Marshal(rep); err != nil {
				t.Fatalf("reply cannot be encoded: %v", err)
			}
			g.mediaFollowsValues(act)
		}
	})
}
