package rtcp

import "github.com/isthmus-gateway/isthmus/mgw/internal/rtp"

const (
	maxDropout  = 3000 // RFC 3550 §A.1
	maxMisorder = 100

	lostMax = 1<<23 - 1 // limits of the 24-bit loss counter
	lostMin = -1 << 23
)

// Arrival is one RTP packet that passed all checks.
type Arrival struct {
	SSRC    uint32
	Seq     uint16
	TS      uint32 // ticks
	Payload int    // bytes without header and padding
	Event   bool   // telephone event: its timestamp stands still and says nothing about jitter
}

// receiver keeps the reception state of the current source (RFC 3550 §A.1, §A.3, §A.8).
type receiver struct {
	known  bool
	ssrc   uint32
	base   uint32 // first extended sequence number
	max    uint32 // highest, extended
	bad    uint32 // the number after a wild one; above 16 bits: none
	got    int64  // packets of this source
	before struct{ expected, got int64 }

	timed   bool
	transit uint32 // of the last packet, ticks
	jitter  uint32 // ticks, 4 fraction bits

	bursts bursts // of this source
	ts     uint32 // of the newest packet in sequence
	step   uint32 // ticks from one packet to the next; 0: not known

	sources uint32 // that have begun
	packets uint64 // over all sources
	octets  uint64
	lostOld int64 // lost by sources gone
}

const (
	noBad   = 1 << 16
	maxStep = 48000 / 4 // ticks; no packet is longer than 250 ms
)

// arrive takes a packet in and reports whether a source begins with it. at: arrival, ticks of the source's clock.
func (r *receiver) arrive(at int64, a Arrival) (began bool) {
	r.packets++
	r.octets += uint64(a.Payload)
	begun := r.sources
	if !r.known || r.ssrc != a.SSRC {
		r.begin(a)
	} else if !r.sequence(a) {
		return false
	}
	r.got++
	if !a.Event {
		r.interarrival(uint32(at) - a.TS)
	}
	return r.sources != begun
}

// frame is how long a packet is, ns; 20 ms as long as nothing is known.
func (r *receiver) frame(clock uint32) int64 {
	if r.step == 0 {
		return 20_000_000
	}
	return rtp.Nanos(int64(r.step), clock)
}

// advance takes a packet d numbers after the newest one. clock ticks of a telephone event stand still.
func (r *receiver) advance(d int, a Arrival) {
	r.bursts.missed(d - 1)
	r.bursts.received()
	if step := a.TS - r.ts; d == 1 && !a.Event && step > 0 && step < maxStep {
		r.step = step
	}
	r.ts = a.TS
}

// begin starts counting a new source or a restarted one.
func (r *receiver) begin(a Arrival) {
	if r.known {
		r.lostOld += max(0, r.expected()-r.got)
	}
	r.known, r.ssrc = true, a.SSRC
	r.sources++
	// One cycle up, so that a reordered packet before the first does not go below zero.
	r.base = 1<<16 | uint32(a.Seq)
	r.max = r.base
	r.bad = noBad
	r.got, r.before.expected, r.before.got = 0, 0, 0
	r.timed = false
	r.bursts, r.ts, r.step = bursts{}, a.TS, 0
	r.bursts.received()
}

// sequence is update_seq of RFC 3550 §A.1 without the probation of new sources, which are authenticated or latched here.
func (r *receiver) sequence(a Arrival) bool {
	d := rtp.SeqDiff(a.Seq, uint16(r.max))
	switch {
	case d >= 0 && d < maxDropout:
		r.max += uint32(d)
		if d > 0 {
			r.advance(d, a)
		}
	case d < 0 && d >= -maxMisorder:
		r.base = min(r.base, r.max-uint32(-d))
		r.bursts.late()
	case r.bad == uint32(a.Seq):
		r.begin(a)
		return true
	default:
		r.bad = uint32(a.Seq+1) & 0xffff
		return false
	}
	r.bad = noBad
	return true
}

// interarrival is the jitter estimate of RFC 3550 §A.8.
func (r *receiver) interarrival(transit uint32) {
	if r.timed {
		d := rtp.TSDiff(transit, r.transit)
		if d < 0 {
			d = -d
		}
		// A jump of the clock is no jitter: one such value would stay in the estimate for seconds.
		if d < 1<<20 {
			r.jitter += uint32(d) - (r.jitter+8)>>4
		}
	}
	r.timed, r.transit = true, transit
}

// expected is the number of packets the source has sent by its numbers.
func (r *receiver) expected() int64 {
	if !r.known {
		return 0
	}
	return int64(r.max) - int64(r.base) + 1
}

// lost is the cumulative loss of the current source, as reported.
func (r *receiver) lost() int32 {
	return int32(min(max(r.expected()-r.got, lostMin), lostMax))
}

// fraction is the share lost since the last call, of 256 (RFC 3550 §A.3).
func (r *receiver) fraction() uint8 {
	expected := r.expected()
	de, dg := expected-r.before.expected, r.got-r.before.got
	r.before.expected, r.before.got = expected, r.got
	if de <= 0 || de <= dg {
		return 0
	}
	return uint8(min((de-dg)<<8/de, 255))
}
