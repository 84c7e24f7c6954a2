package rtpua

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

const headerLen = 12

// eventVolume is the power of an event below 0 dBm0 (RFC 4733 §2.3.2).
const eventVolume = 10

// press is one key press waiting to be sent.
type press struct {
	code   byte
	frames int // of 20 ms each, 2 or more
	gap    int // frames of ordinary audio afterwards
	done   chan struct{}
}

// event is the press being sent. Owned by sendLoop.
type event struct {
	press
	ts   uint32 // timestamp of all its packets
	sent int    // packets so far, the repeated last one included
}

// endRepeats is how often the last packet of an event is sent in all (RFC 4733 §2.5.1.4).
const endRepeats = 3

// ErrNoEvents reports that no telephone-event payload type was agreed.
var ErrNoEvents = errors.New("rtpua: telephone-event was not negotiated")

// SendDigits plays digits as RFC 4733 events of about 100 ms with 60 ms between, in place of the
// audio, and returns when the last has been sent. It fails for a character that is no DTMF digit.
func (e *Endpoint) SendDigits(ctx context.Context, digits string) error {
	if e.Params().EventPT == 0 {
		return ErrNoEvents
	}
	for i := range len(digits) {
		code := strings.IndexByte(tone.Digits, digits[i])
		if code < 0 {
			return fmt.Errorf("rtpua: %q is no DTMF digit", digits[i])
		}
		p := press{code: byte(code), frames: 5, gap: 3, done: make(chan struct{})}
		select {
		case e.presses <- p:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
			return ErrEndpointClosed
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
			return ErrEndpointClosed
		}
	}
	return nil
}

// ErrEndpointClosed reports use of a closed Endpoint.
var ErrEndpointClosed = errors.New("rtpua: endpoint closed")

// sendLoop paces one frame every 20 ms against an absolute schedule, so that delays of one tick do
// not add up. After a stall of more than 200 ms it starts a new schedule rather than bursting.
func (e *Endpoint) sendLoop() {
	defer e.wg.Done()
	timer := time.NewTimer(Frame)
	defer timer.Stop()
	next := time.Now().Add(Frame)
	var ev *event
	gap := 0
	for {
		select {
		case <-e.wake:
			return
		case <-timer.C:
		}
		if ev == nil && gap == 0 {
			select {
			case p := <-e.presses:
				ev = &event{press: p}
			default:
			}
		}
		if gap > 0 {
			gap--
		}
		if e.tick(ev) && ev != nil {
			gap = ev.gap
			close(ev.done)
			ev = nil
		}
		next = next.Add(Frame)
		if late := time.Since(next); late > 200*time.Millisecond {
			next = time.Now()
		}
		timer.Reset(max(0, time.Until(next)))
	}
}

// tick sends the packets of one frame and reports whether ev, if any, has ended with it. Media time
// goes on while nothing may be sent.
func (e *Endpoint) tick(ev *event) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	var pcm [tone.FrameLen]int16
	e.src.Fill(pcm[:]) // media time passes during events and on hold as well
	defer func() { e.send.ts += tone.FrameLen }()
	p := e.params
	if !p.Send || !p.Remote.IsValid() {
		return ev != nil // a press on a held call is lost
	}
	if ev != nil && p.EventPT != 0 {
		return e.sendEventLocked(ev, p)
	}
	buf := e.headerLocked(p.PT, e.send.ts)
	buf = p.Law.Encode(buf, pcm[:])
	e.writeLocked(buf, p.Remote)
	return ev != nil
}

// sendEventLocked sends the next packet of ev (RFC 4733 §2.5.1.2): duration counts up, the last is
// sent three times with the end bit.
func (e *Endpoint) sendEventLocked(ev *event, p Params) bool {
	if ev.sent == 0 {
		ev.ts = e.send.ts
		e.send.marker = true
	}
	ev.sent++
	last := ev.sent >= ev.frames
	duration := uint16(ev.sent * tone.FrameLen)
	repeats := 1
	if last {
		repeats = endRepeats
	}
	for range repeats {
		buf := e.headerLocked(p.EventPT, ev.ts)
		flags := byte(eventVolume)
		if last {
			flags |= 0x80
		}
		buf = append(buf, ev.code, flags)
		buf = binary.BigEndian.AppendUint16(buf, duration)
		e.writeLocked(buf, p.Remote)
	}
	return last
}

func (e *Endpoint) headerLocked(pt uint8, ts uint32) []byte {
	buf := make([]byte, headerLen, headerLen+tone.FrameLen)
	buf[0] = 0x80
	buf[1] = pt & 0x7f
	if e.send.marker {
		buf[1] |= 0x80
		e.send.marker = false
	}
	binary.BigEndian.PutUint16(buf[2:], e.send.seq)
	binary.BigEndian.PutUint32(buf[4:], ts)
	binary.BigEndian.PutUint32(buf[8:], e.send.ssrc)
	e.send.seq++
	return buf
}

func (e *Endpoint) writeLocked(buf []byte, to netip.AddrPort) {
	if _, err := e.rtp.WriteToUDPAddrPort(buf, to); err != nil {
		e.send.errors++
		return
	}
	e.send.packets++
	e.send.octets += uint32(len(buf) - headerLen)
}
