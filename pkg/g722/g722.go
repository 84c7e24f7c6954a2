// Package g722 is ITU-T G.722 at 64 kbit/s (mode 1): two 8 kHz bands, each coded by adaptive differential PCM, 6 bits for the lower, 2 for the
// upper. Arithmetic is that of the recommendation, so that streams equal those of other implementations bit by bit. Floor 0 of pkg; pure.
package g722

const (
	maxLow  = 18432 // upper limit of the lower band's log scale factor
	maxHigh = 22528 // and of the upper band's
)

// sat16 limits v to 16 bits.
func sat16(v int32) int32 { return min(max(v, -32768), 32767) }

// band is the predictor and scale factor of one sub-band: blocks 3 and 4 of G.722 §3.
type band struct {
	s, sz int32    // predicted signal, and the part of the zero section
	r     [3]int32 // reconstructed signal, newest first
	p     [3]int32 // partially reconstructed signal
	a     [3]int32 // pole coefficients, from index 1
	d     [7]int32 // quantised difference, newest first
	b     [7]int32 // zero coefficients, from index 1
	nb    int32    // log scale factor
	det   int32    // scale factor
}

// rescale adapts the scale factor by w (LOGSCx, SCALEx). base is 8 for the lower and 10 for the upper band.
func (b *band) rescale(w, limit, base int32) {
	b.nb = min(max(b.nb*127>>7+w, 0), limit)
	v, shift := ilb[b.nb>>6&31], base-b.nb>>11
	if shift < 0 {
		v <<= uint(-shift)
	} else {
		v >>= uint(shift)
	}
	b.det = v << 2
}

// adapt takes the quantised difference d, updates the coefficients and predicts the next sample (block 4).
func (b *band) adapt(d int32) {
	b.d[0] = d
	b.r[0] = sat16(b.s + d)
	b.p[0] = sat16(b.sz + d)
	a2 := b.pole2()
	a1 := b.pole1(a2)
	b.zeros()
	b.a[1], b.a[2] = a1, a2
	b.r[2], b.r[1] = b.r[1], b.r[0]
	b.p[2], b.p[1] = b.p[1], b.p[0]
	b.predict()
}

// sameSign compares signs as the recommendation does: zero counts as positive.
func sameSign(x, y int32) bool { return x>>15 == y>>15 }

// pole2 is the new second pole coefficient (UPPOL2).
func (b *band) pole2() int32 {
	v := sat16(b.a[1] << 2)
	if sameSign(b.p[0], b.p[1]) {
		v = min(-v, 32767)
	}
	v >>= 7
	if sameSign(b.p[0], b.p[2]) {
		v += 128
	} else {
		v -= 128
	}
	return min(max(v+b.a[2]*32512>>15, -12288), 12288)
}

// pole1 is the new first pole coefficient, kept stable against the second (UPPOL1).
func (b *band) pole1(a2 int32) int32 {
	v := int32(-192)
	if sameSign(b.p[0], b.p[1]) {
		v = 192
	}
	limit := sat16(15360 - a2)
	return min(max(sat16(v+b.a[1]*32640>>15), -limit), limit)
}

// zeros updates the six zero coefficients and shifts the differences (UPZERO, DELAYA).
func (b *band) zeros() {
	gain := int32(128)
	if b.d[0] == 0 {
		gain = 0
	}
	for i := 6; i >= 1; i-- {
		g := gain
		if !sameSign(b.d[i], b.d[0]) {
			g = -gain
		}
		b.b[i] = sat16(g + b.b[i]*32640>>15)
	}
	for i := 6; i >= 1; i-- {
		b.d[i] = b.d[i-1]
	}
}

// predict runs both filter sections (FILTEP, FILTEZ, PREDIC).
func (b *band) predict() {
	pole := sat16(b.a[1]*sat16(2*b.r[1])>>15 + b.a[2]*sat16(2*b.r[2])>>15)
	var zero int32
	for i := 6; i >= 1; i-- {
		zero += b.b[i] * sat16(2*b.d[i]) >> 15
	}
	b.sz = sat16(zero)
	b.s = sat16(pole + b.sz)
}

// newBands are the start values of the two bands.
func newBands() (low, high band) { return band{det: 32}, band{det: 8} }

// Encoder codes 16 kHz PCM. Use NewEncoder.
type Encoder struct {
	low, high band
	x         [24]int32 // filter bank history, newest last
}

// NewEncoder begins a stream.
func NewEncoder() *Encoder {
	e := &Encoder{}
	e.low, e.high = newBands()
	return e
}

// Encode codes pcm, 16 kHz, an even number of samples, into out, one byte for two samples (RFC 3551 §4.5.2).
func (e *Encoder) Encode(pcm []int16, out []byte) {
	for i := range len(pcm) / 2 {
		lo, hi := e.split(int32(pcm[2*i]), int32(pcm[2*i+1]))
		out[i] = e.quantHigh(hi)<<6 | e.quantLow(lo)
	}
}

// split is the transmit filter bank.
func (e *Encoder) split(first, second int32) (lo, hi int32) {
	copy(e.x[:], e.x[2:])
	e.x[22], e.x[23] = first, second
	var odd, even int32
	for i, c := range qmf {
		odd += e.x[2*i] * c
		even += e.x[2*i+1] * qmf[11-i]
	}
	return (even + odd) >> 14, (even - odd) >> 14
}

// quantLow codes a sample of the lower band in 6 bits (QUANTL) and adapts.
func (e *Encoder) quantLow(x int32) byte {
	diff := sat16(x - e.low.s)
	mag := diff
	if diff < 0 {
		mag = -(diff + 1)
	}
	lo, hi := 1, len(q6) // the first level above mag
	for lo < hi {
		if mid := (lo + hi) / 2; mag < q6[mid]*e.low.det>>12 {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	code := byte(62 - lo) // positive codes count down from 61
	if diff < 0 {
		code = byte(34 - lo) // negative ones from 31, but the two smallest are 63 and 62
		if lo <= 2 {
			code = byte(64 - lo)
		}
	}
	e.low.lowStep(code >> 2)
	return code
}

// lowStep adapts the lower band to the four upper bits of its code.
func (b *band) lowStep(code byte) {
	d := b.det * qm4[code] >> 15
	b.rescale(wl[code], maxLow, 8)
	b.adapt(d)
}

// quantHigh codes a sample of the upper band in 2 bits (QUANTH) and adapts.
func (e *Encoder) quantHigh(x int32) byte {
	diff := sat16(x - e.high.s)
	mag, code := diff, byte(3)
	if diff < 0 {
		mag, code = -(diff + 1), 1
	}
	if mag >= 564*e.high.det>>12 {
		code--
	}
	e.high.highStep(code)
	return code
}

// highStep adapts the upper band to its code and returns the quantised difference.
func (b *band) highStep(code byte) int32 {
	d := b.det * qm2[code] >> 15
	b.rescale(wh[code], maxHigh, 10)
	b.adapt(d)
	return d
}

// Decoder decodes to 16 kHz PCM. Use NewDecoder.
type Decoder struct {
	low, high band
	x         [24]int32
}

// NewDecoder begins a stream.
func NewDecoder() *Decoder {
	d := &Decoder{}
	d.Reset()
	return d
}

// Reset puts predictors, scale factors and filter bank back to their start, as the encoder of a new stream has them.
func (d *Decoder) Reset() {
	d.low, d.high = newBands()
	d.x = [24]int32{}
}

// Decode writes two samples per byte of code to pcm.
func (d *Decoder) Decode(code []byte, pcm []int16) {
	for i, c := range code {
		pcm[2*i], pcm[2*i+1] = d.join(d.lower(c&0x3f), d.upper(c>>6))
	}
}

// lower reconstructs the lower band from its 6 bits (INVQBL, LIMIT).
func (d *Decoder) lower(code byte) int32 {
	v := d.low.s + d.low.det*qm6[code]>>15
	d.low.lowStep(code >> 2)
	return min(max(v, -16384), 16383)
}

// upper reconstructs the upper band from its 2 bits.
func (d *Decoder) upper(code byte) int32 {
	s := d.high.s
	return min(max(s+d.high.highStep(code), -16384), 16383)
}

// join is the receive filter bank.
func (d *Decoder) join(lo, hi int32) (first, second int16) {
	copy(d.x[:], d.x[2:])
	d.x[22], d.x[23] = lo+hi, lo-hi
	var even, odd int32
	for i, c := range qmf {
		even += d.x[2*i] * c
		odd += d.x[2*i+1] * qmf[11-i]
	}
	return int16(sat16(odd >> 11)), int16(sat16(even >> 11))
}
