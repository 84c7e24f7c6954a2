package jitter

import (
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const ms = int64(1_000_000)

// trace describes a network and a source; times in ms.
type trace struct {
	name    string
	packets int
	ptime   int
	loss    float64
	jitter  int     // uniform 0..jitter
	spike   int     // one packet in 40 is late by that much
	reorder float64 // share held back by one and a half packets
	dup     float64
	drift   float64 // source clock against ours, parts
	burst   int     // so many packets in a row are lost every second
	stall   int     // the network stops once for so long, then delivers all
	phase   int     // arrivals against the frame clock, 0 to 19
	dtx     bool    // pauses of 300 ms each second
}

// arrival is one packet on its way.
type arrival struct {
	at int64
	p  Packet
}

// make lays out all arrivals in order. The payload tells the packet's index.
func (tr trace) arrivals(seed uint64) []arrival {
	r := rand.New(rand.NewPCG(seed, 9))
	var out []arrival
	dur := uint32(tr.ptime * 8)
	seq := uint16(65000)
	for i := range tr.packets {
		ts := uint32(0xfffff000) + uint32(i)*dur
		if tr.dtx && i*tr.ptime%1000 >= 700 {
			continue
		}
		seq++
		if r.Float64() < tr.loss || i%(1000/tr.ptime) > 1000/tr.ptime-1-tr.burst {
			continue
		}
		at := int64(float64(int64(i*tr.ptime)*ms)*(1+tr.drift)) + int64(1000+tr.phase)*ms
		if tr.jitter > 0 {
			at += r.Int64N(int64(tr.jitter) * ms)
		}
		if tr.spike > 0 && r.IntN(40) == 0 {
			at += int64(tr.spike) * ms
		}
		if r.Float64() < tr.reorder {
			at += int64(tr.ptime) * ms * 3 / 2
		}
		if tr.stall > 0 {
			from := int64(tr.packets*tr.ptime/2)*ms + 1000*ms
			if at >= from && at < from+int64(tr.stall)*ms {
				at = from + int64(tr.stall)*ms + int64(len(out)%7)
			}
		}
		p := Packet{SSRC: 1, Seq: seq, TS: ts, Dur: dur, Payload: []byte{byte(i >> 8), byte(i), 1}}
		out = append(out, arrival{at, p})
		if r.Float64() < tr.dup {
			out = append(out, arrival{at + r.Int64N(30*ms), p})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].at < out[j].at })
	return out
}

// outcome is what a listener got.
type outcome struct {
	kinds   map[Kind]int
	frames  int
	fec     int
	saved   map[int]bool  // packets whose redundancy was handed out
	scaled  int           // times that the audio was shortened or stretched
	moved   int           // times that the frame clock was
	least   time.Duration // the delay, over the second half
	most    time.Duration
	maxWait time.Duration // longest time between arrival and playout
	delay   time.Duration // between arrival schedule and playout at the end
	stats   Stats
}

// play runs a trace through a buffer with a 20 ms frame clock, checking the invariants at every step.
func play(t *testing.T, b *Buffer, in []arrival) outcome { return playBy(t, b, in, false) }

// playBy is play; moves: with a frame clock that follows the buffer, as far as it is needed.
func playBy(t *testing.T, b *Buffer, in []arrival, moves bool) outcome {
	t.Helper()
	o := outcome{kinds: map[Kind]int{}, saved: map[int]bool{}, least: time.Hour}
	since, step := 0, int64(0)
	before, kind := Empty, Empty
	came := map[int]int64{}
	lastIndex, lastTS, first := -1, uint32(0), true
	next := 0
	owed := int64(0) // ticks decoded beyond the clock
	for now := int64(990) * ms; next < len(in) || now < in[len(in)-1].at+400*ms; now += step {
		step = 20 * ms
		for next < len(in) && in[next].at <= now {
			p := in[next].p
			i := int(p.Payload[0])<<8 | int(p.Payload[1])
			if v := b.Push(in[next].at, p); v == Kept {
				came[i] = in[next].at
			}
			next++
		}
		// The excess of delay is worked off as a direction would, a pitch period at a time.
		d, by := b.Adjust(now, uint32(max(owed, 0)), 160), 0
		if since++; moves && d <= 0 && since >= 4 {
			by = b.Shift(160)
		}
		if by != 0 {
			step -= int64(by) * int64(ShiftStep)
			b.Adjusted(int64(by) * 8 * int64(ShiftStep) / ms)
			o.moved++
			since = 0
		} else if d > 0 && b.Ready() {
			n := min(d, 80)
			owed -= n
			b.Adjusted(n)
			o.scaled++
		} else if d < 0 {
			n := min(-d, 80)
			owed += n
			b.Adjusted(-n)
			o.scaled++
		}
		for owed < 160 {
			r := b.Pop(now)
			if r.Dur == 0 {
				t.Fatal("a result without duration would never end the frame")
			}
			owed += int64(r.Dur)
			o.kinds[r.Kind]++
			before, kind = kind, r.Kind
			if r.Kind == Frame {
				i := int(r.Payload[0])<<8 | int(r.Payload[1])
				if i <= lastIndex {
					t.Fatalf("packet %d after %d: order or uniqueness broken", i, lastIndex)
				}
				if !first && rtp.TSDiff(r.TS, lastTS) <= 0 {
					t.Fatalf("timestamp goes back at packet %d", i)
				}
				lastIndex, lastTS, first = i, r.TS, false
				o.frames++
				o.delay = b.Stats().Delay
				if before == Frame && next > len(in)/2 && next < len(in) { // else part of it is of a gap that is about to be left out
					o.least, o.most = min(o.least, o.delay), max(o.most, o.delay)
				}
				o.maxWait = max(o.maxWait, time.Duration(now-came[i]))
			}
			if r.Kind == Lost && r.FEC != nil {
				i := int(r.FEC[0])<<8 | int(r.FEC[1])
				if i <= lastIndex+1 {
					t.Fatalf("redundancy from packet %d for the gap after %d", i, lastIndex)
				}
				o.saved[i-1] = true
				o.fec++
			}
			if b.count > slots || b.count < 0 {
				t.Fatalf("%d packets kept", b.count)
			}
		}
		owed -= 160
	}
	o.stats = b.Stats()
	return o
}

func TestTraces(t *testing.T) {
	for _, tc := range []struct {
		trace
		minFrames float64       // of the packets that arrived
		maxDelay  time.Duration // at the end
		maxTarget time.Duration
	}{
		{trace{name: "clean", packets: 2000, ptime: 20}, 1, 40 * time.Millisecond, 20 * time.Millisecond},
		{trace{name: "clean 10 ms", packets: 2000, ptime: 10}, 1, 40 * time.Millisecond, 20 * time.Millisecond},
		{trace{name: "clean 60 ms", packets: 700, ptime: 60}, 1, 60 * time.Millisecond, 20 * time.Millisecond},
		{trace{name: "clean 30 ms", packets: 1500, ptime: 30}, 1, 50 * time.Millisecond, 20 * time.Millisecond},
		{trace{name: "loss 5 %", packets: 3000, ptime: 20, loss: 0.05}, 0.99, 60 * time.Millisecond, 40 * time.Millisecond},
		{trace{name: "jitter 30 ms", packets: 3000, ptime: 20, jitter: 30}, 0.97, 70 * time.Millisecond, 40 * time.Millisecond},
		{trace{name: "jitter 80 ms", packets: 3000, ptime: 20, jitter: 80}, 0.96, 130 * time.Millisecond, 100 * time.Millisecond},
		{trace{name: "reorder 5 %", packets: 3000, ptime: 20, reorder: 0.05}, 0.98, 70 * time.Millisecond, 50 * time.Millisecond},
		{trace{name: "duplicates", packets: 3000, ptime: 20, dup: 0.2}, 1, 40 * time.Millisecond, 20 * time.Millisecond},
		{trace{name: "spikes", packets: 3000, ptime: 20, spike: 120}, 0.95, 200 * time.Millisecond, 200 * time.Millisecond},
		{trace{name: "source fast 300 ppm", packets: 6000, ptime: 20, drift: -300e-6}, 0.99, 50 * time.Millisecond, 20 * time.Millisecond},
		{trace{name: "source slow 300 ppm", packets: 6000, ptime: 20, drift: 300e-6}, 0.99, 50 * time.Millisecond, 20 * time.Millisecond},
		{trace{name: "stall 400 ms", packets: 3000, ptime: 20, stall: 400}, 0.98, 60 * time.Millisecond, 40 * time.Millisecond},
		{trace{name: "pauses", packets: 3000, ptime: 20, dtx: true, jitter: 10}, 0.98, 50 * time.Millisecond, 30 * time.Millisecond},
		{trace{name: "all at once", packets: 3000, ptime: 20, loss: 0.05, jitter: 40, reorder: 0.02, dup: 0.05, drift: 100e-6}, 0.94, 120 * time.Millisecond, 90 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := tc.arrivals(1)
			distinct := map[uint16]bool{}
			for _, a := range in {
				distinct[a.p.Seq] = true
			}
			o := play(t, New(Config{ClockRate: 8000, FEC: true}), in)
			if share := float64(o.frames) / float64(len(distinct)); share < tc.minFrames {
				t.Errorf("played %.2f %% of what arrived", 100*share)
			}
			if o.delay > tc.maxDelay {
				t.Errorf("delay %v at the end", o.delay)
			}
			if o.stats.Target > tc.maxTarget {
				t.Errorf("target %v", o.stats.Target)
			}
			if o.maxWait > 260*time.Millisecond {
				t.Errorf("a packet waited %v", o.maxWait)
			}
			t.Logf("%v frames %d fec %d delay %v target %v longest wait %v; %+v", o.kinds, o.frames, o.fec, o.delay, o.stats.Target, o.maxWait, o.stats)
		})
	}
}

// Once the delay fits the network, nothing is late and nothing is cut or stretched to hold it: each of these is heard. What the redundancy
// holds is used from the first lost packet on, and a few ms of delay are the price.
func TestSteadyNetworksAreLeftAlone(t *testing.T) {
	for _, tc := range []struct {
		trace
		late   uint64
		scaled int
	}{
		{trace{name: "clean", packets: 500, ptime: 20}, 0, 0},
		{trace{name: "loss 5 %", packets: 1500, ptime: 20, loss: 0.05}, 0, 0},
		{trace{name: "loss 10 %", packets: 1500, ptime: 20, loss: 0.10}, 0, 0},
		{trace{name: "jitter 50 ms", packets: 3000, ptime: 20, jitter: 50}, 1, 12},
		{trace{name: "loss and jitter", packets: 3000, ptime: 20, loss: 0.05, jitter: 50}, 2, 12},
		{trace{name: "drift 200 ppm", packets: 3000, ptime: 20, drift: 200e-6}, 0, 4},
		{trace{name: "drift -200 ppm", packets: 3000, ptime: 20, drift: -200e-6}, 0, 5},
		{trace{name: "jitter 80 ms", packets: 3000, ptime: 20, jitter: 80}, 3, 17},
		{trace{name: "packets of 30 ms", packets: 2000, ptime: 30, jitter: 50}, 1, 14},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for seed := range uint64(5) {
				tc.phase = int(seed) * 4
				o := play(t, New(Config{ClockRate: 8000, FEC: true}), tc.arrivals(seed))
				if o.stats.Late > tc.late || o.scaled > tc.scaled {
					t.Errorf("seed %d: %d late, %d times scaled", seed, o.stats.Late, o.scaled)
				}
				if single := o.stats.Recovered; tc.loss > 0 && float64(o.stats.Lost-single) > 0.25*float64(o.stats.Lost) {
					t.Errorf("seed %d: %d of %d lost packets recovered", seed, single, o.stats.Lost)
				}
				if o.delay > time.Duration(tc.jitter)*time.Millisecond+50*time.Millisecond {
					t.Errorf("seed %d: delay %v", seed, o.delay)
				}
			}
		})
	}
}

// A frame clock that follows the buffer has packets wait for as long as the redundancy in their successors needs, from any phase, and no more than two
// steps longer; it is hardly ever moved on a network that does not change, and what is missing for good is no reason to.
func TestFrameClockFollowsTheNeed(t *testing.T) {
	const need = 21 * time.Millisecond // a packet and a millisecond
	for _, tc := range []struct {
		trace
		least, most time.Duration
		moved       int
		late        uint64
	}{
		{trace{name: "clean", packets: 1500, ptime: 20}, need, need + 2*ShiftStep, 3, 0},
		{trace{name: "loss 10 %", packets: 1500, ptime: 20, loss: 0.10}, need, need + 2*ShiftStep, 3, 0},
		{trace{name: "bursts", packets: 1500, ptime: 20, burst: 3}, need, need + 2*ShiftStep, 3, 0},
		{trace{name: "jitter 5 ms", packets: 1500, ptime: 20, jitter: 5}, need + 4*time.Millisecond, need + 3*ShiftStep, 4, 0},
		{trace{name: "jitter 50 ms", packets: 3000, ptime: 20, jitter: 50}, 65 * time.Millisecond, 85 * time.Millisecond, 20, 1},
		{trace{name: "drift 200 ppm", packets: 3000, ptime: 20, loss: 0.02, drift: 200e-6}, need, need + 2*ShiftStep, 5, 0},
		{trace{name: "drift -200 ppm", packets: 3000, ptime: 20, loss: 0.02, drift: -200e-6}, need, need + 2*ShiftStep + time.Millisecond, 5, 0},
		{trace{name: "pauses and drift", packets: 3000, ptime: 20, loss: 0.02, drift: 200e-6, dtx: true}, need, need + 2*ShiftStep, 5, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for phase := range 20 {
				tc.phase = phase
				o := playBy(t, New(Config{ClockRate: 8000, FEC: true}), tc.arrivals(uint64(phase)), true)
				if o.least < tc.least-time.Millisecond || o.most > tc.most || o.moved > tc.moved || o.stats.Late > tc.late {
					t.Errorf("phase %d ms: a delay of %v to %v, moved %d times, %d late", phase, o.least, o.most, o.moved, o.stats.Late)
				}
				if tc.jitter < 10 && o.scaled > 0 {
					t.Errorf("phase %d ms: cut or stretched %d times", phase, o.scaled)
				}
			}
		})
	}
}

// One packet that is late among the first is no reason to wait longer.
func TestOneLatePacketAtTheStartIsNoHabit(t *testing.T) {
	for phase := range 20 {
		tr := trace{packets: 300, ptime: 20, phase: phase}
		calm := playBy(t, New(Config{ClockRate: 8000, FEC: true}), tr.arrivals(1), true)
		in := tr.arrivals(1)
		in[4].at += 12 * ms
		o := playBy(t, New(Config{ClockRate: 8000, FEC: true}), in, true)
		if o.delay != calm.delay || o.moved != calm.moved || o.scaled > 0 {
			t.Errorf("phase %d ms: a delay of %v, moved %d times, scaled %d times; without it %v, %d times", phase, o.delay, o.moved, o.scaled, calm.delay, calm.moved)
		}
	}
}
