package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestR4733_TonesForAPeerWithoutEvents: a key of the browser is heard by a SIP user that has no telephone events, relayed or transcoded.
func TestR4733_TonesForAPeerWithoutEvents(t *testing.T) {
	for name, c := range map[string]struct {
		spec        callSpec
		audio, keys codec.Codec
	}{
		"relay": {relaySpec(), pcma, evBrow}, "transcode": {transcodeSpec(), opus, ev48},
	} {
		t.Run(name, func(t *testing.T) {
			transcodetest.Need(t, c.audio)
			c.spec.core = both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})
			x := newCall(t, c.spec)
			talk := newTone(t, c.audio, 500, 0xbb)
			for range 5 {
				x.b.send(talk.next())
			}
			last := x.s.read()
			seq := talk.seq
			press(x.b.send, c.keys, 0xbb, &seq, uint32(seq)*c.audio.ClockRate/50, 5)
			e := newEar(t, pcma)
			loud := false // both tones of the key in the last 50 ms
			for range 60 {
				p := x.s.read()
				if p.PT() != pcma.PT || p.SSRC() != x.c.Local().SSRC || p.Seq() != last.Seq()+1 {
					t.Fatalf("payload type %d, SSRC %x, number %d after %d", p.PT(), p.SSRC(), p.Seq(), last.Seq())
				}
				last = p
				e.hear(p)
				if n := len(e.pcm); n >= 400 {
					row, column := goertzel(e.pcm[n-400:], 770), goertzel(e.pcm[n-400:], 1336)
					if row > 0.25 && column > 0.4 && row+column > 0.9 {
						loud = true
						break
					}
				}
			}
			if !loud {
				t.Error("no tone of 770 and 1336 Hz")
			}
			if ev := x.ev.wait(t, x.a, DTMF, 1); ev.Digit != '5' {
				t.Errorf("detected %q", ev.Digit)
			}
		})
	}
}

// TestTonesAreABriefDetour: relayed audio goes through the transcoder while keys are pressed and a while after, and then not any more; what
// is not the transcoder's is refused.
func TestTonesAreABriefDetour(t *testing.T) {
	access := both(SendRecv, []codec.Codec{pcma, evBrow, ev48}, pcma, evBrow)
	r := newRig(t, srtp.AES128GCM, access, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
	seq := uint16(0)
	send := func(pt uint8, n int, at int64) []byte {
		seq++
		b := make([]byte, rtp.HeaderLen+n, bufferSize)
		rtp.PutHeader(b, rtp.Header{PT: pt, Seq: seq, TS: uint32(at) * 8, SSRC: 77})
		if n == dtmf.PayloadLen {
			dtmf.Put(b[rtp.HeaderLen:], dtmf.Block{Code: 1, End: true, Duration: 800})
		}
		return r.a.media(at*int64(time.Millisecond), b)
	}
	if send(pcma.PT, 160, 1000) == nil || r.a.to.active != nil {
		t.Fatal("audio is not relayed")
	}
	if send(ev48.PT, 4, 1300) != nil || r.a.to.active != nil {
		t.Error("events of another clock are played")
	}
	if send(evBrow.PT, 4, 1400) != nil || r.a.to.active == nil {
		t.Fatal("the event is not played")
	}
	for at := int64(1420); at < 3380; at += 20 {
		if send(pcma.PT, 160, at) != nil || r.a.to.active == nil {
			t.Fatalf("at %d ms: relayed again", at)
		}
	}
	if send(pcma.PT, 160, 3420) == nil || r.a.to.active != nil {
		t.Error("not relayed again")
	}
}
