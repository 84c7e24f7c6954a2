package tone

// Law is one of the two companding laws of ITU-T G.711.
type Law int

// The companding laws; the zero Law is A.
const (
	ALaw  Law = iota // PCMA, payload type 8 (RFC 3551 §4.5.14)
	MuLaw            // PCMU, payload type 0
)

// SilenceByte is the law's code for a sample of (nearly) zero.
func (l Law) SilenceByte() byte {
	if l == MuLaw {
		return 0xff
	}
	return 0xd5
}

// Encode appends the coded pcm to dst, one byte per sample.
func (l Law) Encode(dst []byte, pcm []int16) []byte {
	for _, s := range pcm {
		if l == MuLaw {
			dst = append(dst, muEncode(s))
		} else {
			dst = append(dst, aEncode(s))
		}
	}
	return dst
}

// Decode appends the decoded samples to dst, one per byte.
func (l Law) Decode(dst []int16, data []byte) []int16 {
	for _, b := range data {
		if l == MuLaw {
			dst = append(dst, muDecode(b))
		} else {
			dst = append(dst, aDecode(b))
		}
	}
	return dst
}

// aEncode: 13-bit magnitude, 8 segments, even bits inverted (G.711 table 1).
func aEncode(s int16) byte {
	v := int(s) >> 3 // 13 bits, one's complement below
	mask := byte(0xd5)
	if v < 0 {
		mask = 0x55
		v = -v - 1
	}
	seg := 0
	for lim := 0x1f; v > lim && seg < 7; lim = lim<<1 | 1 {
		seg++
	}
	code := byte(seg << 4)
	if seg < 2 {
		code |= byte(v>>1) & 0x0f
	} else {
		code |= byte(v>>seg) & 0x0f
	}
	return code ^ mask
}

func aDecode(b byte) int16 {
	b ^= 0x55
	v := int(b&0x0f)<<4 + 8
	if seg := int(b>>4) & 7; seg > 0 {
		v = (v + 0x100) << (seg - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return int16(v)
}

const muBias = 0x84

// muEncode: 14-bit magnitude with bias 33, 8 segments, all bits inverted (G.711 table 2).
func muEncode(s int16) byte {
	v, sign := int(s), byte(0)
	if v < 0 {
		v, sign = -v, 0x80
	}
	v = min(v, 32635) + muBias
	seg := 7
	for m := 0x4000; v&m == 0 && seg > 0; m >>= 1 {
		seg--
	}
	return ^(sign | byte(seg<<4) | byte(v>>(seg+3))&0x0f)
}

func muDecode(b byte) int16 {
	b = ^b
	v := (int(b&0x0f)<<3+muBias)<<(int(b>>4)&7) - muBias
	if b&0x80 != 0 {
		v = -v
	}
	return int16(v)
}
