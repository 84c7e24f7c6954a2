package jitter

import "github.com/isthmus-gateway/isthmus/mgw/internal/rtp"

// source is where the incoming stream stands. Its numbers are moved so that they go on where those of the source before it end: what
// waits of that one is played out first.
type source struct {
	known   bool
	gen     uint8 // counts sources
	ssrc    uint32
	seqOff  uint16 // ours less the packet's
	tsOff   uint32
	hi      uint16 // highest sequence number
	seen    uint64 // bit i: hi-i has come
	wild    bool
	wildSeq uint16
	behind  bool  // what comes is later than any delay allows
	since   int64 // and has been since this arrival, ticks
}

// straggler takes a packet of the source before that was overtaken by the present one; ok is false when it is newer than all of that source,
// which has come back then.
func (b *Buffer) straggler(p Packet) (v Verdict, ok bool) {
	o := &b.before
	p.Seq, p.TS = p.Seq+o.seqOff, p.TS+o.tsOff
	d := rtp.SeqDiff(p.Seq, o.hi)
	if d > 0 || d < -maxOld {
		return 0, false
	}
	if bit := uint64(1) << min(-d, 63); d > -64 {
		if o.seen&bit != 0 {
			b.stats.Duplicates++
			return Duplicate, true
		}
		o.seen |= bit
	}
	if b.play.running && rtp.TSDiff(p.TS+p.Dur, b.play.ts) <= 0 {
		b.stats.Late++
		return Late, true
	}
	b.stats.Reordered++
	return b.store(p, o.gen), true
}

// admit follows the source's numbers, notices restarts (RFC 3550 §A.1) and moves p to where the source lies in our numbers.
func (b *Buffer) admit(arrival int64, p *Packet) Verdict {
	if !b.src.known || p.SSRC != b.src.ssrc {
		b.restart(arrival, p)
		return Kept
	}
	raw := *p
	p.Seq, p.TS = p.Seq+b.src.seqOff, p.TS+b.src.tsOff
	d := rtp.SeqDiff(p.Seq, b.src.hi)
	if d > maxDropout || d < -maxOld {
		if b.src.wild && p.Seq == b.src.wildSeq {
			*p = raw
			b.restart(arrival, p)
			return Kept
		}
		b.src.wild, b.src.wildSeq = true, p.Seq+1
		b.stats.Refused++
		return Jump
	}
	if b.clockJumped(arrival, p.TS) {
		if d <= 0 {
			b.stats.Refused++
			return Jump
		}
		*p = raw
		b.restart(arrival, p)
		return Kept
	}
	b.src.wild = false
	if d > 0 {
		b.src.hi = p.Seq
		b.src.seen = b.src.seen<<d | 1 // a shift of 64 or more empties it
		return Kept
	}
	return b.reordered(-d)
}

// reordered takes a packet that is back places behind the newest one, once.
func (b *Buffer) reordered(back int) Verdict {
	if bit := uint64(1) << min(back, 63); back < 64 {
		if b.src.seen&bit != 0 {
			b.stats.Duplicates++
			return Duplicate
		}
		b.src.seen |= bit
	}
	b.stats.Reordered++
	return Kept
}

// clockJumped reports whether ts is seconds away from where the source's clock should be: it restarted, or stood still during hold.
func (b *Buffer) clockJumped(arrival int64, ts uint32) bool {
	late := b.delay.lateness(arrival, ts)
	limit := int64(b.clock) * maxSkew
	return late > limit || late < -limit
}

// follow notices that the source's clock stood still for less than clockJumped looks for, as it does when the sender's machine is
// overloaded: everything after it is late by as much. What the network held back comes in a burst instead and is soon on time.
func (b *Buffer) follow(arrival int64, ts uint32) {
	switch late := b.delay.lateness(arrival, ts) > b.max; {
	case !late:
		b.src.behind = false
	case !b.src.behind:
		b.src.behind, b.src.since = true, arrival
	case arrival-b.src.since >= int64(b.clock)*shiftMS/1000:
		b.src.behind = false
		b.delay.rebase()
	}
}

// restart begins a source with its first packet and moves that to its place. It plays from when it would if it were on time, but not before
// what waits of the source before it has been played; what was learned about the network stays.
func (b *Buffer) restart(arrival int64, p *Packet) {
	next := source{known: true, gen: b.src.gen + 1, ssrc: p.SSRC, hi: p.Seq, seen: 1}
	if b.src.known {
		b.stats.Restarts++
		b.before = b.src
		next.hi = b.src.hi + 1
		ts := b.delay.due(arrival)
		switch from, to := b.span(); {
		case !from.set:
		case int64(rtp.TSDiff(to.ts, from.ts)) > b.max: // as of sources that speak by turns
			b.discard()
		case rtp.TSDiff(to.ts, ts) > 0:
			ts = to.ts
		}
		next.seqOff, next.tsOff = next.hi-p.Seq, ts-p.TS
		p.Seq, p.TS = next.hi, ts
	}
	b.src = next
}

// place is a timestamp, if there is one.
type place struct {
	ts  uint32
	set bool
}

// span is the begin and the end of what is still to be played.
func (b *Buffer) span() (from, to place) {
	if b.play.running {
		from = place{b.play.ts, true}
		to = from
	}
	for i := range b.slot {
		s := &b.slot[i]
		if !s.used {
			continue
		}
		if !from.set || !b.play.running && rtp.TSDiff(s.ts, from.ts) < 0 {
			from = place{s.ts, true}
		}
		if !to.set || rtp.TSDiff(s.ts+s.dur, to.ts) > 0 {
			to = place{s.ts + s.dur, true}
		}
	}
	return from, to
}

// discard drops what waits.
func (b *Buffer) discard() {
	for i := range b.slot {
		if s := &b.slot[i]; s.used {
			b.drop(s)
			b.stats.Skipped++
		}
	}
	b.tail = b.head
	b.before.known = false
	b.play = playout{gen: b.play.gen}
}
