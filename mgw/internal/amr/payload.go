package amr

import "fmt"

// Format is how frames lie in payloads: the codec, and whether everything starts at an octet (RFC 4867 §4.4) or follows bit by bit (§4.3).
type Format struct {
	Codec        Codec
	OctetAligned bool
}

// Packet holds the frames of one payload, or those that will become one: 750 bytes, not to be copied on a hot path. The zero value must
// be given a codec by Reset or Parse first.
type Packet struct {
	CMR   uint8 // codec mode request, 0..15; NoRequest: none
	codec Codec
	n     int
	frame [MaxFrames][FrameSize]byte
}

// header is the octet before a frame: frame type and quality (RFC 4867 §5.3).
func header(ft, q uint8) byte { return ft<<3 | q<<2 }

// Reset empties p for frames of codec c and a codec mode request of our own.
func (p *Packet) Reset(c Codec, cmr uint8) { p.CMR, p.codec, p.n = cmr&15, c, 0 }

// Len is the number of frames.
func (p *Packet) Len() int { return p.n }

// FT is the type of frame i, 0..Len-1.
func (p *Packet) FT(i int) uint8 { return p.frame[i][0] >> 3 & 15 }

// Good reports the quality bit of frame i: false tells that the frame is damaged (RFC 4867 §4.3.2).
func (p *Packet) Good(i int) bool { return p.frame[i][0]&4 != 0 }

// Frame is frame i with its header octet, the form of RFC 4867 §5.3, which is what the codecs take. Padding bits are zero. It is valid
// until p changes; it may be written to.
func (p *Packet) Frame(i int) []byte {
	return p.frame[i][: 1+p.codec.Octets(p.FT(i)) : FrameSize]
}

// Add appends a frame in the form that Frame returns; the F bit of its header and padding bits are of no account. Errors: ErrFull,
// ErrMalformed for a frame type that does not exist or a frame too short for it.
func (p *Packet) Add(f []byte) error {
	if p.n == MaxFrames {
		return ErrFull
	}
	if len(f) == 0 {
		return fmt.Errorf("%w: frame without header", ErrMalformed)
	}
	ft := f[0] >> 3 & 15
	n := p.codec.Octets(ft)
	if n == reserved || len(f) < 1+n {
		return fmt.Errorf("%w: frame type %d in %d bytes", ErrMalformed, ft, len(f))
	}
	d := &p.frame[p.n]
	copy(d[1:], f[1:1+n])
	d[0] = header(ft, f[0]>>2&1)
	p.n++
	p.pad(p.n - 1)
	return nil
}

// pad clears the bits behind frame i.
func (p *Packet) pad(i int) {
	if n := p.codec.Bits(p.FT(i)); n&7 != 0 {
		p.frame[i][1+n/8] &= ^byte(0xff >> (n & 7))
	}
}

// Trim drops frames without data at the end, which are not sent (RFC 4867 §4.3.2).
func (p *Packet) Trim() {
	for p.n > 0 && p.FT(p.n-1) == NoData {
		p.n--
	}
}

// Scan is the number of frames in payload, 1..MaxFrames, 0 when it is malformed: no frame, too many, a frame type that does not exist, or
// another length than the table of contents says.
func (f Format) Scan(payload []byte) int {
	n, bits := 0, 0
	for more := true; more; n++ {
		if n == MaxFrames {
			return 0
		}
		e, ok := f.entry(payload, n)
		if !ok {
			return 0
		}
		b := f.Codec.Bits(e >> 1 & 15)
		if b == reserved {
			return 0
		}
		if f.OctetAligned {
			b = (b + 7) &^ 7
		}
		bits += b
		more = e&0x20 != 0
	}
	if f.OctetAligned {
		bits += 8 + 8*n
	} else {
		bits += 4 + 6*n
	}
	if len(payload) != (bits+7)/8 {
		return 0
	}
	return n
}

// entry is entry i of the table of contents: F, FT and Q in the lower six bits; false when the payload ends before it.
func (f Format) entry(payload []byte, i int) (byte, bool) {
	if f.OctetAligned {
		if 1+i >= len(payload) {
			return 0, false
		}
		return payload[1+i] >> 2, true
	}
	at := 4 + 6*i
	if (at+6+7)/8 > len(payload) {
		return 0, false
	}
	return bitsAt(payload, at) >> 2, true
}

// Request is the codec mode request of a payload (RFC 4867 §4.3.1), NoRequest when the payload is empty. Its value is not checked.
func (f Format) Request(payload []byte) uint8 {
	if len(payload) == 0 {
		return NoRequest
	}
	return payload[0] >> 4
}

// bitsAt is the eight bits from bit position at on; what lies behind the end reads as zeros.
func bitsAt(b []byte, at int) byte {
	i, s := at/8, at&7
	v := b[i] << s
	if s > 0 && i+1 < len(b) {
		v |= b[i+1] >> (8 - s)
	}
	return v
}

// Parse takes a payload apart; its bytes are copied. Errors: ErrMalformed, and then p is empty. Reserved and padding bits are ignored.
func (p *Packet) Parse(f Format, payload []byte) error {
	p.Reset(f.Codec, f.Request(payload))
	n := f.Scan(payload)
	if n == 0 {
		return ErrMalformed
	}
	at := 4 + 6*n // bits
	if f.OctetAligned {
		at = 8 + 8*n
	}
	for i := range n {
		e, _ := f.entry(payload, i)
		d := &p.frame[i]
		d[0] = header(e>>1&15, e&1)
		bits := f.Codec.Bits(e >> 1 & 15)
		octets := (bits + 7) / 8
		if at&7 == 0 {
			copy(d[1:], payload[at/8:at/8+octets])
		} else {
			for k := range octets {
				d[1+k] = bitsAt(payload, at+8*k)
			}
		}
		p.pad(i)
		if f.OctetAligned {
			at += 8 * octets
		} else {
			at += bits
		}
	}
	p.n = n
	return nil
}

// Size is the length of the payload that Build writes, bytes; 0 for an empty packet.
func (p *Packet) Size(f Format) int {
	if p.n == 0 {
		return 0
	}
	bits := 4 + 6*p.n
	if f.OctetAligned {
		bits = 8 + 8*p.n
	}
	for i := range p.n {
		if f.OctetAligned {
			bits += 8 * p.codec.Octets(p.FT(i))
		} else {
			bits += p.codec.Bits(p.FT(i))
		}
	}
	return (bits + 7) / 8
}

// Build writes the payload to out and returns its length. f's codec is that of Reset or Parse. Errors: ErrSpace; ErrMalformed for a packet
// without frames or of the other codec.
func (p *Packet) Build(f Format, out []byte) (int, error) {
	size := p.Size(f)
	if size == 0 || f.Codec != p.codec {
		return 0, ErrMalformed
	}
	if len(out) < size {
		return 0, ErrSpace
	}
	out = out[:size]
	clear(out)
	if f.OctetAligned {
		p.buildOctets(out)
	} else {
		p.buildBits(out)
	}
	return size, nil
}

func (p *Packet) buildOctets(out []byte) {
	out[0] = p.CMR << 4
	at := 1 + p.n
	for i := range p.n {
		out[1+i] = p.frame[i][0]
		if i < p.n-1 {
			out[1+i] |= 0x80 // F: another one follows
		}
		at += copy(out[at:], p.Frame(i)[1:])
	}
}

func (p *Packet) buildBits(out []byte) {
	out[0] = p.CMR << 4
	at := 4
	for i := range p.n {
		e := p.frame[i][0]
		if i < p.n-1 {
			e |= 0x80
		}
		put(out, at, e, 6)
		at += 6
	}
	for i := range p.n {
		bits := p.codec.Bits(p.FT(i))
		for k, b := range p.Frame(i)[1:] {
			put(out, at+8*k, b, min(8, bits-8*k))
		}
		at += bits
	}
}

// put sets the upper n bits of v at bit position at of out, which is zero there; lower bits of v are zero.
func put(out []byte, at int, v byte, n int) {
	i, s := at/8, at&7
	out[i] |= v >> s
	if s+n > 8 {
		out[i+1] |= v << (8 - s)
	}
}

// Repack writes the frames of a payload in another format of the same codec, codec mode request and quality bits included, and returns the
// length. p is scratch space. out may be the payload's own memory. Errors: ErrMalformed, ErrSpace.
func (p *Packet) Repack(from, to Format, payload, out []byte) (int, error) {
	if err := p.Parse(from, payload); err != nil {
		return 0, err
	}
	return p.Build(to, out)
}
