package jitter

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// ShiftStep is by how much a frame clock is moved at once. A worker's frame clocks are on a grid, of which it has to be a multiple.
const ShiftStep = 5 * time.Millisecond

const (
	holdMS  = 100 // with an empty buffer the position waits this long, then the stream counts as paused
	steady  = 16  // pops over which an excess or lack of delay is averaged
	slackMS = 4   // excess that Adjust leaves alone
	lackMS  = 2   // and lack: with less delay than the target packets are late
	// hopeless: a delay of this many times the largest is not shortened little by little, packets are skipped: the worker stood still.
	// Left alone it would lose every packet once more come than there are slots, as one is given up while another takes its place.
	hopeless = 2
	littleHz = 2000  // a part of a second that is too little to move a frame clock for: half a millisecond
	sure     = 100   // packets after which a network is known well enough to wait less
	strange  = 6     // lateness, ms, that a new one is thought to have, for the redundancy in a successor: a step of Shift more than the least
	few      = 16    // the first packets say little about the network: lean on the start value
	fecLoss  = 0.003 // loss from which on the target leaves time for the successor too: two packets within 10 s
	fecLong  = 0.03  // the same for packets of more than 20 ms; more than lossFirst
)

// Target is the delay that playout aims at, beyond the fastest packet, ticks.
func (b *Buffer) target() int64 {
	t := b.delay.target
	if b.usesFEC() {
		soon := b.delay.soon
		if b.delay.weight < few {
			soon = max(soon, int64(b.clock)*strange/1000)
		}
		t = max(t, int64(b.ptime)+soon)
	}
	if b.delay.weight < few {
		t = max(t, b.start)
	}
	return min(max(t, b.min), b.max)
}

// worthFEC is the loss from which on the redundancy in a packet's successor is worth its time. A new source is thought to lose more than that,
// unless its packets are long.
func (b *Buffer) worthFEC() float32 {
	if b.ptime > b.clock/50 {
		return fecLong
	}
	return fecLoss
}

// usesFEC reports whether a lost packet waits for the redundancy in its successor.
func (b *Buffer) usesFEC() bool { return b.fec && b.delay.loss > b.worthFEC() }

// enough is the least delay with which playout begins, ticks: what Adjust leaves alone is not worth a frame, but for what it takes redundancy to come.
func (b *Buffer) enough() int64 {
	t := b.target()
	least := t - int64(b.clock)*lackMS/1000
	if b.usesFEC() {
		least = max(least, min(t, int64(b.ptime)))
	}
	return least
}

// Start is the delay with which playout of a new source should begin, ticks.
func (b *Buffer) Start() int64 { return b.target() }

// Pop hands out what stands at the playout position at now (monotonic ns) and moves on. The caller pops whenever it has less decoded
// audio than it needs, so several times in a row for short packets and rarely for long ones.
func (b *Buffer) Pop(now int64) Result {
	at := rtp.Ticks(now, b.clock)
	if !b.play.running || b.play.pause {
		return b.resume(at)
	}
	b.note(at)
	s := b.current()
	if s == nil {
		return b.underflow()
	}
	if b.delay.lateness(at, b.play.ts) > hopeless*b.max {
		b.play.pause = true
		return b.resume(at)
	}
	gap := int64(rtp.TSDiff(s.ts, b.play.ts))
	missing := rtp.SeqDiff(s.seq, b.play.seq) - 1
	if gap > 0 && b.play.held > 0 {
		gap -= b.credit(at, gap)
	}
	switch {
	case gap <= 0:
		return b.take(s, missing)
	case missing == 0 || gap > int64(missing)*int64(b.ptime)*2:
		b.play.pause = true // the source was silent on purpose
		return b.resume(at)
	case b.delay.lateness(at, b.play.ts) < b.delay.target && b.play.gone == 0:
		return b.underflow() // it may still come, and the delay has to grow anyway
	default:
		return b.lose(s, gap, missing)
	}
}

// Rest is Pop without regard to time: what waits, in order; Empty when nothing does.
func (b *Buffer) Rest() Result {
	s := b.current()
	if s == nil {
		return Result{Kind: Empty, Dur: b.ptime}
	}
	missing := 0
	if b.play.running {
		missing = max(0, rtp.SeqDiff(s.seq, b.play.seq)-1)
	}
	gap := int64(rtp.TSDiff(s.ts, b.play.ts))
	if b.play.running && !b.play.pause && gap > 0 && missing > 0 && gap <= int64(missing)*int64(b.ptime)*2 {
		return b.lose(s, gap, missing)
	}
	if !b.play.running || gap > 0 {
		b.play.ts = s.ts
	}
	b.play.running = true
	return b.take(s, missing)
}

// note records the delay.
func (b *Buffer) note(at int64) {
	b.stats.Delay = time.Duration(rtp.Nanos(b.delay.lateness(at, b.play.ts), b.clock))
	b.stats.Target = time.Duration(rtp.Nanos(b.target(), b.clock))
}

// resume starts playout when the first packet has waited for the target delay. Packets that are too old by then are dropped.
func (b *Buffer) resume(at int64) Result {
	for s := b.current(); s != nil; s = b.current() {
		late := b.delay.lateness(at, s.ts)
		if late > b.max+int64(b.ptime) { // one packet of slack: the frame clock is no finer
			b.skip(s)
			continue
		}
		missing, resumed := 0, false
		if b.play.running {
			missing = max(0, rtp.SeqDiff(s.seq, b.play.seq)-1)
			resumed = missing == 0
		}
		begin, before := s.ts, late < b.enough()
		if before {
			if begin -= b.ptime; late+int64(b.ptime) < b.enough() || !b.saves(s, missing) {
				break
			}
		}
		b.play.running, b.play.pause = true, false
		b.play.held, b.play.gone = 0, 0
		b.play.ts = begin
		b.note(at)
		if before {
			return b.lose(s, int64(b.ptime), missing)
		}
		r := b.take(s, missing)
		r.Resumed = resumed
		return r
	}
	return Result{Kind: Empty, Dur: b.ptime}
}

// saves reports whether playout may begin a packet ahead of s after missing ones, with what s has of the one before it: not after a pause of the source.
func (b *Buffer) saves(s *slot, missing int) bool {
	gap := int64(rtp.TSDiff(s.ts, b.play.ts))
	return b.fec && gap >= int64(b.ptime) && gap <= int64(missing)*int64(b.ptime)*2
}

// current is the next packet in order; packets whose numbers go up while their timestamps go back are dropped.
func (b *Buffer) current() *slot {
	for {
		s := b.earliest()
		if s == nil || !b.play.running || rtp.TSDiff(s.ts, b.play.last) > 0 && rtp.TSDiff(s.ts+s.dur, b.play.ts) > 0 {
			return s
		}
		b.play.seq = s.seq
		b.drop(s)
		b.stats.Late++
	}
}

// skip drops a packet that would make the delay too long.
func (b *Buffer) skip(s *slot) {
	b.play.seq, b.play.ts, b.play.last = s.seq, s.ts+s.dur, s.ts
	b.play.running, b.play.pause = true, true
	b.drop(s)
	b.stats.Skipped++
}

// take hands a packet out. missing: packets given up between the last one and this.
func (b *Buffer) take(s *slot, missing int) Result {
	past := uint32(max(0, rtp.TSDiff(b.play.ts, s.ts))) // less than s.dur, see current
	r := Result{Kind: s.kind, Dur: s.dur - past, TS: s.ts, Past: past, First: s.gen != b.play.gen, Payload: b.payload(s)}
	if missing = max(missing, 0); missing < slots { // else they were kept from us, as during hold
		b.stats.Lost += uint64(missing)
		for range missing {
			b.delay.outcome(true)
		}
	}
	b.delay.outcome(false)
	b.play.ts, b.play.last, b.play.seq = s.ts+s.dur, s.ts, s.seq
	if s.kind == Frame {
		b.play.gen = s.gen
	}
	b.play.held, b.play.gone = 0, 0
	b.play.pause = s.kind == Noise // nothing is missing until the source speaks again
	b.drop(s)
	b.stats.Played++
	return r
}

// lose reports a missing packet and gives it up. Of several, part of which has been concealed by waiting, what is left of one comes first, so that the last one is
// whole: that is the one whose redundancy s has.
func (b *Buffer) lose(s *slot, gap int64, missing int) Result {
	whole := int64(b.ptime)
	dur := uint32(min(gap, whole))
	if part := gap % whole; gap > whole && part != 0 && missing > 1 {
		dur = uint32(part)
	}
	r := Result{Kind: Lost, Dur: dur, TS: b.play.ts}
	b.play.gone = 0
	if gap == whole && s.gen == b.play.gen && s.kind == Frame {
		r.FEC = b.payload(s)
		b.stats.Recovered++
	}
	b.play.ts += dur
	b.play.seq++
	b.delay.outcome(true)
	b.stats.Lost++
	return r
}

// credit moves the position over a gap that was concealed while the buffer was empty, as far as the delay stays at its target.
// It returns the ticks moved.
func (b *Buffer) credit(at, gap int64) int64 {
	n := max(0, min(gap, b.play.held, b.delay.lateness(at, b.play.ts)-b.target()))
	b.play.held -= n
	b.play.ts += uint32(n)
	return n
}

// underflow conceals while the position waits for a late packet; after a while the stream counts as paused.
func (b *Buffer) underflow() Result {
	r := Result{Kind: Wait, Dur: b.ptime, TS: b.play.ts}
	b.play.held += int64(b.ptime)
	b.play.gone += int64(b.ptime)
	if b.play.gone > int64(b.clock)*holdMS/1000 {
		b.play.pause = true
		r.Kind = Empty
	}
	return r
}

// Ready reports whether the packet at the playout position is there, so that a Pop before its time would give a Frame.
func (b *Buffer) Ready() bool {
	if !b.play.running || b.play.pause {
		return false
	}
	s := b.current()
	return s != nil && rtp.TSDiff(s.ts, b.play.ts) <= 0
}

// Adjust tells how far the delay is from where it should be, ticks: positive to shorten the audio by that much, negative to stretch it, 0
// to leave it. pending: decoded audio not yet played, ticks; frame: what the caller takes of it at a time, ticks. Call once per output
// frame, before it is taken; the answer is an average over several.
//
// A packet is popped when less than a frame is pending, so what a whole number of frames leaves over makes it due that much earlier: the
// time for which packets wait moves by frames, and the delay is between the target and a frame more.
func (b *Buffer) Adjust(now int64, pending, frame uint32) int64 {
	if !b.play.running || b.play.pause || frame == 0 {
		b.excess, b.wait, b.short = 0, 0, 0
		return 0
	}
	d := b.delay.lateness(rtp.Ticks(now, b.clock), b.play.ts-pending) - b.target()
	if b.play.held == 0 { // else what is concealed may turn out to be no delay, and cutting for it would take the time that redundancy needs
		b.excess += (d - int64(frame) - b.excess) / steady
		wait := d - int64(pending%frame)
		b.wait += wait - b.wait/steady
		if b.short++; wait+b.target() >= b.least() {
			b.short = 0
		}
	}
	switch wait := b.wait / steady; {
	case wait < -int64(b.clock)*lackMS/1000:
		return wait
	case b.excess > int64(b.clock)*slackMS/1000:
		return b.excess
	}
	return 0
}

// least is the time for which packets wait that Shift leaves a source, ticks: until a lost one can be told by the one after it, or what the source was given.
func (b *Buffer) least() int64 { return min(int64(b.ptime), b.start) }

// Shift tells whether the caller's frame clock should be moved by ShiftStep, which costs no audio: 1 to tick earlier from now on, as packets wait for nothing,
// -1 to tick later, as they do not wait long enough; 0 to leave it. It goes by the averages of Adjust, so comes after that, and tells once more unless the
// caller does so and says it by Adjusted. frame: as for Adjust.
//
// Packets wait for nothing when it is longer than the target and longer than it takes to tell a lost one by the one after it, for all packets that a frame
// is made of. What an unknown network was given at first is taken back as soon as that is a step, later a step more has to be left over, so that a
// clock does not move to and fro. Nor is less than a packet's length left to a source whose clock takes it little by little, though the target may be
// less: a lost packet would be told too late, and the first jitter be heard.
func (b *Buffer) Shift(frame uint32) int {
	if !b.play.running || b.play.pause {
		return 0
	}
	step, little := rtp.Ticks(int64(ShiftStep), b.clock), int64(b.clock)/littleHz
	wait := b.wait / steady
	if wait < -little {
		return -1
	}
	if b.delay.weight < sure {
		return 0
	}
	if b.short >= sure && b.excess+step <= int64(b.clock)*slackMS/1000 { // else Adjust would cut it again
		return -1
	}
	spare := wait - max(0, int64(b.ptime)+b.delay.soon-b.target()) - max(0, int64(frame)-int64(b.ptime))
	least := 2 * step
	if !b.known {
		least = step - little
	}
	b.known = true
	if spare >= least {
		return 1
	}
	return 0
}

// Adjusted tells that the caller did shorten (positive) or stretch by n ticks, or has moved its frame clock, so that the averages follow at once.
func (b *Buffer) Adjusted(n int64) {
	b.excess -= n
	b.wait -= n * steady
	b.short = 0
}
