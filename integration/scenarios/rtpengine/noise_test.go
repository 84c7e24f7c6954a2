package rtpengine

import (
	"fmt"
	"math"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestR3551_RtpengineMakesComfortNoise: the gateway offers comfort noise beside G.711 and rtpengine takes it. When the users fall silent each of the two
// sends it instead of audio; the browser hears rtpengine's at its level.
func TestR3551_RtpengineMakesComfortNoise(t *testing.T) {
	const noise, enough = 40, 3 // -dBov of what rtpengine says, packets
	w := newWorld(t, "off", setup{
		codecs: []string{"opus"}, pauses: true, mgc: []string{"--media.core_codecs=PCMU", "--media.dtx=core"},
		engine: []string{"--silence-detect=1", fmt.Sprintf("--cn-payload=%d", noise)},
	})
	w.begin(t, "")
	wire := newWire(t)
	w.mu.Lock()
	w.coding = &coding{codec: codec.Codec{Name: codec.PCMU, ClockRate: 8000}, noise: true, wire: wire}
	w.mu.Unlock()
	said := make([]int16, tone.Rate)
	tone.NewSine(browserHz, level).Fill(said)
	call, err := w.alice.Call(w.within(), "sip:bob@"+domain, &tone.Clip{PCM: said})
	if err != nil {
		t.Fatal(err)
	}
	if err := call.WaitAudio(w.within(), phoneHz); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.phone.Media().SetSource(tone.Silence{})
	w.mu.Unlock()
	scenario.Until(w.within(), t, "comfort noise both ways, and the browser to hear it at its level", func() (bool, any) {
		out, in, last := wire.went(toPhone), wire.went(toGateway), call.Result().Last
		return out.noise > enough && in.noise > enough && math.Abs(last.Total+noise) < 3, []any{out, in, last}
	})
	for d, name := range []string{"to rtpengine", "to the gateway"} {
		if got := wire.went(way(d)); len(got.faults) > 0 || got.audio == 0 {
			t.Errorf("%s: %d packets of audio, %q", name, got.audio, got.faults)
		}
	}
	if err := call.Hangup(w.within()); err != nil {
		t.Error(err)
	}
}
