package webua

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

const eventMime = "audio/telephone-event"

// voice is a track of audio with the telephone-events between it, in one numbering and one clock (RFC 4733 §2.5.1.1).
type voice struct {
	mime string // of the audio

	mu     sync.Mutex // guards what follows
	id     string     // of the binding
	out    webrtc.TrackLocalWriter
	header rtp.Header // of the next packet
	audio  uint8      // payload type
	event  uint8      // payload type at the clock of the audio; 0: not agreed
	clock  uint32     // Hz
}

func newVoice(mime string) *voice {
	return &voice{mime: mime, header: rtp.Header{Version: 2, SequenceNumber: uint16(rand.Uint32() >> 17), Timestamp: rand.Uint32(), Marker: true}}
}

// Bind implements webrtc.TrackLocal.
func (v *voice) Bind(ctx webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := ctx.CodecParameters()
	for _, c := range all {
		if !strings.EqualFold(c.MimeType, v.mime) {
			continue
		}
		v.id, v.out, v.audio, v.event, v.clock = ctx.ID(), ctx.WriteStream(), uint8(c.PayloadType), 0, c.ClockRate
		v.header.SSRC = uint32(ctx.SSRC())
		for _, e := range all {
			if strings.EqualFold(e.MimeType, eventMime) && e.ClockRate == c.ClockRate {
				v.event = uint8(e.PayloadType)
			}
		}
		return c, nil
	}
	return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
}

// Unbind implements webrtc.TrackLocal.
func (v *voice) Unbind(ctx webrtc.TrackLocalContext) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.id == ctx.ID() {
		v.out = nil
	}
	return nil
}

// ID implements webrtc.TrackLocal.
func (v *voice) ID() string { return "audio" }

// RID implements webrtc.TrackLocal.
func (v *voice) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (v *voice) StreamID() string { return "webua" }

// Kind implements webrtc.TrackLocal.
func (v *voice) Kind() webrtc.RTPCodecType { return webrtc.RTPCodecTypeAudio }

// agreed reports whether events can be sent.
func (v *voice) agreed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.out != nil && v.event != 0
}

// frame sends 20 ms of audio; nil: nothing, the time passes. Errors: io.ErrClosedPipe when the connection is closed.
func (v *voice) frame(payload []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.pass()
	if payload == nil {
		return nil
	}
	return v.write(v.audio, v.header.Timestamp, payload)
}

// press sends the next packets of an event in the place of a frame, and reports whether it has ended: its duration counts up, the last packet is
// sent three times (RFC 4733 §2.5.1.2, §2.5.1.4). Errors as frame.
func (v *voice) press(p *press) (over bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer v.pass()
	if p.sent == 0 {
		p.from, v.header.Marker = v.header.Timestamp, true
	}
	p.sent++
	payload, repeats := []byte{p.code, eventVolume}, 1
	if over = p.sent == pressFrames; over {
		payload[1] |= 0x80
		repeats = endRepeats
	}
	payload = binary.BigEndian.AppendUint16(payload, uint16(uint32(p.sent)*v.clock/framesPerSecond))
	for range repeats {
		if err := v.write(v.event, p.from, payload); err != nil {
			return over, err
		}
	}
	return over, nil
}

// pass is 20 ms of media time. Caller holds mu.
func (v *voice) pass() { v.header.Timestamp += v.clock / framesPerSecond }

// write sends one packet. Caller holds mu.
func (v *voice) write(pt uint8, ts uint32, payload []byte) error {
	if v.out == nil {
		return nil // not agreed yet
	}
	h := v.header
	h.PayloadType, h.Timestamp = pt, ts
	v.header.SequenceNumber++
	v.header.Marker = false
	if _, err := v.out.WriteRTP(&h, payload); err != nil {
		return fmt.Errorf("webua: %w", err)
	}
	return nil
}
