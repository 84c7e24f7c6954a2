package webua

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/pion/rtp"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

const (
	framesPerSecond = 50
	pressFrames     = 5  // length of a press
	gapFrames       = 3  // audio after it, at least
	eventVolume     = 10 // below 0 dBm0 (RFC 4733 §2.3.2)
	endRepeats      = 3  // of the last packet (RFC 4733 §2.5.1.4)
)

// press is a digit on its way.
type press struct {
	code byte
	from uint32 // timestamp of all its packets
	sent int    // frames
	done chan struct{}
}

// ErrNoEvents reports that no telephone-event of the audio's clock rate was agreed.
var ErrNoEvents = errors.New("webua: telephone-event was not negotiated")

// SendDigits presses digits for 100 ms each with 60 ms of audio between, and returns when the last is over. Config.Events must be set.
func (c *Call) SendDigits(ctx context.Context, digits string) error {
	p := c.media()
	if p == nil {
		return ErrEnded
	}
	if !p.track.agreed() {
		return ErrNoEvents
	}
	for i := range len(digits) {
		code := strings.IndexByte(tone.Digits, digits[i])
		if code < 0 {
			return fmt.Errorf("webua: %q is no DTMF digit", digits[i])
		}
		d := &press{code: byte(code), done: make(chan struct{})}
		select {
		case p.presses <- d:
		case <-p.stop:
			return ErrEnded
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-d.done:
		case <-p.stop:
			return ErrEnded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// events is what was received of telephone-events.
type events struct {
	digits  string // each press once, in order
	last    uint32 // timestamp of the newest
	ended   bool   // its end was told
	unended int    // presses before it whose end never was
	clock   uint32 // Hz
}

// take notes a packet: the same timestamp is the same press (RFC 4733 §2.5.1.4).
func (e *events) take(p *rtp.Packet, clock uint32) {
	if len(p.Payload) < 4 || int(p.Payload[0]) >= len(tone.Digits) || binary.BigEndian.Uint16(p.Payload[2:]) == 0 {
		e.digits += "?" // nobody expects it
		return
	}
	if e.digits == "" || p.Timestamp != e.last || tone.Digits[p.Payload[0]] != e.digits[len(e.digits)-1] {
		if e.digits != "" && !e.ended {
			e.unended++
		}
		e.digits, e.last, e.ended, e.clock = e.digits+string(tone.Digits[p.Payload[0]]), p.Timestamp, false, clock
	}
	e.ended = e.ended || p.Payload[1]&0x80 != 0
}
