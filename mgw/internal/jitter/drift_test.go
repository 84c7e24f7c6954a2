package jitter

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A source whose clock is slow takes nothing of a packet's length of delay in minutes, though a quiet network's target is less: a loss would be told too late,
// and the first jitter be heard.
func TestDriftLeavesAPacketsLength(t *testing.T) {
	const packets, onset = 4300, 4000
	for _, fec := range []bool{false, true} {
		seen := 0
		for phase := 0; phase < 20; phase += 3 {
			in := trace{packets: packets, ptime: 20, phase: phase, drift: 200e-6}.arrivals(1)
			r := rand.New(rand.NewPCG(uint64(phase), 1))
			for i := onset; i < packets; i++ {
				in[i].at += r.Int64N(15 * ms)
			}
			o := playBy(t, New(Config{ClockRate: 8000, FEC: fec}), in, true)
			if o.scaled > 0 { // this clock began at a time of its own and had too much: what a cut leaves over of a frame is not waited for
				continue
			}
			seen++
			if o.least < 19*time.Millisecond || o.most > 20*time.Millisecond+2*ShiftStep || o.moved > 6 { // 16 ms of drift until the onset
				t.Errorf("redundancy %v, phase %d ms: a delay of %v to %v, moved %d times", fec, phase, o.least, o.most, o.moved)
			}
			if waits := o.kinds[Wait]; waits > 5 || o.stats.Lost+o.stats.Late > 0 { // after the last packet
				t.Errorf("redundancy %v, phase %d ms: %d times nothing was there, %+v", fec, phase, waits, o.stats)
			}
		}
		if seen < 6 {
			t.Errorf("redundancy %v: %d phases of 7 seen", fec, seen)
		}
	}
}

// What Adjust would have cut again is not given.
func TestShiftGivesNothingToBeCut(t *testing.T) {
	b := New(Config{ClockRate: 8000})
	b.play.running, b.delay.weight, b.short = true, sure, sure
	step := 8 * int64(ShiftStep) / ms
	for _, tc := range []struct {
		excess int64
		want   int
	}{{-160, -1}, {8*slackMS - step, -1}, {8*slackMS - step + 1, 0}, {8 * slackMS, 0}} {
		if b.excess = tc.excess; b.Shift(160) != tc.want {
			t.Errorf("an excess of %d ticks: not %d", tc.excess, tc.want)
		}
	}
}
