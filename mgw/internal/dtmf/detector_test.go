package dtmf

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// dial is the sound of a key: levels in dBm0, frequencies off by a share, so many milliseconds.
type dial struct {
	code      uint8
	low, high float64 // dBm0
	offLow    float64 // share of the frequency
	offHigh   float64
	ms        float64
}

const zero = 22827 // amplitude of 0 dBm0

func (k dial) pcm(rate int) []int16 {
	out := make([]int16, int(k.ms*float64(rate)/1000))
	place := places[k.code]
	f := [2]float64{rows[place>>2] * (1 + k.offLow), columns[place&3] * (1 + k.offHigh)}
	a := [2]float64{zero * math.Pow(10, k.low/20), zero * math.Pow(10, k.high/20)}
	for i := range out {
		t := float64(i) / float64(rate)
		out[i] = int16(a[0]*math.Sin(2*math.Pi*f[0]*t+1) + a[1]*math.Sin(2*math.Pi*f[1]*t+2))
	}
	return out
}

func quiet(ms, rate int) []int16 { return make([]int16, ms*rate/1000) }

func noise(pcm []int16, dBm0 float64, seed uint64) []int16 {
	r := rand.New(rand.NewPCG(seed, 1))
	rms := zero / math.Sqrt2 * math.Pow(10, dBm0/20)
	for i := range pcm {
		pcm[i] = int16(math.Max(-32768, math.Min(32767, float64(pcm[i])+rms*r.NormFloat64())))
	}
	return pcm
}

// found gives pcm to a Detector in frames of 20 ms and returns the keys, and what is left of pcm.
func found(pcm []int16, rate int) (out []Detected, left []int16) {
	d := NewDetector(rate)
	left = append(append([]int16(nil), pcm...), quiet(100, rate)...)
	for at := 0; at+rate/50 <= len(left); at += rate / 50 {
		d.Process(left[at : at+rate/50])
		for x, ok := d.Take(); ok; x, ok = d.Take() {
			out = append(out, x)
		}
	}
	return out, left
}

func keysOf(d []Detected) (s string) {
	for _, x := range d {
		s += string(x.Digit)
	}
	return s
}

// TestQ24_DetectsEveryKey: whatever Q.24 wants to be taken for a key is one, at each position of the windows, and nothing that a receiver could
// take for a key is left of it.
func TestQ24_DetectsEveryKey(t *testing.T) {
	for _, rate := range []int{8000, 16000} {
		for code := range uint8(16) {
			for name, k := range map[string]dial{
				"usual":   {code, -9, -7, 0, 0, 100},
				"short":   {code, -9, -7, 0, 0, 40},
				"quiet":   {code, -27, -27, 0, 0, 50},
				"loud":    {code, -4, -4, 0, 0, 50},
				"twist +": {code, -14, -10, 0, 0, 50},
				"twist -": {code, -8, -15, 0, 0, 50},
				"fast":    {code, -9, -7, 0.015, 0.015, 50},
				"slow":    {code, -9, -7, -0.015, -0.015, 50},
			} {
				for lead := 0; lead < 20; lead += 3 {
					pcm := append(append(quiet(200, rate), make([]int16, lead*rate/1000)...), k.pcm(rate)...)
					got, left := found(pcm, rate)
					if keysOf(got) != string(Digit(code)) {
						t.Fatalf("%d Hz, key %c, %s, %d ms later: found %q", rate, Digit(code), name, lead, keysOf(got))
					}
					if d := got[0].Duration - time.Duration(k.ms*1e6); d.Abs() > 13*time.Millisecond {
						t.Errorf("%d Hz, key %c, %s, %d ms later: %v of %v ms", rate, Digit(code), name, lead, got[0].Duration, k.ms)
					}
					loud := 0
					for _, v := range left {
						if v != 0 {
							loud++
						}
					}
					if ms := loud * 1000 / rate; ms > 20 {
						t.Errorf("%d Hz, key %c, %s, %d ms later: %d ms are left", rate, Digit(code), name, lead, ms)
					}
				}
			}
		}
	}
}

// TestQ24_NoKey: what is too short, too quiet, off its frequencies, twisted or accompanied is none.
func TestQ24_NoKey(t *testing.T) {
	for code := range uint8(16) {
		other := (code + 5) % 16
		for name, pcm := range map[string][]int16{
			"short":      dial{code, -9, -7, 0, 0, 24}.pcm(8000),
			"quiet":      dial{code, -36, -36, 0, 0, 100}.pcm(8000),
			"row fast":   dial{code, -9, -7, 0.036, 0, 100}.pcm(8000),
			"row slow":   dial{code, -9, -7, -0.036, 0, 100}.pcm(8000),
			"col fast":   dial{code, -9, -7, 0, 0.036, 100}.pcm(8000),
			"col slow":   dial{code, -9, -7, 0, -0.036, 100}.pcm(8000),
			"twist":      dial{code, -20, -5, 0, 0, 100}.pcm(8000),
			"one tone":   dial{code, -60, -7, 0, 0, 100}.pcm(8000),
			"two keys":   sum(dial{code, -10, -10, 0, 0, 100}.pcm(8000), dial{other, -10, -10, 0, 0, 100}.pcm(8000)),
			"with noise": noise(dial{code, -20, -20, 0, 0, 100}.pcm(8000), -14, 3),
		} {
			for lead := 0; lead < 13; lead += 2 {
				if got, _ := found(append(quiet(200+lead, 8000), pcm...), 8000); len(got) != 0 {
					t.Errorf("key %c, %s, %d ms later: found %q", Digit(code), name, lead, keysOf(got))
				}
			}
		}
	}
}

func sum(a, b []int16) []int16 {
	out := make([]int16, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

// TestQ24_Rows: keys in a row are told apart by their pause, the same key twice too; a short break does not make two of one; noise is no
// hindrance.
func TestQ24_Rows(t *testing.T) {
	var pcm []int16
	want := ""
	for i := range 40 {
		k := dial{uint8(i * 7 % 16), -9, -7, 0, 0, 50}
		if i%4 == 3 {
			k.code = uint8((i - 1) * 7 % 16)
		}
		want += string(Digit(k.code))
		pcm = append(append(pcm, k.pcm(8000)...), quiet(45+i%7, 8000)...)
	}
	if got, _ := found(pcm, 8000); keysOf(got) != want {
		t.Errorf("found %q, want %q", keysOf(got), want)
	}
	if got, _ := found(noise(append([]int16(nil), pcm...), -25, 7), 8000); keysOf(got) != want {
		t.Errorf("with noise: found %q, want %q", keysOf(got), want)
	}
	for at := 200; at < 220; at++ {
		k := dial{5, -9, -7, 0, 0, 300}.pcm(8000)
		clear(k[at*8 : at*8+80]) // 10 ms
		if got, _ := found(k, 8000); keysOf(got) != "5" || (got[0].Duration-300*time.Millisecond).Abs() > 13*time.Millisecond {
			t.Errorf("break at %d ms: %+v", at, got)
		}
	}
}

// TestTalkOff: a minute of sound with the shape of speech, voiced with glides and formants, fricatives and pauses, hold no key, and next
// to nothing of it is silenced.
func TestTalkOff(t *testing.T) {
	race.Slow(t)
	r := rand.New(rand.NewPCG(11, 13))
	d := NewDetector(8000)
	frame, phase := make([]int16, 160), 0.0
	pitch, level := 120.0, 0.0
	var f1, f2, glide float64
	silenced, loud := 0, 0
	for n := range 3000 {
		if n%10 == 0 { // another sound each 200 ms
			f1, f2 = 300+600*r.Float64(), 900+1500*r.Float64()
			glide = (r.Float64() - 0.5) * 0.6
			pitch = 80 + 200*r.Float64()
			level = []float64{0, 0.3, 1, 1, 1}[r.IntN(5)] * (1000 + 6000*r.Float64())
		}
		for i := range frame {
			pitch += glide/160 + 0.0005*pitch*r.NormFloat64() // no voice is steadier
			phase += pitch / 8000
			v := 0.0
			for h := 1.0; h*pitch < 3400; h++ {
				f := h * pitch
				g := 1/math.Hypot(1, (f-f1)/45) + 0.6/math.Hypot(1, (f-f2)/60) // resonances of 90 and 120 Hz
				v += g * math.Sin(2*math.Pi*math.Mod(phase*h, 1))
			}
			frame[i] = int16(math.Max(-32000, math.Min(32000, level*v)))
		}
		before := append([]int16(nil), frame...)
		d.Process(frame)
		for i := range frame {
			if before[i] != 0 {
				loud++
				if frame[i] == 0 {
					silenced++
				}
			}
		}
		if x, ok := d.Take(); ok {
			t.Fatalf("at %v: key %c of %v", time.Duration(n)*20*time.Millisecond, x.Digit, x.Duration)
		}
	}
	if share := float64(silenced) / float64(loud); share > 0.002 {
		t.Errorf("%.2f %% of the speech is silenced", 100*share)
	} else {
		t.Logf("%.3f %% of the speech is silenced", 100*share)
	}
}

func TestDetectorDoesNotAllocate(t *testing.T) {
	d, frame := NewDetector(16000), dial{3, -9, -7, 0, 0, 20}.pcm(16000)
	work := make([]int16, len(frame))
	if n := testing.AllocsPerRun(100, func() { copy(work, frame); d.Process(work); d.Take() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDetector(b *testing.B) {
	for _, rate := range []int{8000, 16000} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			d, frame := NewDetector(rate), noise(quiet(20, rate), -15, 1)
			work := make([]int16, len(frame))
			for b.Loop() {
				copy(work, frame)
				d.Process(work)
			}
		})
	}
}

func FuzzDetector(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, true)
	f.Fuzz(func(t *testing.T, b []byte, wide bool) {
		rate := 8000
		if wide {
			rate = 16000
		}
		d := NewDetector(rate)
		for ; len(b) >= 8; b = b[min(len(b), 640):] {
			pcm := make([]int16, min(len(b), 640)/4*2)
			for i := range pcm {
				pcm[i] = int16(b[2*i]) | int16(b[2*i+1])<<8
			}
			d.Process(pcm)
			if x, ok := d.Take(); ok && (x.Duration < 25*time.Millisecond || Code(x.Digit) > 15) {
				t.Fatalf("%+v", x)
			}
		}
	})
}
