package dtmf

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// Verdict says what a packet was.
type Verdict uint8

// Verdicts of Push.
const (
	Accepted  Verdict = iota
	Stale             // belongs to a press that is over and followed by another
	Malformed         // no telephone event
)

// Press is the state of one key press.
type Press struct {
	ID     uint32 // counts presses; 0 is none
	Code   uint8
	Volume uint8
	TS     uint32 // timestamp of its first packet, ticks of the source's clock
	Ticks  uint64 // duration known so far, ticks of the source's clock, over all segments
	Ended  bool
	First  bool // the packet just pushed was the first seen of this press
}

// Detected is a press that is over, for Notify.
type Detected struct {
	Digit    byte // 0-9 * # A-D !
	Duration time.Duration
}

// Packet is one incoming event packet.
type Packet struct {
	SSRC    uint32
	TS      uint32
	Marker  bool
	Payload []byte
}

// Receiver tells presses apart, whatever is lost, repeated or late: all packets of a press share a timestamp. Use NewReceiver.
type Receiver struct {
	clock uint32
	ssrc  uint32
	cur   Press
	seg   uint32 // timestamp of the current segment (RFC 4733 §2.5.1.3)
	base  uint64 // ticks before it
	heard int64  // when the newest packet came, ns

	done    [8]Detected // ring of presses not yet taken
	from, n int
	missed  uint64 // presses nobody took in time
}

// NewReceiver returns a Receiver for events of clockRate Hz.
func NewReceiver(clockRate uint32) *Receiver { return &Receiver{clock: clockRate} }

// Push takes a packet that arrived at now (monotonic ns) and returns the press it belongs to. The payload is not kept.
func (r *Receiver) Push(now int64, p Packet) (Press, Verdict) {
	b, err := Read(p.Payload)
	if err != nil {
		return Press{}, Malformed
	}
	if r.cur.ID == 0 || p.SSRC != r.ssrc {
		r.begin(p, b)
	} else {
		switch d := rtp.TSDiff(p.TS, r.seg); {
		case d == 0:
			r.cur.First = false
		case r.continues(p, b, d):
			r.base += uint64(d)
			r.seg = p.TS
			r.cur.First = false
		case d < 0:
			return Press{}, Stale
		default:
			r.begin(p, b)
		}
	}
	r.heard = now
	r.update(b)
	return r.cur, Accepted
}

// continues reports whether a new timestamp is the next segment of the same long press rather than another press: segments are
// exactly as long as the duration field can tell.
func (r *Receiver) continues(p Packet, b Block, d int) bool {
	return d > 0 && d%maxField == 0 && d <= 4*maxField && !p.Marker && !r.cur.Ended && b.Code == r.cur.Code
}

// begin starts another press; one that is still open lost all its ends.
func (r *Receiver) begin(p Packet, b Block) {
	r.finish()
	r.ssrc, r.seg, r.base = p.SSRC, p.TS, 0
	r.cur = Press{ID: r.cur.ID + 1, Code: b.Code, Volume: b.Volume, TS: p.TS, First: true}
}

// update takes the duration, which only grows, and the end. Updates that come after the end change nothing.
func (r *Receiver) update(b Block) {
	if r.cur.Ended {
		return
	}
	r.cur.Ticks = max(r.cur.Ticks, r.base+uint64(b.Duration))
	if b.End {
		r.finish()
	}
}

// finish closes the current press and queues it for Take.
func (r *Receiver) finish() {
	if r.cur.ID == 0 || r.cur.Ended {
		return
	}
	r.cur.Ended = true
	if r.n == len(r.done) {
		r.from = (r.from + 1) % len(r.done)
		r.n--
		r.missed++
	}
	r.done[(r.from+r.n)%len(r.done)] = Detected{
		Digit:    Digit(r.cur.Code),
		Duration: time.Duration(rtp.Nanos(int64(r.cur.Ticks), r.clock)),
	}
	r.n++
}

// Poll closes a press that has not been updated for 200 ms: all its ends were lost. It returns the current press.
func (r *Receiver) Poll(now int64) Press {
	if r.cur.ID != 0 && !r.cur.Ended && now-r.heard > silentFor {
		r.finish()
	}
	p := r.cur
	p.First = false
	return p
}

// Take returns the oldest press that is over and was not taken yet; eight are kept.
func (r *Receiver) Take() (Detected, bool) {
	if r.n == 0 {
		return Detected{}, false
	}
	d := r.done[r.from]
	r.from = (r.from + 1) % len(r.done)
	r.n--
	return d, true
}

// Missed is the number of presses that were overwritten before Take.
func (r *Receiver) Missed() uint64 { return r.missed }
