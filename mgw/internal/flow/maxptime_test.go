package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// A peer that takes no packets of the usual length gets shorter ones of the codec that both sides have, the other direction is relayed; one that takes the usual
// length, or has a codec without shorter frames, gets what came.
func TestCOD07_RelayNeverExceedsTheLongestPacket(t *testing.T) {
	for _, c := range []struct {
		most time.Duration
		size int // octets of payload of PCMA
		why  string
	}{{10 * time.Millisecond, 80, whyShorter}, {15 * time.Millisecond, 80, whyShorter}, {0, 160, whyShared}, {20 * time.Millisecond, 160, whyShared}, {150 * time.Millisecond, 160, whyShared}} {
		t.Run(c.most.String(), func(t *testing.T) {
			spec := transcodeSpec()
			spec.access.Recv, spec.access.Send = []codec.Codec{pcma}, pcma
			spec.core.Recv, spec.core.Send, spec.core.MaxPtime = []codec.Codec{pcma}, pcma, c.most
			spec.core.Ptime = Ptime(min(c.most, 20*time.Millisecond))
			if c.most == 0 {
				spec.core.Ptime = 0
			}
			x := newCall(t, spec)
			b, s := newTone(t, pcma, 1000, 0xbb), newTone(t, pcma, 600, 0xcc)
			for range 5 {
				x.b.send(b.next())
			}
			for range 4 {
				if p := x.s.read(); p.PT() != 8 || len(p.Payload()) != c.size {
					t.Errorf("a packet of type %d with %d octets, want %d", p.PT(), len(p.Payload()), c.size)
				}
			}
			if got := x.a.Stats().Path; got.Reason != c.why {
				t.Errorf("path to the core: %+v", got)
			}
			x.s.send(x.c.Local().RTP, s.next())
			if p := x.b.read(); len(p.Payload()) != 160 {
				t.Errorf("%d octets to the browser", len(p.Payload()))
			}
			if got := x.c.Stats().Path; got.Kind != PathRelay {
				t.Errorf("path to the browser: %+v", got)
			}
		})
	}
	for _, send := range []codec.Codec{amrWB(97, ""), evs} {
		if s := (&Settings{Send: send, MaxPtime: 10 * time.Millisecond, Ptime: 10 * time.Millisecond}); s.shortens(send) {
			t.Errorf("%s has no frames of 10 ms", send.Name)
		}
	}
	if (&Settings{MaxPtime: -time.Millisecond}).check() == nil {
		t.Error("a negative length is taken")
	}
}
