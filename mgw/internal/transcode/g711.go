package transcode

// alawToLinear and ulawToLinear are the decoding tables of G.711 tables 1 and 2, scaled to 16 bit; never written after start.
var (
	alawToLinear = makeTable(alawExpand)
	ulawToLinear = makeTable(ulawExpand)
)

// Decision levels come from the segment number, so that encoding needs no table: a 16-bit sample falls in one of 8 segments.
const (
	ulawBias = 132   // moves the segment borders to powers of two
	ulawClip = 32635 // largest magnitude that can still take the bias
)

// makeTable evaluates expand for every code word.
func makeTable(expand func(byte) int16) (t [256]int16) {
	for i := range t {
		t[i] = expand(byte(i))
	}
	return t
}

// alawExpand is the A-law code word c as a 16-bit sample; even bits are inverted on the wire (G.711 §3, note to table 1a).
func alawExpand(c byte) int16 {
	c ^= 0x55
	seg, mant := uint(c>>4&7), int16(c&0x0f)
	v := mant<<4 + 8
	if seg > 0 {
		v = (v + 256) << (seg - 1)
	}
	if c&0x80 == 0 {
		return -v
	}
	return v
}

// ulawExpand is the mu-law code word c as a 16-bit sample; all bits are inverted on the wire (G.711 table 2a).
func ulawExpand(c byte) int16 {
	c = ^c
	v := (int16(c&0x0f)<<3+ulawBias)<<uint(c>>4&7) - ulawBias
	if c&0x80 != 0 {
		return -v
	}
	return v
}

// segment is the position of the highest set bit of v, counted from bit 7: the exponent of the code word.
func segment(v int) uint {
	seg := uint(0)
	for v >>= 8; v != 0; v >>= 1 {
		seg++
	}
	return seg
}

// alawCompress is the A-law code word nearest to s.
func alawCompress(s int16) byte {
	v, sign := int(s), byte(0xd5)
	if v < 0 {
		v, sign = -v-1, 0x55
	}
	seg := segment(v)
	if seg == 0 {
		return byte(v>>4) ^ sign
	}
	return byte(seg<<4|uint(v>>(seg+3))&0x0f) ^ sign
}

// ulawCompress is the mu-law code word nearest to s.
func ulawCompress(s int16) byte {
	v, sign := int(s), byte(0xff)
	if v < 0 {
		v, sign = -v, 0x7f
	}
	v = min(v, ulawClip) + ulawBias
	seg := segment(v)
	return byte(seg<<4|uint(v>>(seg+3))&0x0f) ^ sign
}

// g711Encoder is stateless.
type g711Encoder struct{ alaw bool }

// Encode writes one byte per sample (RFC 3551 §4.5.14).
func (e g711Encoder) Encode(pcm []int16, out []byte) (int, error) {
	if len(pcm) == 0 {
		return 0, ErrFrame
	}
	if len(out) < len(pcm) {
		return 0, ErrSpace
	}
	if e.alaw {
		for i, s := range pcm {
			out[i] = alawCompress(s)
		}
		return len(pcm), nil
	}
	for i, s := range pcm {
		out[i] = ulawCompress(s)
	}
	return len(pcm), nil
}

func (g711Encoder) SetLoss(int) {}
func (g711Encoder) Close()      {}

// g711Decoder adds concealment to the table lookup.
type g711Decoder struct {
	table *[256]int16
	conc  concealer
}

func newG711Decoder(table *[256]int16) *g711Decoder {
	return &g711Decoder{table: table, conc: newConcealer(8000)}
}

// Decode looks every byte up and joins the result to a preceding concealment.
func (d *g711Decoder) Decode(payload []byte, pcm []int16) (int, error) {
	if d.Ticks(payload) == 0 {
		return 0, ErrPayload
	}
	if len(pcm) < len(payload) {
		return 0, ErrSpace
	}
	for i, b := range payload {
		pcm[i] = d.table[b]
	}
	d.conc.good(pcm[:len(payload)])
	return len(payload), nil
}

func (d *g711Decoder) Conceal(pcm []int16) { d.conc.conceal(pcm) }

func (d *g711Decoder) Recover(_ []byte, pcm []int16) bool {
	d.conc.conceal(pcm)
	return false
}

// Ticks is one per byte; more than maxPCM is refused.
func (d *g711Decoder) Ticks(payload []byte) uint32 {
	if len(payload) > maxPCM*8 {
		return 0
	}
	return uint32(len(payload))
}

// Reset has nothing to forget but a concealment: every sample stands alone.
func (d *g711Decoder) Reset() { d.conc.lost = 0 }

func (d *g711Decoder) Close() {}
