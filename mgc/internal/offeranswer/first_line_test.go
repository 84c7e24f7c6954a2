package offeranswer

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// TestR3264_8_2_FirstLineThatIsOffStaysAsItWas: what was agreed on the first line of a phone that has given it up is not negotiated anew with the other line,
// in answers or in offers of ours, and the media gateway is told of nothing else for it.
func TestR3264_8_2_FirstLineThatIsOffStaysAsItWas(t *testing.T) {
	s := callWith(t, severalStreams(), "phone offers 8,101 audio=2", "browser answers chromium_two_audio_answer")
	told := func() string { return list(s.m.ModifyDescriptor(Core, Open).GetStreams()[0].GetLocal()) }
	was, takes := s.m.Lines[Core].Stream, told()
	for _, x := range []struct {
		what  string
		steps []string
	}{
		{"our answer", []string{"phone offers 8,101 audio=2 1.port=0", "browser answers chromium_two_audio_answer 1.dir=inactive"}},
		{"our offer", []string{"browser offers chromium_two_audio_answer setup=actpass 1.dir=inactive 2.dir=sendonly", "phone answers 8,101 audio=2 1.port=0 2.dir=recvonly"}},
		{"our next answer", []string{"phone offers 8,101 audio=2 1.port=0", "browser answers chromium_two_audio_answer 1.dir=inactive"}},
	} {
		for _, step := range x.steps {
			s.step(strings.Fields(step))
		}
		if got := livePorts(s.said(Core)); !slices.Equal(got, []bool{false, true}) {
			t.Errorf("%s says %v", x.what, got)
		}
		l := &s.m.Lines[Core].Stream
		if !l.Off || l.Dir != sdp.DirUnset {
			t.Errorf("%s: off %v, a direction of %v is agreed", x.what, l.Off, l.Dir)
		}
		if !slices.Equal(l.Ours, was.Ours) || !slices.Equal(l.Bound, was.Bound) || l.Chosen != was.Chosen || l.Event != was.Event || told() != takes {
			t.Errorf("%s: codecs %v, %v and %v, the media gateway takes %s; were %v, %v and %v, %s", x.what, l.Ours, l.Chosen, l.Event, told(), was.Ours, was.Chosen, was.Event, takes)
		}
	}
}
