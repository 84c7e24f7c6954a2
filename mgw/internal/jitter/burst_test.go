package jitter

import (
	"slices"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// TestRedundancyServesAfterBursts: packets lost in a row, few or more than the buffer waits for, cost the redundancy of single ones that are lost later
// nothing: each is saved, from any phase of the frame clock, and the delay is soon what it was, without audio cut or stretched for it. Of the burst itself
// the last packet is saved, whose redundancy comes with the next one.
func TestRedundancyServesAfterBursts(t *testing.T) {
	const ptime, first, every = 20, 400, 37 // ms, packets
	for n := 2; n <= 10; n++ {
		for phase := 0; phase < 20; phase += race.Fewer(1, 7) {
			for _, c := range []struct {
				moves  bool
				jitter int
			}{{false, 0}, {true, 0}, {true, 20}} {
				tr := trace{packets: 1500, ptime: ptime, phase: phase, jitter: c.jitter}
				lost := map[int]bool{}
				without := func() []arrival {
					return slices.DeleteFunc(tr.arrivals(uint64(phase)), func(a arrival) bool { return lost[int(a.p.Payload[0])<<8|int(a.p.Payload[1])] })
				}
				var single, last []int
				for i := first; i+3*every < tr.packets; i += 2 * every {
					for k := 12; k < 2*every; k += 10 { // the first of them soon after the burst
						lost[i+k], single = true, append(single, i+k)
					}
				}
				calm := playBy(t, New(Config{ClockRate: 8000, FEC: true}), without(), c.moves)
				for i := first; i+3*every < tr.packets; i += 2 * every {
					for k := range n {
						lost[i+k] = true
					}
					last = append(last, i+n-1)
				}
				o := playBy(t, New(Config{ClockRate: 8000, FEC: true}), without(), c.moves)
				missed := func(of []int) (out []int) {
					for _, i := range of {
						if !o.saved[i] {
							out = append(out, i)
						}
					}
					return out
				}
				if m := missed(single); len(m) > 0 {
					t.Errorf("bursts of %d, phase %d ms, %+v: %d of %d single losses are not saved: %v", n, phase, c, len(m), len(single), m)
				}
				if m := missed(last); len(m) > 0 {
					t.Errorf("bursts of %d, phase %d ms, %+v: the last of %d of %d bursts is not saved", n, phase, c, len(m), len(last))
				}
				if o.delay > calm.delay+2*ShiftStep || o.most > calm.most+2*ShiftStep || o.scaled > calm.scaled || o.moved > calm.moved+2 {
					t.Errorf("bursts of %d, phase %d ms, %+v: a delay of %v, at most %v, cut or stretched %d times, moved %d times; without %v, %v, %d, %d",
						n, phase, c, o.delay, o.most, o.scaled, o.moved, calm.delay, calm.most, calm.scaled, calm.moved)
				}
			}
		}
	}
}

// TestPlayoutBeginsWithWhatWasLost: where packets are missing and their time is, so not after a pause of the source, and never before what was played.
func TestPlayoutBeginsWithWhatWasLost(t *testing.T) {
	for _, c := range []struct {
		fec          bool
		missing, gap int // packets, ms
		want         bool
	}{
		{true, 1, 20, true}, {true, 6, 120, true}, {true, 1, 40, true}, {true, 1, 41, false}, {true, 1, 500, false}, {true, 1, 10, false}, {true, 0, 0, false},
		{true, 0, 20, false}, {true, 2, -20, false}, {false, 1, 20, false},
	} {
		b := New(Config{ClockRate: 8000, FEC: c.fec})
		b.play.ts = 0xfffffff0
		if got := b.saves(&slot{ts: b.play.ts + uint32(c.gap*8)}, c.missing); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestOneLostPacketIsLostWhole: a gap longer than the packet that is missing is not taken for the rest of one.
func TestOneLostPacketIsLostWhole(t *testing.T) {
	b := New(Config{ClockRate: 8000, FEC: true, Min: 100 * time.Millisecond, Start: 100 * time.Millisecond})
	for i := range 60 {
		now, ts := int64(i+1)*20*ms, uint32(i*160)
		if i > 20 {
			ts += 40
		}
		if i != 20 {
			b.Push(now, Packet{SSRC: 1, Seq: uint16(i), TS: ts, Dur: 160, Payload: []byte{0, byte(i)}})
		}
		if r := b.Pop(now); r.Kind == Lost && r.Dur != 160 {
			t.Errorf("%d ticks of a packet of 160 are lost", r.Dur)
		}
	}
	if s := b.Stats(); s.Lost != 1 {
		t.Errorf("%+v", s)
	}
}
