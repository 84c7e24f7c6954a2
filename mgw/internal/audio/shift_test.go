package audio

import (
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
)

// The frame clock takes up little of what the network does, so that a receiver has little to do for it: where jitter begins, most of the time that is needed
// is put into the audio, and what a stall of the network leaves behind is cut out.
func TestFrameClockMovesLittle(t *testing.T) {
	transcodetest.Need(t, opus)
	for _, tc := range []struct {
		name  string
		late  func(r *rand.Rand, at int64) int64
		later int64 // ms within a second
		total int64 // ms to either side
	}{
		{"jitter begins", func(r *rand.Rand, at int64) int64 {
			if at < 1200*ms {
				return 0
			}
			return r.Int64N(70 * ms)
		}, 15, 60},
		{"stall", func(_ *rand.Rand, at int64) int64 { return max(0, min(300*ms, 4*int64(time.Second)-at)) % (300 * ms) }, 15, 35},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := source(t, opus, 16000, voice(16000, 12*16000), 0)
			r := rand.New(rand.NewPCG(3, 3))
			for i := range in {
				in[i].at += tc.late(r, in[i].at)
			}
			sort.SliceStable(in, func(i, j int) bool { return in[i].at < in[j].at })
			d := direction(t, Config{Src: opus, Dst: pcma})
			h := listen(t, d, in, 8000, 5*ms, 13*int64(time.Second))
			moved := make([]int64, len(h.times)) // ms by which frames came later than the first, against their timestamps
			for i, at := range h.times {
				moved[i] = (at-h.times[0])/ms - int64(h.frames[i].TS-h.frames[0].TS)/8
				if moved[i] > tc.total || moved[i] < -tc.total {
					t.Fatalf("frame %d came %d ms later than its timestamp says", i, moved[i])
				}
				if from := max(0, i-50); moved[i]-moved[from] > tc.later {
					t.Fatalf("frame %d came %d ms later than its timestamp says, a second before it was %d", i, moved[i], moved[from])
				}
			}
			s := d.Stats()
			t.Logf("%+v", s)
			if s.Stretched+s.Shortened == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// What a stall of the network leaves behind, more than a frame, is cut out of the audio and is no reason to move the frame clock, whose moves are few and for
// what is left over; it would only be handed on to the receiver as jitter.
func TestExcessIsCutBeforeTheClockMoves(t *testing.T) {
	const stall, until = 200, 4000 // ms
	in := source(t, pcma, 8000, tone(220, 8000, 8000, 8*8000), 0)
	for i := range in {
		if at := in[i].at / ms; at >= until-stall && at < until {
			in[i].at = until*ms + int64(i%7)
		}
	}
	d := direction(t, Config{Src: pcma, Dst: pcmu})
	next, cuts, out := 0, uint64(0), make([]byte, 1500)
	before := uint64(0)
	for now := int64(0); now < 6000*ms; now += 5 * ms {
		for next < len(in) && in[next].at <= now {
			d.Push(in[next].at, in[next].pkt)
			next++
		}
		if now < until*ms {
			before = d.Stats().Shifted
		}
		for d.NextTick() <= now {
			d.Tick(now, out)
		}
		s := d.Stats()
		if excess := s.Jitter.Delay - s.Jitter.Target; now > until*ms && s.Shifted > before && cuts == 0 {
			t.Fatalf("the clock is moved %d ms after the stall, %v too much delay is left and nothing is cut", now/ms-until, excess)
		}
		cuts = s.Shortened
	}
	s := d.Stats()
	t.Logf("%+v", s)
	if excess := s.Jitter.Delay - s.Jitter.Target; cuts < 3 || excess > 25*time.Millisecond {
		t.Errorf("cut %d times, %v too much delay is left", cuts, excess)
	}
}
