// Package jitter orders the packets of one audio source and plays them out at the least delay that the network allows. Floor 1. // hot
// Owner: the worker of the Direction that holds it; not safe for concurrent use, no clock of its own. It allocates when more has to wait than
// ever before since New or Release, so not in the long run.
// It works in two time lines: packets have timestamps (ticks of the RTP clock), Push and Pop have the caller's monotonic time.
package jitter

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	slots     = 64   // packets kept at most; a power of two
	arenaSize = 8192 // payload bytes kept at most: 1 s of G.711, 200 ms of Opus at 320 kbit/s

	// What a source begins with; both double as needed.
	firstSlots = 8
	firstArena = 512

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
	Resumed bool   // Frame: the source was silent before it; what Wait had concealed was no loss
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
	min, max int64  // delay bounds, ticks
	start    int64  // target before measurements, ticks
	slot     []slot // by sequence number; none before the first packet
	count    int
	arena    []byte // likewise
	head     uint64 // next arena position
	tail     uint64 // no kept payload starts before it
	delay    meter
	src      source
	before   source // the one whose packets were still waiting when src began; its stragglers are taken
	play     playout
	stats    Stats
	ptime    uint32 // duration of the newest packet, ticks
	excess   int64  // average of the delay beyond its target and a frame, ticks
	known    bool   // Shift has looked at what the source was given at first
	wait     int64  // and, times steady, of the time for which packets wait beyond the target
	short    int    // pops in a row at which packets had waited for less than Shift leaves a source
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

// New returns an empty buffer. What packets need is allocated as they come, at most 10 KiB.
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

// store puts p of a source in its slot and makes room where needed.
func (b *Buffer) store(p Packet, gen uint8) Verdict {
	s := b.place(p.Seq)
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
	copy(b.arena[at%uint64(len(b.arena)):], p.Payload)
	*s = slot{used: true, seq: p.Seq, n: uint16(len(p.Payload)), gen: gen, kind: Frame, ts: p.TS, dur: p.Dur, at: at}
	if p.Noise {
		s.kind = Noise
	}
	b.count++
	return Kept
}

// drop frees a slot.
func (b *Buffer) drop(s *slot) {
	s.used = false
	b.count--
}

// payload is what a slot holds.
func (b *Buffer) payload(s *slot) []byte {
	at := s.at % uint64(len(b.arena))
	return b.arena[at : at+uint64(s.n) : at+uint64(s.n)]
}

// earliest is the first packet in sequence order, nil when there is none.
func (b *Buffer) earliest() *slot {
	if b.count == 0 {
		return nil
	}
	if s := &b.slot[int(b.play.seq+1)%len(b.slot)]; b.play.running && s.used && s.seq == b.play.seq+1 {
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
