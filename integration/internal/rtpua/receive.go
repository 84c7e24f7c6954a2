package rtpua

import (
	"net/netip"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/pion/rtp"
)

// reorderDepth is how many packets may wait for a missing one before it is given up: 80 ms.
const reorderDepth = 4

// maxFill is the longest gap filled with silence, in packets; a longer one is a restart.
const maxFill = 50

// Receive is what a strict receiver saw. All counts are since Open.
type Receive struct {
	Packets      uint64 `json:"packets"`       // valid RTP of an agreed payload type
	Octets       uint64 `json:"octets"`        // their payloads
	Lost         uint64 `json:"lost"`          // sequence numbers that never came in time
	Reordered    uint64 `json:"reordered"`     // came after a higher number, but in time
	Duplicates   uint64 `json:"duplicates"`    // came twice, or after being given up
	SSRC         uint32 `json:"ssrc"`          // of the current source
	SSRCChanges  uint64 `json:"ssrc_changes"`  // a continuous sender has none
	SeqJumps     uint64 `json:"seq_jumps"`     // jumps of more than 50 or backwards, same SSRC
	TSJumps      uint64 `json:"ts_jumps"`      // timestamp not continuing, without a marker bit
	MarkedJumps  uint64 `json:"marked_jumps"`  // timestamp not continuing, at a marker bit
	TSBackwards  uint64 `json:"ts_backwards"`  // timestamp of a later packet lower than before
	WrongPT      uint64 `json:"wrong_pt"`      // payload type not agreed
	WrongSize    uint64 `json:"wrong_size"`    // G.711 payload that is not 20 ms
	Malformed    uint64 `json:"malformed"`     // no RTP
	Strangers    uint64 `json:"strangers"`     // from another address than the agreed one; dropped
	WhileStopped uint64 `json:"while_stopped"` // received although the direction forbids it; dropped
	Events       uint64 `json:"events"`        // telephone events begun
	Jitter       uint32 `json:"jitter_ticks"`  // RFC 3550 §6.4.1, in ticks of 1/8000 s
	Digits       string `json:"digits"`        // events received, in order, at most the last 256
}

// Discontinuities is the sum of all that a continuous sender never causes.
func (r Receive) Discontinuities() uint64 {
	return r.SSRCChanges + r.SeqJumps + r.TSJumps + r.TSBackwards
}

// receiver orders, judges and decodes. Guarded by the Endpoint's lock.
type receiver struct {
	p       Params
	stats   Receive
	started bool
	next    uint16 // next sequence number to release
	held    map[uint16]rtp.Packet
	highest uint16
	ext     uint32 // extended highest sequence number (RFC 3550 §A.1)
	base    uint32
	// Timestamp judge: the last packet released.
	lastSeq   uint16
	lastTS    uint32
	lastEvent bool
	haveLast  bool
	// Event in progress.
	evTS   uint32
	evCode int // -1: none seen yet
	// Jitter (RFC 3550 §A.8).
	transit  int64
	jitter   float64
	haveTime bool
	// The sender's clock, for LongestStep.
	newestTS uint32
	haveTS   bool
	step     uint32
	pcm      []int16
}

func newReceiver() *receiver {
	return &receiver{held: map[uint16]rtp.Packet{}, evCode: -1}
}

func (r *receiver) setParams(p Params) {
	if p.Recv != r.p.Recv || p.PT != r.p.PT {
		r.haveLast = false // a pause or a new codec may restart the timestamp's increments
	}
	r.p = p
}

func (e *Endpoint) readLoop() {
	defer e.wg.Done()
	buf := make([]byte, 2048)
	start := time.Now()
	for {
		n, src, err := e.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if closed(err) {
				return
			}
			continue
		}
		src = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
		for _, d := range e.take(buf[:n], src, time.Since(start)) {
			if e.cfg.OnDigit != nil {
				e.cfg.OnDigit(d)
			}
		}
	}
}

// take processes one datagram and returns the digits that begin with it.
func (e *Endpoint) take(data []byte, src netip.AddrPort, at time.Duration) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.recv
	if r.p.Remote.IsValid() && src != r.p.Remote {
		r.stats.Strangers++
		return nil
	}
	var p rtp.Packet
	if err := p.Unmarshal(append([]byte(nil), data...)); err != nil || p.Version != 2 {
		r.stats.Malformed++
		return nil
	}
	if !r.p.Recv {
		r.stats.WhileStopped++
		return nil
	}
	isEvent := r.p.EventPT != 0 && p.PayloadType == r.p.EventPT
	if p.PayloadType != r.p.PT && !isEvent {
		r.stats.WrongPT++
		return nil
	}
	return r.insert(p, at, e.sink)
}

// insert counts p and releases what has become deliverable.
func (r *receiver) insert(p rtp.Packet, at time.Duration, sink tone.Sink) []byte {
	if !r.started || p.SSRC != r.stats.SSRC {
		if r.started {
			r.stats.SSRCChanges++
		}
		r.haveTS = false
		r.restart(p)
	}
	if step := p.Timestamp - r.newestTS; !r.haveTS || int32(step) > 0 {
		if r.haveTS {
			r.step = max(r.step, step)
		}
		r.newestTS, r.haveTS = p.Timestamp, true
	}
	r.stats.Packets++
	r.stats.Octets += uint64(len(p.Payload))
	r.measureJitter(p, at)
	ahead := int16(p.SequenceNumber - r.next)
	switch {
	case ahead > maxFill || ahead < -maxFill:
		r.stats.SeqJumps++
		r.restart(p)
	case ahead < 0:
		r.stats.Duplicates++
		return nil
	}
	if _, dup := r.held[p.SequenceNumber]; dup {
		r.stats.Duplicates++
		return nil
	}
	if int16(p.SequenceNumber-r.highest) > 0 {
		r.ext += uint32(p.SequenceNumber - r.highest)
		r.highest = p.SequenceNumber
	} else if p.SequenceNumber != r.highest {
		r.stats.Reordered++
	}
	r.held[p.SequenceNumber] = p
	return r.release(sink)
}

// LongestStep is the longest way of the timestamp from one packet to the next since it was asked last, on the sender's clock: how busy
// this machine is does not show in it. Frame without loss; 0 before the second packet.
func (e *Endpoint) LongestStep() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	step := e.recv.step
	e.recv.step = 0
	return time.Duration(step) * time.Second / tone.Rate
}

func (r *receiver) restart(p rtp.Packet) {
	r.started, r.haveLast, r.haveTime = true, false, false
	r.stats.SSRC = p.SSRC
	r.next, r.highest = p.SequenceNumber, p.SequenceNumber
	r.ext, r.base = uint32(p.SequenceNumber), uint32(p.SequenceNumber)
	r.evCode = -1
	clear(r.held)
}

// release hands on packets in order; a missing one is given up when reorderDepth others wait.
func (r *receiver) release(sink tone.Sink) []byte {
	var digits []byte
	for len(r.held) > 0 {
		p, ok := r.held[r.next]
		if !ok {
			if len(r.held) < reorderDepth {
				return digits
			}
			r.stats.Lost++
			r.next++
			continue
		}
		delete(r.held, r.next)
		r.next++
		r.fillGap(p, sink)
		r.judge(p)
		if p.PayloadType == r.p.EventPT && r.p.EventPT != 0 {
			if d := r.event(p); d != 0 {
				digits = append(digits, d)
			}
			continue
		}
		if len(p.Payload) != tone.FrameLen {
			r.stats.WrongSize++
		}
		r.pcm = r.p.Law.Decode(r.pcm[:0], p.Payload)
		sink.Write(r.pcm)
	}
	return digits
}

// fillGap keeps the sink's time in step by writing silence for lost audio.
func (r *receiver) fillGap(p rtp.Packet, sink tone.Sink) {
	if !r.haveLast {
		return
	}
	missing := int(p.SequenceNumber-r.lastSeq) - 1
	for range min(missing, maxFill) {
		sink.Write(make([]int16, tone.FrameLen))
	}
}

// judge checks that the timestamp goes on as the sequence number does (RFC 3550 §5.1, RFC 3551 §4.1).
// An event keeps the timestamp of its beginning (RFC 4733 §2.5.1.2); audio after it must lie ahead.
func (r *receiver) judge(p rtp.Packet) {
	isEvent := r.p.EventPT != 0 && p.PayloadType == r.p.EventPT
	if r.haveLast {
		steps := uint32(p.SequenceNumber - r.lastSeq)
		delta := int32(p.Timestamp - r.lastTS)
		switch {
		case delta < 0:
			r.stats.TSBackwards++
		case isEvent || r.lastEvent:
		case delta == int32(steps*tone.FrameLen):
		case p.Marker:
			r.stats.MarkedJumps++
		default:
			r.stats.TSJumps++
		}
	}
	r.lastSeq, r.lastTS, r.lastEvent, r.haveLast = p.SequenceNumber, p.Timestamp, isEvent, true
}

// event notes a telephone event and returns its digit when it is a new one: same code and timestamp
// are the same press (RFC 4733 §2.5.1.4).
func (r *receiver) event(p rtp.Packet) byte {
	if len(p.Payload) < 4 || int(p.Payload[0]) >= len(tone.Digits) {
		r.stats.Malformed++
		return 0
	}
	if r.evCode == int(p.Payload[0]) && r.evTS == p.Timestamp {
		return 0
	}
	r.evCode, r.evTS = int(p.Payload[0]), p.Timestamp
	r.stats.Events++
	d := tone.Digits[p.Payload[0]]
	r.stats.Digits += string(d)
	if len(r.stats.Digits) > 256 {
		r.stats.Digits = r.stats.Digits[1:]
	}
	return d
}

// measureJitter is RFC 3550 §A.8; events are left out, as their timestamps stand still.
func (r *receiver) measureJitter(p rtp.Packet, at time.Duration) {
	if p.PayloadType != r.p.PT {
		return
	}
	transit := int64(at)*tone.Rate/int64(time.Second) - int64(p.Timestamp)
	if r.haveTime {
		d := int64(int32(transit - r.transit))
		if d < 0 {
			d = -d
		}
		r.jitter += (float64(d) - r.jitter) / 16
		r.stats.Jitter = uint32(r.jitter)
	}
	r.transit, r.haveTime = transit, true
}
