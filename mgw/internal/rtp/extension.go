package rtp

import "encoding/binary"

// Profiles of header extensions (RFC 8285 §4.2, §4.3).
const (
	oneByteProfile  = 0xbede
	twoByteProfile  = 0x1000 // the lower four bits are the application's
	oneByteReserved = 15     // ends the list (RFC 8285 §4.2)
	// MaxElement is the longest element that PutElement writes, octets: a one-byte header holds no longer one.
	MaxElement = 16
)

// Element finds the header extension element with local identifier id, 1 to 14, in either form; nil when there is none. It aliases p. Only for
// packets that passed Parse or ParseHeader; of a malformed list what comes before the fault is found.
func (p Packet) Element(id uint8) []byte {
	if !p.HasExtension() || id == 0 {
		return nil
	}
	at := HeaderLen + 4*p.CSRCCount()
	profile, list := binary.BigEndian.Uint16(p[at:]), p[at+extHeadLen:p.HeaderLen()]
	switch {
	case profile == oneByteProfile:
		return oneByte(list, id)
	case profile&0xfff0 == twoByteProfile:
		return twoByte(list, id)
	}
	return nil
}

func oneByte(list []byte, id uint8) []byte {
	for len(list) > 0 {
		x, n := list[0]>>4, int(list[0]&0x0f)+1
		switch {
		case list[0] == 0: // padding
			list = list[1:]
			continue
		case x == oneByteReserved || x == 0 || 1+n > len(list): // id 0 with a length (RFC 8285 §4.1.2)
			return nil
		case x == id:
			return list[1 : 1+n]
		}
		list = list[1+n:]
	}
	return nil
}

func twoByte(list []byte, id uint8) []byte {
	for len(list) > 0 {
		if list[0] == 0 { // padding
			list = list[1:]
			continue
		}
		if len(list) < 2 || 2+int(list[1]) > len(list) {
			return nil
		}
		n := int(list[1])
		if list[0] == id {
			return list[2 : 2+n]
		}
		list = list[2+n:]
	}
	return nil
}

// ElementSize is what PutElement adds to a packet for data of n octets.
func ElementSize(n int) int { return extHeadLen + (1+n+3)/4*4 }

// PutElement inserts a header extension with one element, 1 to MaxElement octets, into a packet of fixed header and payload as Plain leaves it. The
// packet grows by ElementSize, for which it needs spare capacity: else it panics. id: 1 to 14.
func (p Packet) PutElement(id uint8, data []byte) Packet {
	grow := ElementSize(len(data))
	out := p[:len(p)+grow]
	copy(out[HeaderLen+grow:], p[HeaderLen:])
	out[0] |= 0x10
	ext := out[HeaderLen : HeaderLen+grow]
	binary.BigEndian.PutUint16(ext, oneByteProfile)
	binary.BigEndian.PutUint16(ext[2:], uint16(grow-extHeadLen)/4)
	ext[extHeadLen] = id<<4 | uint8(len(data)-1)
	clear(ext[extHeadLen+1+copy(ext[extHeadLen+1:], data):])
	return out
}
