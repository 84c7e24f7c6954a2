package audio

import "math"

const (
	bedWindow = 1     // s over which the least level is looked for; the noise is what lies under one to two of them
	bedMost   = 184   // root mean square of the loudest noise that is kept up unasked, of 32768: -45 dBov. What is louder is no background
	bedTilt   = -0.6  // first reflection coefficient of noise that nothing is known about: as in rooms, the low is stronger
	bedMove   = 5     // ms in which its level changes
	bedBand   = 8000  // Hz at which noise that the source describes is made
	bedDouble = 1.155 // times what it has to be there, as every second sample at twice the rate is the mean of its neighbours
	bedOrder  = 10    // reflection coefficients that are used of a description
)

// bed is the noise of the source: what there is between words. It fills what concealment, which fades, leaves of it, so that a gap does not
// sound as if the line were dead. Its level is that of the source's quietest moments, or what the source says itself (RFC 3389).
type bed struct {
	rate    int
	told    float64               // root mean square of the source's own description; 0: there is none
	before  float64               // least level of a packet in the window before, -1: there was none
	least   float64               // and in the present one
	left    int                   // samples until that ends
	gain    float64               // root mean square of the noise at the end of what was made last
	shape   [bedOrder]float64     // reflection coefficients
	order   int                   // of them
	past    [bedOrder + 1]float64 // of the lattice filter
	level   float64               // of the excitation for an output of 1
	seed    uint32
	between bool    // the next sample but one is made, the next one is between
	last    float64 // sample made before past[0]
}

func newBed(rate int) bed {
	b := bed{rate: rate, before: -1, least: math.MaxFloat64, left: rate * bedWindow, seed: 1}
	b.plain()
	return b
}

// plain is noise of an unknown source.
func (b *bed) plain() {
	b.shape[0], b.order = bedTilt, 1
	b.level = math.Sqrt(1 - bedTilt*bedTilt)
}

// tell takes the source's description of its silence: level in -dBov, then reflection coefficients (RFC 3389 §3).
func (b *bed) tell(description []byte) {
	b.told = 32768 * math.Pow(10, -float64(description[0]&0x7f)/20)
	b.order, b.level = 0, 1
	for i, n := range description[1:] {
		if i == bedOrder {
			break
		}
		k := min(max(258*(float64(n)-127)/32768, -0.98), 0.98)
		b.shape[i], b.order = k, i+1
		b.level *= 1 - k*k
	}
	b.level = math.Sqrt(b.level)
}

// silent reports that the source has said that it is.
func (b *bed) silent() bool { return b.told != 0 }

// rest forgets the noise that is being made.
func (b *bed) rest() { b.told, b.gain = 0, 0 }

// heard takes audio of the source, learns from it and lets noise under way go in it.
func (b *bed) heard(pcm []int16) {
	if b.told != 0 {
		b.told = 0
		b.plain()
	}
	b.least = min(b.least, power(pcm))
	if b.left -= len(pcm); b.left <= 0 {
		b.before, b.least, b.left = b.least, math.MaxFloat64, b.rate*bedWindow
	}
	if b.gain != 0 {
		b.add(pcm, 0)
	}
}

// under puts the noise under a concealment.
func (b *bed) under(pcm []int16) {
	want := b.told
	if want == 0 {
		if m := math.Sqrt(max(0, min(b.before, b.least))); m <= bedMost {
			want = m
		}
	}
	// The concealment may be on its way down: the noise follows its end.
	if lack := want*want - power(pcm[len(pcm)*3/4:]); lack > 1 {
		b.add(pcm, math.Sqrt(lack))
	} else if b.gain != 0 {
		b.add(pcm, 0)
	}
}

// add adds noise to pcm whose level goes from where it is to gain at its begin, and stays.
func (b *bed) add(pcm []int16, gain float64) {
	n := b.rate * bedMove / 1000
	at, step := b.gain*b.level, (gain-b.gain)*b.level/float64(n)
	for i, v := range pcm {
		if i < n {
			at += step
		} else if gain == 0 {
			break
		}
		pcm[i] = int16(min(max(float64(v)+b.sample(at), -32768), 32767))
	}
	b.gain = gain
}

// sample is white noise of the given level through the filter. What a source says of its noise concerns what is below 4 kHz.
func (b *bed) sample(level float64) float64 {
	if b.rate > bedBand && b.told != 0 {
		if b.between = !b.between; b.between {
			return math.Round((b.last + b.past[0]) / 2)
		}
		b.last = b.past[0]
		level *= bedDouble
	}
	b.seed = b.seed*1664525 + 1013904223
	f := level * math.Sqrt(3) * float64(int32(b.seed)) / (1 << 31)
	for i := b.order - 1; i >= 0; i-- {
		f -= b.shape[i] * b.past[i]
		b.past[i+1] = b.past[i] + b.shape[i]*f
	}
	b.past[0] = f
	return math.Round(f)
}

// power is the mean square.
func power(pcm []int16) float64 {
	sum := int64(0)
	for _, v := range pcm {
		sum += int64(v) * int64(v)
	}
	return float64(sum) / float64(max(1, len(pcm)))
}
