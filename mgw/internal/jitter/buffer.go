// Package jitter orders the packets of one audio source and plays them out at the least delay that the network allows. Floor 1. // hot
// Owner: the worker of the Direction that holds it; not safe for concurrent use, no clock of its own, no allocation after New.
// It works in two time lines: packets have timestamps (ticks of the RTP clock), Push and Pop have the caller's monotonic time.
package jitter

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	slots     = 64   // packets kept at most; a power of two
	arenaSize = 8192 // payload bytes kept at most: 1 s of G.711, 200 ms of Opus at 320 kbit/s

	// MaxPayload is the longest payload taken, bytes.
	MaxPayload = 1500

	maxDropout = 1000 // forward jump of sequence numbers that still counts as loss, packets (RFC 3550 §A.1)
	maxOld     = 250  // backward jump that still counts as late, packets
	maxSkew    = 2    // timestamps this far from their time mean a restarted clock, seconds
	shiftMS    = 100  // packets too late to be played for this long mean that the source's clock stood still
)

// Config bounds the playout delay; zero fields mean the default.
type Config struct {
	ClockRate uint32        // RTP clock of the source, Hz
	Min       time.Duration // least target delay; default 10 ms
	Start     time.Duration // target before anything was measured; default 20 ms
	Max       time.Duration // largest delay allowed; default 200 ms
	FEC       bool          // packets carry redundancy for their predecessor: under loss the target leaves time for the successor
}

// Packet is one audio packet on its way in. Payload is copied.
type Packet struct {
	SSRC    uint32
	Seq     uint16
	TS      uint32 // ticks
	Dur     uint32 // ticks; not 0, at most 250 ms; without meaning for Noise
	Noise   bool   // comfort noise (RFC 3389): the source is silent from here on
	Payload []byte
}

// Verdict says what Push did with a packet.
type Verdict uint8

// Verdicts of Push.
const (
	Kept      Verdict = iota
	Duplicate         // already here or already played
	Late              // its time has passed
	Jump              // wild sequence number, not yet confirmed by its successor (RFC 3550 §A.1)
	Invalid           // no duration, too long
)

// Kind says what Pop found at the playout position.
type Kind uint8

// Kinds of Result.
const (
	Empty Kind = iota // nothing to play: stream not started, ended, or silent by DTX
	Frame             // Payload is the next packet
	Lost              // a packet is missing; FEC is its successor if that has arrived
	Wait              // missing, and it may still come: conceal, the position does not move
	Noise             // Payload is the source's description of its silence, which begins here
)

// Result is what Pop found. Payload and FEC are valid until the next Push.
type Result struct {
	Kind    Kind
	Dur     uint32 // ticks that the playout position moved; for Wait the usual packet duration
	TS      uint32 // of the frame or of the gap; the numbers of a later source go on from those of the first
	Past    uint32 // Frame: ticks at the start of Payload that were played already: the source repeats itself (RFC 4867 §3.7.1)
	First   bool   // Frame: the first of a new or restarted source, the decoder's past does not lead to it
	Payload []byte
	FEC     []byte
}

// Stats count since New.
type Stats struct {
	Pushed     uint64 // all packets given to Push
	Played     uint64 // frames handed out
	Lost       uint64 // packets missing at their time
	Recovered  uint64 // of those, with the successor at hand
	Late       uint64
	Duplicates uint64
	Reordered  uint64        // arrived after a later one, in time
	Skipped    uint64        // dropped to keep the delay bounded
	Restarts   uint64        // new SSRC or confirmed jump
	Refused    uint64        // Jump and Invalid
	Delay      time.Duration // playout delay now, beyond the fastest packet
	Target     time.Duration
}

// slot is one packet kept.
type slot struct {
	used bool
	seq  uint16
	n    uint16 // payload length
	gen  uint8  // of the source that sent it
	kind Kind   // Frame or Noise
	ts   uint32
	dur  uint32
	at   uint64 // payload position in the arena, counted from the beginning of time
}

// Buffer is the jitter buffer of one source. Use New.
type Buffer struct {
	clock    uint32
	fec      bool
	min, max int64 // delay bounds, ticks
	start    int64 // target before measurements, ticks
	slot     [slots]slot
	count    int
	arena    []byte
	head     uint64 // next arena position
	tail     uint64 // no kept payload starts before it
	delay    meter
	src      source
	before   source // the one whose packets were still waiting when src began; its stragglers are taken
	play     playout
	stats    Stats
	ptime    uint32 // duration of the newest packet, ticks
	excess   int64  // average of the delay beyond its target and a frame, ticks
	wait     int64  // and of the time for which packets wait, beyond the target
}

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

// playout is where the outgoing stream stands.
type playout struct {
	running bool
	seq     uint16 // of the last frame played or given up
	ts      uint32 // next tick to play
	last    uint32 // timestamp of the last frame played or skipped
	held    int64  // ticks concealed without moving ts
	gone    int64  // ticks concealed in a row with an empty buffer
	pause   bool   // between talk spurts: the next frame waits for its time
	gen     uint8  // source of the last frame
}

// New returns an empty buffer. It allocates all that the buffer will ever use, about 10 KiB.
func New(cfg Config) *Buffer {
	if cfg.ClockRate == 0 {
		cfg.ClockRate = 8000
	}
	pick := func(d, def time.Duration) int64 {
		if d <= 0 {
			d = def
		}
		return rtp.Ticks(int64(d), cfg.ClockRate)
	}
	b := &Buffer{
		clock: cfg.ClockRate,
		fec:   cfg.FEC,
		min:   pick(cfg.Min, 10*time.Millisecond),
		max:   pick(cfg.Max, 200*time.Millisecond),
		arena: make([]byte, arenaSize),
		ptime: cfg.ClockRate / 50,
	}
	b.start = pick(cfg.Start, 20*time.Millisecond)
	b.delay.init(cfg.ClockRate, b.max)
	return b
}

// Push takes a packet that arrived at now (monotonic ns). It copies the payload.
func (b *Buffer) Push(now int64, p Packet) Verdict {
	b.stats.Pushed++
	if p.Noise {
		p.Dur = b.ptime
	}
	if p.Dur == 0 || int64(p.Dur) > int64(b.clock)/4 || len(p.Payload) == 0 || len(p.Payload) > MaxPayload {
		b.stats.Refused++
		return Invalid
	}
	arrival := rtp.Ticks(now, b.clock)
	if b.before.known && p.SSRC == b.before.ssrc && p.SSRC != b.src.ssrc {
		if v, ok := b.straggler(p); ok {
			return v
		}
	}
	v := b.admit(arrival, &p)
	if v != Kept {
		return v
	}
	b.ptime = p.Dur
	b.follow(arrival, p.TS)
	b.delay.add(arrival, p.TS)
	if b.play.running && rtp.TSDiff(p.TS+p.Dur, b.play.ts) <= 0 {
		b.stats.Late++
		return Late
	}
	return b.store(p, b.src.gen)
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

// store puts p of a source in its slot and makes room where needed.
func (b *Buffer) store(p Packet, gen uint8) Verdict {
	s := &b.slot[p.Seq%slots]
	if s.used {
		if rtp.SeqDiff(p.Seq, s.seq) <= 0 {
			b.stats.Late++
			return Late
		}
		b.drop(s)
		b.stats.Skipped++
	}
	if b.play.running && rtp.SeqDiff(p.Seq, b.play.seq) <= 0 {
		b.stats.Late++
		return Late
	}
	at := b.reserve(len(p.Payload))
	copy(b.arena[at%arenaSize:], p.Payload)
	*s = slot{used: true, seq: p.Seq, n: uint16(len(p.Payload)), gen: gen, kind: Frame, ts: p.TS, dur: p.Dur, at: at}
	if p.Noise {
		s.kind = Noise
	}
	b.count++
	return Kept
}

// reserve finds n bytes in one piece of the arena and drops the packets whose payload stood there.
func (b *Buffer) reserve(n int) uint64 {
	if room := arenaSize - int(b.head%arenaSize); room < n {
		b.head += uint64(room)
	}
	at := b.head
	b.head += uint64(n)
	if b.head-b.tail > arenaSize {
		b.tail = b.head
		for i := range b.slot {
			s := &b.slot[i]
			switch {
			case !s.used:
			case b.head-s.at > arenaSize:
				b.drop(s)
				b.stats.Skipped++
			case s.at < b.tail:
				b.tail = s.at
			}
		}
		b.tail = min(b.tail, at)
	}
	return at
}

// drop frees a slot.
func (b *Buffer) drop(s *slot) {
	s.used = false
	b.count--
}

// payload is what a slot holds.
func (b *Buffer) payload(s *slot) []byte {
	at := s.at % arenaSize
	return b.arena[at : at+uint64(s.n) : at+uint64(s.n)]
}

// earliest is the first packet in sequence order, nil when there is none.
func (b *Buffer) earliest() *slot {
	if b.count == 0 {
		return nil
	}
	if s := &b.slot[(b.play.seq+1)%slots]; b.play.running && s.used && s.seq == b.play.seq+1 {
		return s
	}
	var best *slot
	for i := range b.slot {
		if s := &b.slot[i]; s.used && (best == nil || rtp.SeqDiff(s.seq, best.seq) < 0) {
			best = s
		}
	}
	return best
}

// Stats are the counters and the delay at the last Pop.
func (b *Buffer) Stats() Stats { return b.stats }
