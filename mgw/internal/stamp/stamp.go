// Package stamp gives every peer one continuous RTP stream: one SSRC, sequence numbers that are never used twice, timestamps that
// advance with time, whatever changes behind it - source restarts, hold, fork switches, codec changes, relay and transcode taking turns. Floor 1. // hot
// Owner: the worker that sends to the peer; not safe for concurrent use. RFC 3550 §5.1, §A.1.
package stamp

import (
	"time"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/mgw/internal/prefetch"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	// maxDropout is the longest forward jump of a source's sequence numbers that counts as loss (RFC 3550 §A.1).
	maxDropout = 3000
	// maxLate is how far behind the newest packet a reordered one may be, packets; it is the width of the sent window.
	maxLate = 63
	// maxSkew is how far a source's timestamps may stray from the time that passed between two packets, seconds.
	// Beyond it the source has restarted its clock or stopped it during hold.
	maxSkew = 2
	// maxStep is the longest packet duration that is learned as the usual step, milliseconds.
	maxStep = 120

	defaultPtime = 20 * time.Millisecond
	defaultClock = 8000
)

// Kind tells how a packet's timestamp behaves.
type Kind uint8

const (
	// Audio timestamps advance with the media.
	Audio Kind = iota
	// Event packets of one telephone event all carry the timestamp of its start, in the clock of the audio (RFC 4733 §2.1).
	Event
	// ForeignEvent is Event with timestamps of another clock: they only tell one event from the next.
	ForeignEvent
)

// Verdict says what to do with a packet that was mapped. Anything but Pass means: do not send it.
type Verdict uint8

// Verdicts of Map.
const (
	Pass      Verdict = iota
	Duplicate         // this sequence number has been sent; with AEAD a second use would expose the key stream (RFC 7714 §11)
	Late              // older than the sent window or than the last switch of source
	Jump              // wild sequence number, not yet confirmed by its successor (RFC 3550 §A.1)
)

// String is the name for counters.
func (v Verdict) String() string {
	switch v {
	case Pass:
		return "pass"
	case Duplicate:
		return "duplicate"
	case Late:
		return "late"
	default:
		return "jump"
	}
}

// Config is the identity of the outgoing stream; SSRC, Seq and TS are random by RFC 3550 §5.1 and come from the caller.
type Config struct {
	SSRC      uint32
	Seq       uint16        // first sequence number; below 32768 spares SRTP an early rollover (RFC 3711 §3.3.1)
	TS        uint32        // first timestamp, clock ticks
	ClockRate uint32        // RTP clock of the outgoing audio, Hz; 0 means 8000
	Ptime     time.Duration // step across a switch when nothing was learned; 0 means 20 ms
}

// In is the part of an incoming or generated packet that decides its place in the output.
type In struct {
	SSRC   uint32
	Seq    uint16
	TS     uint32 // clock ticks of the outgoing clock, except ForeignEvent
	Marker bool
	Kind   Kind
}

// Out is the place given to a packet.
type Out struct {
	SSRC   uint32
	Seq    uint16
	TS     uint32 // ticks of Config.ClockRate
	Marker bool
}

// Stamper maps packets of changing sources into one outgoing stream. Use New.
type Stamper struct {
	ssrc  uint32
	clock uint32 // Hz

	src     source
	sent    window
	started bool
	renew   bool // the next packet starts a new source

	ts   uint32 // highest media timestamp given out
	at   int64  // when, monotonic ns
	step uint32 // usual distance between packets, ticks
}

// source is the mapping of the current source: out = in + offset.
type source struct {
	ssrc   uint32
	hi     uint16 // highest sequence number seen
	seqOff uint16
	tsOff  uint32
	floor  uint64 // first output number under the current offsets

	wild    bool   // a wild jump waits for its successor
	wildSeq uint16 // the number that would confirm it

	event   bool // evIn and evOut hold
	evIn    uint32
	evOut   uint32
	evClock Kind
}

// window remembers which of the newest output numbers have been used.
type window struct {
	hi   uint64 // highest output number, extended beyond 16 bits
	bits uint64 // bit i: hi-i has been used
}

// New returns a Stamper that has sent nothing.
func New(cfg Config) *Stamper {
	if cfg.ClockRate == 0 {
		cfg.ClockRate = defaultClock
	}
	if cfg.Ptime <= 0 {
		cfg.Ptime = defaultPtime
	}
	return &Stamper{
		ssrc:  cfg.SSRC,
		clock: cfg.ClockRate,
		ts:    cfg.TS,
		step:  uint32(rtp.Ticks(int64(cfg.Ptime), cfg.ClockRate)),
		// One above the 16-bit space, so that looking back never goes below zero.
		sent: window{hi: 1<<16 + uint64(cfg.Seq) - 1},
	}
}

// SSRC is the outgoing synchronization source.
func (s *Stamper) SSRC() uint32 { return s.ssrc }

// ClockRate is the outgoing RTP clock, Hz.
func (s *Stamper) ClockRate() uint32 { return s.clock }

// Switch announces that the next packet comes from another pipeline (relay, transcoder, player), even if its SSRC is the same.
func (s *Stamper) Switch() { s.renew = true }

// Sent is the newest number that was given out, extended beyond 16 bits; never 0.
func (s *Stamper) Sent() uint64 { return s.sent.hi }

// resumable is how many numbers may pass unseen by an SRTP context that goes on after: half of what it and the peer can tell apart (RFC 3711 §3.3.1).
const resumable = 1 << 14

// Resume is to be called when a context that saw numbers up to last, a value of Sent, takes up the stream again. When too many have passed since,
// the context would take the next one for an old one and use its keystream twice (RFC 3711 §9.1): the stream then leaps on to the number after last.
func (s *Stamper) Resume(last uint64) {
	if s.sent.hi-last < resumable {
		return
	}
	s.sent = window{hi: s.sent.hi + uint64(uint16(last-s.sent.hi))}
	s.renew = true // nothing from before comes late
}

// SetClock changes the outgoing RTP clock after a codec change, Hz. Timestamps continue from the last one by the time that passes.
// DEVIATES RFC 7160 §4.1: the SSRC stays, because many SIP peers drop a second SSRC in a call; the timestamps stay monotonic as §4.2 asks.
func (s *Stamper) SetClock(clockRate uint32) {
	if clockRate == 0 || clockRate == s.clock {
		return
	}
	s.step = uint32(uint64(s.step) * uint64(clockRate) / uint64(s.clock))
	s.clock = clockRate
	s.renew = true
}

// Now is the media timestamp that corresponds to now, for sender reports (RFC 3550 §6.4.1). ok is false before the first packet.
func (s *Stamper) Now(now int64) (ts uint32, ok bool) {
	return s.ts + uint32(s.elapsed(now)), s.started
}

// Apply maps p in place: SSRC, sequence number, timestamp and marker. On a verdict other than Pass p is unchanged.
// now: monotonic ns.
func (s *Stamper) Apply(now int64, p rtp.Packet, kind Kind) Verdict {
	out, v := s.Map(now, In{SSRC: p.SSRC(), Seq: p.Seq(), TS: p.TS(), Marker: p.Marker(), Kind: kind})
	if v != Pass {
		return v
	}
	p.SetSSRC(out.SSRC)
	p.SetSeq(out.Seq)
	p.SetTS(out.TS)
	p.SetMarker(out.Marker)
	return Pass
}

// Map gives in its place in the outgoing stream. now: monotonic ns, not decreasing from call to call. Out holds only with Pass.
func (s *Stamper) Map(now int64, in In) (Out, Verdict) {
	if !s.started || s.renew || in.SSRC != s.src.ssrc {
		return s.anchor(now, in), Pass
	}
	d := rtp.SeqDiff(in.Seq, s.src.hi)
	switch {
	case d > maxDropout || d < -maxLate:
		return s.wildJump(now, in, d)
	case d <= 0:
		return s.reordered(in, d)
	}
	s.src.wild = false
	s.src.hi = in.Seq
	s.sent.advance(uint64(d))
	return s.forward(now, in, d), Pass
}

// anchor starts a new source: the next number, the timestamp moved on by the time that passed, at least one packet.
func (s *Stamper) anchor(now int64, in In) Out {
	s.sent.advance(1)
	ts := s.ts
	if s.started {
		ts = s.next(now)
	}
	s.src = source{
		ssrc:   in.SSRC,
		hi:     in.Seq,
		seqOff: uint16(s.sent.hi) - in.Seq,
		tsOff:  ts - in.TS,
		floor:  s.sent.hi,
	}
	s.started, s.renew = true, false
	s.ts, s.at = ts, now
	if in.Kind != Audio {
		s.src.setEvent(in, ts)
	}
	return Out{SSRC: s.ssrc, Seq: uint16(s.sent.hi), TS: ts, Marker: in.Marker || in.Kind == Audio}
}

// wildJump waits for two packets in sequence before it believes a restart (RFC 3550 §A.1).
func (s *Stamper) wildJump(now int64, in In, d int) (Out, Verdict) {
	if s.src.wild && in.Seq == s.src.wildSeq {
		return s.anchor(now, in), Pass
	}
	s.src.wild, s.src.wildSeq = true, in.Seq+1
	if d < 0 && d > -maxDropout {
		return Out{}, Late
	}
	return Out{}, Jump
}

// reordered places a packet at or behind the newest one, once.
func (s *Stamper) reordered(in In, d int) (Out, Verdict) {
	ext := s.sent.hi - uint64(-d)
	if ext < s.src.floor {
		return Out{}, Late
	}
	if !s.sent.use(uint64(-d)) {
		return Out{}, Duplicate
	}
	ts := in.TS + s.src.tsOff
	if in.Kind != Audio {
		ts = s.src.lateEvent(in, s.ts)
	} else if rtp.TSDiff(ts, s.ts) > 0 {
		ts = s.ts // an older packet must not overtake the newest in time
	}
	return Out{SSRC: s.ssrc, Seq: uint16(ext), TS: ts, Marker: in.Marker}, Pass
}

// forward places a packet that is newer than all before it. d: sequence distance, 1..maxDropout.
func (s *Stamper) forward(now int64, in In, d int) Out {
	out := Out{SSRC: s.ssrc, Seq: uint16(s.sent.hi), Marker: in.Marker}
	if in.Kind != Audio {
		out.TS = s.eventTS(now, in)
		return out
	}
	ts := in.TS + s.src.tsOff
	delta := rtp.TSDiff(ts, s.ts)
	if delta < 0 || s.skewed(now, delta) {
		// Clock restarted, or stood still during hold: move on by the time that passed, keep the numbers.
		ts = s.next(now)
		s.src.tsOff = ts - in.TS
		s.src.floor = s.sent.hi
		out.Marker = true
	} else if d == 1 && delta > 0 && delta <= int(s.clock)*maxStep/1000 {
		s.step = uint32(delta)
	}
	s.ts, s.at = ts, now
	out.TS = ts
	return out
}

// eventTS is the timestamp of a telephone event: chosen at its first packet, the same for all others.
func (s *Stamper) eventTS(now int64, in In) uint32 {
	if s.src.sameEvent(in) {
		return s.src.evOut
	}
	ts := in.TS + s.src.tsOff
	if delta := rtp.TSDiff(ts, s.ts); in.Kind == ForeignEvent || delta < 0 || s.skewed(now, delta) {
		ts = s.next(now)
	}
	s.src.setEvent(in, ts)
	s.ts, s.at = ts, now
	return ts
}

// skewed reports whether a timestamp step of delta ticks disagrees with the time that passed.
func (s *Stamper) skewed(now int64, delta int) bool {
	diff := int64(delta) - s.elapsed(now)
	limit := int64(s.clock) * maxSkew
	return diff > limit || diff < -limit
}

// next is the timestamp after the last one by the time that passed, at least one step.
func (s *Stamper) next(now int64) uint32 {
	return s.ts + uint32(max(s.elapsed(now), int64(s.step)))
}

// elapsed is the time since the newest packet, ticks; never negative.
func (s *Stamper) elapsed(now int64) int64 {
	return rtp.Ticks(max(now-s.at, 0), s.clock)
}

// sameEvent reports whether in belongs to the event that was placed last.
func (s *source) sameEvent(in In) bool { return s.event && s.evIn == in.TS && s.evClock == in.Kind }

// setEvent remembers the timestamp of an event.
func (s *source) setEvent(in In, ts uint32) {
	s.event, s.evIn, s.evOut, s.evClock = true, in.TS, ts, in.Kind
}

// lateEvent is the timestamp of a reordered event packet, at most limit.
func (s *source) lateEvent(in In, limit uint32) uint32 {
	if s.sameEvent(in) {
		return s.evOut
	}
	ts := in.TS + s.tsOff
	if in.Kind == ForeignEvent || rtp.TSDiff(ts, limit) > 0 {
		return limit
	}
	return ts
}

// advance moves the window to hi+n and marks that number used. n >= 1.
func (w *window) advance(n uint64) {
	w.hi += n
	w.bits = w.bits<<n | 1 // a shift of 64 or more empties it
}

// use marks hi-back used and reports whether it was free. back: 0..63.
func (w *window) use(back uint64) bool {
	bit := uint64(1) << back
	if w.bits&bit != 0 {
		return false
	}
	w.bits |= bit
	return true
}

// Fetch asks the processor for what Apply touches.
func (s *Stamper) Fetch() { prefetch.Of(s, unsafe.Sizeof(*s)) }
