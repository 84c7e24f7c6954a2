package tone

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// Detection is what a block of audio contains.
type Detection struct {
	Freq   float64 `json:"freq_hz"`    // strongest component, Hz; 0 when silent
	Level  float64 `json:"level_dbfs"` // level of that component, dBFS
	Total  float64 `json:"total_dbfs"` // level of the whole block as if it were one sine, dBFS
	Purity float64 `json:"purity"`     // share of the block's energy in that component, 0..1
}

// IsTone reports whether the block is a clean tone of freq Hz, give or take tol Hz. Clean means that
// nine tenths of the energy are in it: G.711 and Opus keep a sine well above that, noise or speech
// never reaches it.
func (d Detection) IsTone(freq, tol float64) bool {
	return d.Purity >= 0.9 && d.Level > -50 && math.Abs(d.Freq-freq) <= tol
}

const silenceDB = -120.0

// Detect finds the strongest sine of pcm between 60 Hz and 3800 Hz: the peak of a windowed spectrum,
// narrowed with Goertzel's recurrence. Precise to about 1 Hz with 800 samples or more; fewer than 160
// samples give silence.
func Detect(pcm []int16) Detection {
	d := Detection{Level: silenceDB, Total: Level(pcm)}
	if len(pcm) < FrameLen || d.Total <= -70 {
		return d
	}
	win := hann(pcm)
	f, step := peak(win)
	f, power := refine(win, f, step, goertzel(win, f))
	// A Hann window has a coherent gain of one half: a sine of amplitude a peaks at a*n/4.
	amp := 4 * math.Sqrt(power) / float64(len(pcm))
	d.Freq = f
	d.Level = db(amp / fullScale)
	d.Purity = math.Min(1, math.Pow(10, (d.Level-d.Total)/10))
	return d
}

// peak gives the frequency of the strongest bin of x's spectrum and the width of a bin, in Hz.
func peak(x []float64) (freq, step float64) {
	n := 1 << bits.Len(uint(len(x)-1))
	buf := make([]complex128, n)
	for i, v := range x {
		buf[i] = complex(v, 0)
	}
	fft(buf)
	step = float64(Rate) / float64(n)
	best, power := 0, -1.0
	for i := int(math.Ceil(60 / step)); float64(i)*step <= 3800; i++ {
		if p := real(buf[i])*real(buf[i]) + imag(buf[i])*imag(buf[i]); p > power {
			best, power = i, p
		}
	}
	return float64(best) * step, step
}

// fft transforms x in place; its length is a power of two (decimation in time).
func fft(x []complex128) {
	n := len(x)
	shift := bits.UintSize - bits.Len(uint(n-1))
	for i := range x {
		if j := int(bits.Reverse(uint(i)) >> shift); j > i {
			x[i], x[j] = x[j], x[i]
		}
	}
	for size := 2; size <= n; size *= 2 {
		turn := cmplx.Rect(1, -2*math.Pi/float64(size))
		for start := 0; start < n; start += size {
			w := complex(1, 0)
			for k := start; k < start+size/2; k++ {
				a, b := x[k], w*x[k+size/2]
				x[k], x[k+size/2] = a+b, a-b
				w *= turn
			}
		}
	}
}

// refine narrows the peak by golden section between its neighbours.
func refine(win []float64, f, step, power float64) (float64, float64) {
	lo, hi := f-step, f+step
	const phi = 0.6180339887498949
	for hi-lo > 0.05 {
		a, b := hi-phi*(hi-lo), lo+phi*(hi-lo)
		pa, pb := goertzel(win, a), goertzel(win, b)
		if pa > pb {
			hi = b
		} else {
			lo = a
		}
		if m := math.Max(pa, pb); m > power {
			power = m
		}
	}
	return (lo + hi) / 2, power
}

func hann(pcm []int16) []float64 {
	w := make([]float64, len(pcm))
	k := 2 * math.Pi / float64(len(pcm))
	for i, s := range pcm {
		w[i] = float64(s) * 0.5 * (1 - math.Cos(k*float64(i)))
	}
	return w
}

// goertzel gives the squared magnitude of x at freq Hz.
func goertzel(x []float64, freq float64) float64 {
	c := 2 * math.Cos(2*math.Pi*freq/Rate)
	var s1, s2 float64
	for _, v := range x {
		s1, s2 = v+c*s1-s2, s1
	}
	return s1*s1 + s2*s2 - c*s1*s2
}

// Level is the level of pcm in dBFS: a sine of full scale gives 0, digital silence -120.
func Level(pcm []int16) float64 {
	if len(pcm) == 0 {
		return silenceDB
	}
	var sum float64
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	return db(math.Sqrt(2*sum/float64(len(pcm))) / fullScale)
}

func db(ratio float64) float64 {
	return math.Max(silenceDB, 20*math.Log10(math.Max(ratio, 1e-9)))
}

// meterBlock is 200 ms: long enough for 1 Hz of precision, short enough to follow a test.
const meterBlock = Rate / 5

// Meter is a Sink that keeps what it heard last, block by block of 200 ms.
type Meter struct {
	buf     []int16
	last    Detection
	heard   Detection
	run     int
	longest int
	blocks  int
}

// Write implements Sink.
func (m *Meter) Write(pcm []int16) {
	m.buf = append(m.buf, pcm...)
	for len(m.buf) >= meterBlock {
		m.block(m.buf[:meterBlock])
		m.buf = m.buf[:copy(m.buf, m.buf[meterBlock:])]
	}
}

func (m *Meter) block(pcm []int16) {
	d := Detect(pcm)
	m.blocks++
	if d.Purity >= 0.9 && d.Level > -50 {
		if m.run == 0 || math.Abs(d.Freq-m.last.Freq) > 5 {
			m.run = 0
		}
		m.run++
		if m.run >= m.longest {
			m.longest, m.heard = m.run, d
		}
	} else {
		m.run = 0
	}
	m.last = d
}

// Last is the newest whole block.
func (m *Meter) Last() Detection { return m.last }

// Heard is the tone that sounded longest without a break and for how many seconds; zero when none did.
func (m *Meter) Heard() (Detection, float64) {
	return m.heard, float64(m.longest) * meterBlock / Rate
}

// Blocks counts the blocks of 200 ms metered so far.
func (m *Meter) Blocks() int { return m.blocks }
