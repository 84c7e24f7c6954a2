// Package speech makes the audio that the bench sends, and tells whether audio that came back is the same. Floor 0 of the
// integration module; pure.
//
// The material is like speech in what matters to a speech codec: voiced syllables with a moving pitch and formants, fricatives with
// energy up to 8 kHz, pauses with a faint noise. It is made, not recorded, so it is the same everywhere.
package speech

import (
	"math"
	"math/rand/v2"
)

// Rates of the material, samples per second.
const (
	Wide   = 48000 // what a browser encodes
	Middle = 16000 // what a core network with AMR-WB carries
	Narrow = 8000  // what one with G.711 carries
)

// Make returns frames*20 ms of material at the wide rate. The same arguments give the same samples.
func Make(seed uint64, frames int) []int16 {
	r := rand.New(rand.NewPCG(seed, 0x1574))
	out := make([]float64, frames*Wide/50)
	for i := range out {
		out[i] = 0.0006 * (2*r.Float64() - 1) // the room
	}
	for at := 0; at < len(out); {
		switch k := r.IntN(10); {
		case k < 6:
			at += voiced(r, out[at:])
		case k < 8:
			at += fricative(r, out[at:])
		default:
			at += Wide * (60 + r.IntN(340)) / 1000
		}
	}
	pcm := make([]int16, len(out))
	for i, v := range out {
		pcm[i] = int16(math.Max(-1, math.Min(1, v)) * 32767)
	}
	return pcm
}

// resonator is a two-pole band-pass filter: one formant.
type resonator struct{ a, b, gain, y1, y2 float64 }

func newResonator(freq, width float64) resonator {
	rad := math.Exp(-math.Pi * width / Wide)
	return resonator{a: 2 * rad * math.Cos(2*math.Pi*freq/Wide), b: -rad * rad, gain: 1 - rad}
}

func (f *resonator) next(x float64) float64 {
	y := f.gain*x + f.a*f.y1 + f.b*f.y2
	f.y1, f.y2 = y, f.y1
	return y
}

// vowels are the first three formants of seven vowels, Hz.
var vowels = [][3]float64{
	{270, 2290, 3010}, {390, 1990, 2550}, {530, 1840, 2480}, {730, 1090, 2440}, {570, 840, 2410}, {300, 870, 2240}, {490, 1350, 1690},
}

// voiced adds one syllable to the start of out and returns its length: pulses of the voice through three formants.
func voiced(r *rand.Rand, out []float64) int {
	n := min(len(out), Wide*(120+r.IntN(160))/1000)
	v := vowels[r.IntN(len(vowels))]
	bank := [3]resonator{newResonator(v[0], 70), newResonator(v[1], 110), newResonator(v[2], 170)}
	from, to := 95+60*r.Float64(), 90+70*r.Float64()
	level := 0.35 + 0.5*r.Float64()
	phase := 0.0
	for i := range n {
		pos := float64(i) / float64(n)
		x := 0.02 * (2*r.Float64() - 1)
		phase += (from + (to-from)*pos + 3*math.Sin(2*math.Pi*5*float64(i)/Wide)) / Wide
		if phase >= 1 {
			phase--
			x += 25
		}
		y := bank[0].next(x) + 0.7*bank[1].next(x) + 0.4*bank[2].next(x)
		out[i] += level * y * fade(i, n, Wide/60)
	}
	return n
}

// fricative adds a hiss and returns its length.
func fricative(r *rand.Rand, out []float64) int {
	n := min(len(out), Wide*(60+r.IntN(80))/1000)
	f := newResonator(2800+3500*r.Float64(), 1500)
	level := 0.25 + 0.35*r.Float64()
	for i := range n {
		out[i] += level * f.next(2*r.Float64()-1) * fade(i, n, Wide/80)
	}
	return n
}

// fade is the envelope of a sound of n samples with edges of edge samples.
func fade(i, n, edge int) float64 {
	return math.Min(1, float64(min(i, n-1-i))/float64(min(edge, n/2+1)))
}

// Narrowband returns the material at the narrow rate.
func Narrowband(wide []int16) []int16 { return decimate(wide, Wide/Narrow, 3500) }

// Wideband returns the material at the middle rate.
func Wideband(wide []int16) []int16 { return decimate(wide, Wide/Middle, 7000) }

// Narrowed returns what has the middle rate at the narrow one.
func Narrowed(middle []int16) []int16 { return decimate(middle, Middle/Narrow, 3500*Wide/Middle) }

// decimate is a low-pass at cut, Hz at the wide rate, then every ratio-th sample. The material is treated as a loop.
func decimate(wide []int16, ratio int, cut float64) []int16 {
	const half = 72
	var taps [2*half + 1]float64
	sum := 0.0
	for i := range taps {
		x := float64(i - half)
		s := 1.0
		if x != 0 {
			s = math.Sin(2*math.Pi*cut/Wide*x) / (2 * math.Pi * cut / Wide * x)
		}
		taps[i] = s * (0.54 + 0.46*math.Cos(math.Pi*x/half))
		sum += taps[i]
	}
	out := make([]int16, len(wide)/ratio)
	for i := range out {
		v := 0.0
		for j, t := range taps {
			v += t * float64(wide[(i*ratio+j-half+len(wide))%len(wide)])
		}
		out[i] = int16(math.Max(-32768, math.Min(32767, v/sum)))
	}
	return out
}

// Same is the least Likeness of what is taken for the same audio: codecs and a jitter buffer leave more, anything else has less.
const Same = 0.9

// hop is the distance of two points of an envelope: 10 ms at the narrow rate.
const hop = Narrow / 100

// envelope is the level of each 10 ms over the 20 ms from there, dB above a floor under which everything counts as silence.
func envelope(pcm []int16) []float64 {
	const floor = 25.0
	var out []float64
	for at := 0; at+2*hop <= len(pcm); at += hop {
		sum := 0.0
		for _, s := range pcm[at : at+2*hop] {
			sum += float64(s) * float64(s)
		}
		out = append(out, math.Max(0, 10*math.Log10(sum/(2*hop)+1)-floor))
	}
	return out
}

// Likeness compares two pieces at the narrow rate by how their loudness moves: the best correlation, -1 to 1, of got with any part of the
// loop ref. got: at least 2 s, else 0.
func Likeness(ref, got []int16) float64 {
	if len(got) < 2*Narrow || len(ref) < 2*Narrow {
		return 0
	}
	_, best := place(ref, got)
	return best
}

// Place is where in the loop ref got begins, samples, by how their loudness moves: within about 10 ms.
func Place(ref, got []int16) int {
	lag, _ := place(ref, got)
	return lag * hop
}

// place is the hop of the best correlation, and that.
func place(ref, got []int16) (lag int, best float64) {
	a, b := envelope(ref), envelope(got)
	for l := range a {
		if v := correlation(a, b, l); v > best {
			lag, best = l, v
		}
	}
	return lag, best
}

// correlation of b with the loop a from lag on; 0 when one of them does not move.
func correlation(a, b []float64, lag int) float64 {
	var sa, sb, saa, sbb, sab float64
	for i, y := range b {
		x := a[(i+lag)%len(a)]
		sa, sb, saa, sbb, sab = sa+x, sb+y, saa+x*x, sbb+y*y, sab+x*y
	}
	n := float64(len(b))
	va, vb := saa-sa*sa/n, sbb-sb*sb/n
	if va <= n || vb <= n { // less than 1 dB of movement
		return 0
	}
	return (sab - sa*sb/n) / math.Sqrt(va*vb)
}
