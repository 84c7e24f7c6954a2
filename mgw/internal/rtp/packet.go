// Package rtp gives views on RTP packets and tells the protocols on one port apart. Floor 0. // hot
// Owner: none; a Packet is a window on the caller's buffer, used by whoever holds the buffer.
// RFC 3550 §5.1, RFC 8285, RFC 5761, RFC 7983.
package rtp

import (
	"encoding/binary"
	"errors"
)

const (
	// HeaderLen is the fixed header, bytes (RFC 3550 §5.1).
	HeaderLen = 12
	// MaxLen is the longest packet that Parse takes, bytes: no RTP packet may exceed one UDP datagram.
	MaxLen = 65507

	version    = 2
	extHeadLen = 4 // profile word and length word of the extension, bytes
)

// Sentinel results of Parse and ParseHeader. They carry no packet content.
var (
	ErrShort   = errors.New("rtp: shorter than its header")
	ErrVersion = errors.New("rtp: version is not 2")
	ErrExt     = errors.New("rtp: extension longer than the packet")
	ErrPadding = errors.New("rtp: padding longer than the payload")
	ErrLong    = errors.New("rtp: longer than a datagram")
)

// Packet is a whole RTP packet whose header has been validated by Parse or ParseHeader.
// It aliases the caller's buffer; methods neither allocate nor keep it. The accessors of a slice that
// was not validated may panic.
type Packet []byte

// ParseHeader validates the header part of b (version, CSRC list, extension) and returns it as a Packet.
// It does not look at padding, whose length byte is ciphertext as long as SRTP is on (RFC 3711 §3.1).
// Errors: ErrShort, ErrVersion, ErrExt, ErrLong.
func ParseHeader(b []byte) (Packet, error) {
	if len(b) < HeaderLen {
		return nil, ErrShort
	}
	if len(b) > MaxLen {
		return nil, ErrLong
	}
	if b[0]>>6 != version {
		return nil, ErrVersion
	}
	n := HeaderLen + 4*int(b[0]&0x0f)
	if n > len(b) {
		return nil, ErrShort
	}
	if b[0]&0x10 != 0 {
		if n+extHeadLen > len(b) {
			return nil, ErrExt
		}
		n += extHeadLen + 4*int(binary.BigEndian.Uint16(b[n+2:]))
		if n > len(b) {
			return nil, ErrExt
		}
	}
	return Packet(b), nil
}

// Parse is ParseHeader for plaintext: it also validates the padding (RFC 3550 §5.1, P bit).
// Errors: those of ParseHeader and ErrPadding.
func Parse(b []byte) (Packet, error) {
	p, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	if p.HasPadding() {
		pad, room := int(p[len(p)-1]), len(p)-p.HeaderLen()
		if pad == 0 || pad > room {
			return nil, ErrPadding
		}
	}
	return p, nil
}

// PutHeader writes a fixed header without CSRC, extension or padding to b[:HeaderLen] and returns HeaderLen.
// It panics when b is shorter than that: the caller owns the headroom.
func PutHeader(b []byte, h Header) int {
	_ = b[HeaderLen-1]
	b[0] = version << 6
	b[1] = h.PT & 0x7f
	if h.Marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], h.Seq)
	binary.BigEndian.PutUint32(b[4:], h.TS)
	binary.BigEndian.PutUint32(b[8:], h.SSRC)
	return HeaderLen
}

// Header holds the fields of a fixed header that the gateway chooses itself.
type Header struct {
	PT     uint8 // payload type, 0..127
	Marker bool
	Seq    uint16
	TS     uint32 // clock ticks of the payload format
	SSRC   uint32
}

// HasPadding reports the P bit.
func (p Packet) HasPadding() bool { return p[0]&0x20 != 0 }

// HasExtension reports the X bit.
func (p Packet) HasExtension() bool { return p[0]&0x10 != 0 }

// CSRCCount is the number of contributing sources, 0..15.
func (p Packet) CSRCCount() int { return int(p[0] & 0x0f) }

// Marker reports the M bit.
func (p Packet) Marker() bool { return p[1]&0x80 != 0 }

// PT is the payload type, 0..127.
func (p Packet) PT() uint8 { return p[1] & 0x7f }

// Seq is the sequence number.
func (p Packet) Seq() uint16 { return binary.BigEndian.Uint16(p[2:4]) }

// TS is the timestamp, clock ticks of the payload format.
func (p Packet) TS() uint32 { return binary.BigEndian.Uint32(p[4:8]) }

// SSRC is the synchronization source.
func (p Packet) SSRC() uint32 { return binary.BigEndian.Uint32(p[8:12]) }

// SetMarker writes the M bit.
func (p Packet) SetMarker(m bool) {
	p[1] &= 0x7f
	if m {
		p[1] |= 0x80
	}
}

// SetPT writes the payload type; only the low 7 bits of pt are used.
func (p Packet) SetPT(pt uint8) { p[1] = p[1]&0x80 | pt&0x7f }

// SetSeq writes the sequence number.
func (p Packet) SetSeq(seq uint16) { binary.BigEndian.PutUint16(p[2:4], seq) }

// SetTS writes the timestamp, clock ticks.
func (p Packet) SetTS(ts uint32) { binary.BigEndian.PutUint32(p[4:8], ts) }

// SetSSRC writes the synchronization source.
func (p Packet) SetSSRC(ssrc uint32) { binary.BigEndian.PutUint32(p[8:12], ssrc) }

// HeaderLen is the length of the fixed header, CSRC list and extension together, bytes.
func (p Packet) HeaderLen() int {
	n := HeaderLen + 4*p.CSRCCount()
	if p.HasExtension() {
		n += extHeadLen + 4*int(binary.BigEndian.Uint16(p[n+2:n+4]))
	}
	return n
}

// Payload is the media without header and padding; it aliases p. Only for packets that passed Parse.
func (p Packet) Payload() []byte {
	return p[p.HeaderLen() : len(p)-p.paddingLen()]
}

// paddingLen is the number of padding bytes at the end, 0 without the P bit.
func (p Packet) paddingLen() int {
	if !p.HasPadding() {
		return 0
	}
	return int(p[len(p)-1])
}

// StripExtension removes the header extension in place by moving the header up to the payload, which stays where it is.
// The result starts later in the same buffer; the bytes before it become free headroom. Without extension it returns p.
// Extensions are negotiated per leg and must not leak to the other one (RFC 8285 §4).
func (p Packet) StripExtension() Packet {
	if !p.HasExtension() {
		return p
	}
	fixed := HeaderLen + 4*p.CSRCCount()
	shift := p.HeaderLen() - fixed
	copy(p[shift:shift+fixed], p[:fixed])
	p = p[shift:]
	p[0] &^= 0x10
	return p
}

// StripCSRC removes the contributing sources in place like StripExtension: they name sources of the other leg.
func (p Packet) StripCSRC() Packet {
	cc := p.CSRCCount()
	if cc == 0 {
		return p
	}
	shift := 4 * cc
	// The fixed header moves over the list; an extension, if any, is already next to the payload.
	copy(p[shift:shift+HeaderLen], p[:HeaderLen])
	p = p[shift:]
	p[0] &^= 0x0f
	return p
}

// StripPadding cuts the padding off and clears the P bit. Only for packets that passed Parse.
func (p Packet) StripPadding() Packet {
	if !p.HasPadding() {
		return p
	}
	p = p[:len(p)-p.paddingLen()]
	p[0] &^= 0x20
	return p
}

// Plain reduces p to the fixed header and the payload: no CSRC list, extension or padding. Only for packets that passed Parse.
func (p Packet) Plain() Packet {
	if p[0]&0x3f == 0 {
		return p
	}
	return p.StripPadding().StripExtension().StripCSRC()
}
