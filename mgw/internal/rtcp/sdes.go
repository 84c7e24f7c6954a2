package rtcp

import "encoding/binary"

// Source descriptions (RFC 3550 §6.5): our name, and which stream is whose.

const (
	itemCNAME = 1
	itemMID   = 15 // RFC 9143 §15.1

	// MaxMID is the longest MID that reports carry, bytes: that of a one-byte header extension (RFC 8285 §4.2).
	MaxMID = 16

	sdesMax = headLen + 4 + (2+maxCNAME+2+MaxMID+1+3)/4*4 // chunk padded to a word, at least one zero (RFC 3550 §6.5)
)

// SetMID names the stream in reports, 1 to MaxMID bytes; "": no longer.
func (l *Leg) SetMID(mid string) { l.mid = mid[:min(len(mid), MaxMID)] }

// sdes writes our CNAME, which every compound must hold (RFC 3550 §6.1), and the MID (RFC 9143 §15).
func (l *Leg) sdes(out []byte) int {
	binary.BigEndian.PutUint32(out[headLen:], l.cfg.SSRC)
	n := headLen + 4
	n += putItem(out[n:], itemCNAME, l.cfg.CNAME)
	if l.mid != "" {
		n += putItem(out[n:], itemMID, l.mid)
	}
	end := (n + 1 + 3) / 4 * 4
	clear(out[n:end])
	putHead(out, 1, typeSDES, end)
	return end
}

func putItem(out []byte, typ byte, text string) int {
	out[0], out[1] = typ, byte(len(text))
	return 2 + copy(out[2:], text)
}

// EachMID calls f with each MID that source descriptions in a plaintext datagram name a source by (RFC 9143 §9.2), never an empty one. mid aliases b. b of
// any content is safe; what is malformed ends the search.
func EachMID(b []byte, f func(ssrc uint32, mid []byte)) {
	for len(b) > 0 {
		p, rest, err := split(b)
		if err != nil {
			return
		}
		if p[1] == typeSDES {
			chunks(p[headLen:], int(p[0]&0x1f), f)
		}
		b = rest
	}
}

func chunks(p []byte, count int, f func(ssrc uint32, mid []byte)) {
	for ; count > 0 && len(p) > 4; count-- {
		ssrc, n := binary.BigEndian.Uint32(p), 4
		for n < len(p) && p[n] != 0 {
			if n+2 > len(p) || n+2+int(p[n+1]) > len(p) {
				return
			}
			text := p[n+2 : n+2+int(p[n+1])]
			if p[n] == itemMID && len(text) > 0 {
				f(ssrc, text)
			}
			n += 2 + len(text)
		}
		p = p[min((n+1+3)/4*4, len(p)):] // behind the zeros, one at least
	}
}
