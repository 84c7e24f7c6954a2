package rtp

import "encoding/binary"

// Class is the protocol of a datagram on a shared port (RFC 7983 §7).
type Class uint8

// The protocols that Classify tells apart.
const (
	Unknown     Class = iota // matches nothing that the gateway speaks; drop
	STUN                     // first byte 0..3, RFC 8489 header
	ZRTP                     // first byte 16..19; dropped by policy
	DTLS                     // first byte 20..63
	TURNChannel              // first byte 64..79
	RTP                      // first byte 128..191, second byte not an RTCP type
	RTCP                     // first byte 128..191, second byte 192..223 (RFC 5761 §4)
)

// String is the name for logs and metrics.
func (c Class) String() string {
	switch c {
	case STUN:
		return "stun"
	case ZRTP:
		return "zrtp"
	case DTLS:
		return "dtls"
	case TURNChannel:
		return "turn"
	case RTP:
		return "rtp"
	case RTCP:
		return "rtcp"
	default:
		return "unknown"
	}
}

const (
	stunHeaderLen = 20
	stunCookie    = 0x2112A442 // RFC 8489 §5
	dtlsHeaderLen = 13         // record header, RFC 6347 §4.1
	rtcpHeaderLen = 4
)

// Classify tells the protocol of datagram b by its first two bytes and the least length of that protocol's header.
// It claims nothing about the rest; b of any content and length is safe, and an empty or too short one is Unknown.
func Classify(b []byte) Class {
	if len(b) < 2 {
		return Unknown
	}
	switch f := b[0]; {
	case f >= 128 && f <= 191:
		return classifyRTP(b)
	case f <= 3:
		if IsSTUN(b) {
			return STUN
		}
	case f >= 20 && f <= 63:
		if len(b) >= dtlsHeaderLen {
			return DTLS
		}
	case f >= 16 && f <= 19:
		return ZRTP
	case f >= 64 && f <= 79:
		if len(b) >= 4 {
			return TURNChannel
		}
	}
	return Unknown
}

// classifyRTP splits RTP from RTCP by the byte in which the payload type stands: types 64..95 are kept free for RTCP (RFC 5761 §4).
func classifyRTP(b []byte) Class {
	if IsRTCP(b) {
		if len(b) >= rtcpHeaderLen {
			return RTCP
		}
		return Unknown
	}
	if len(b) >= HeaderLen {
		return RTP
	}
	return Unknown
}

// IsRTCP reports whether b, known to be RTP or RTCP by its first byte, is RTCP: packet types 192..223 (RFC 5761 §4).
func IsRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }

// IsSTUN reports whether b has the shape of a STUN message: two leading zero bits, the magic cookie, and a length field that is a
// multiple of four and ends with the datagram (RFC 8489 §5).
func IsSTUN(b []byte) bool {
	if len(b) < stunHeaderLen || b[0]&0xc0 != 0 || binary.BigEndian.Uint32(b[4:8]) != stunCookie {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[2:4]))
	return n%4 == 0 && n+stunHeaderLen == len(b)
}
