package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestDelayAtEveryPhaseOfTheBeat: on a quiet network, wherever its packets fall between two beats, a stream waits for what its redundancy or the sight of a
// loss needs, a packet's length and a millisecond or a packet's length, and for the beat; no more. Nothing is concealed, cut or stretched for it.
func TestDelayAtEveryPhaseOfTheBeat(t *testing.T) {
	g722 := codec.Codec{Name: "G722", PT: 9, ClockRate: 8000, Channels: 1}
	wide := codec.Codec{Name: "AMR-WB", PT: 104, ClockRate: 16000, Channels: 1}
	for _, tc := range []struct {
		name     string
		from, to codec.Codec
		halved   uint8
		every    int64 // ms between phases
		least    time.Duration
		mean     time.Duration
	}{
		{"Opus to AMR-WB", opus, wide, 0, 1, 21 * time.Millisecond, 24 * time.Millisecond},
		{"Opus to PCMA", opus, pcma, 0, 3, 21 * time.Millisecond, 24 * time.Millisecond},
		{"Opus to G.722", opus, g722, 0, 3, 21 * time.Millisecond, 24 * time.Millisecond},
		{"Opus to PCMA under load", opus, pcma, 2, 3, 21 * time.Millisecond, 22 * time.Millisecond},
		{"PCMA to Opus", pcma, opus, 0, 3, 20 * time.Millisecond, 23 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			transcodetest.Need(t, tc.from, tc.to)
			var sum, worst time.Duration
			n := 0
			for phase := int64(0); phase < 20; phase += tc.every {
				s := quietNetwork(t, tc.from, tc.to, tc.halved, phase*milli+milli/4)
				d := s.Jitter.Delay
				if beat := time.Duration(frameBeat >> tc.halved); d < tc.least || d >= tc.least+beat {
					t.Errorf("%d ms after a beat: a delay of %v", phase, d)
				}
				if s.Jitter.Lost+s.Jitter.Late+s.Concealed+s.Shortened+s.Stretched > 0 || s.Shifted > 1 {
					t.Errorf("%d ms after a beat: %+v", phase, s)
				}
				sum, worst, n = sum+d, max(worst, d), n+1
			}
			if mean := sum / time.Duration(n); mean > tc.mean {
				t.Errorf("%v on average", mean)
			} else {
				t.Logf("%v on average, at worst %v", mean, worst)
			}
		})
	}
}

// quietNetwork has a talker send for 3 s, each packet by at most 0.2 ms late and the first one phase after a beat, to a worker that is always on time, and
// returns the figures of its transcoder.
func quietNetwork(t *testing.T, from, to codec.Codec, halved uint8, phase int64) audio.Stats {
	t.Helper()
	r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{from}, from, codec.Codec{}), both(SendRecv, []codec.Codec{to}, to, codec.Codec{}))
	if err := r.c.core.setRemote(0, CoreRemote{RTP: sipAddr}); err != nil {
		t.Fatal(err)
	}
	r.w.load.halved = halved
	x := newTone(t, from, 500, 9)
	for k := range int64(150) {
		at := int64(time.Second) + phase + k*20*milli + k*7%5*milli/20
		for due, ok := r.w.clock.next(); ok && due < at; due, ok = r.w.clock.next() {
			r.w.now = due
			r.w.clock.heap[0].of.tick(due)
			r.w.flush()
		}
		r.w.now = at
		r.a.media(at, x.next())
	}
	return r.a.to.active.dir.Stats()
}
