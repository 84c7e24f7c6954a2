package estoi

import (
	"errors"
	"math"
	"testing"
)

// noise is white, from a generator that any language has.
func noise(seed uint32, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		seed = seed*1664525 + 1013904223
		out[i] = float64(seed)/(1<<31) - 1
	}
	return out
}

// vowels are 3 s of harmonics of 130 Hz under a formant that moves, three syllables a second, with a pause.
func vowels() []float64 {
	const n = 3 * Rate
	x, hiss, rest := make([]float64, n), noise(1, n), noise(2, 4000)
	for i := range x {
		t := float64(i) / Rate
		for h := 1.0; h <= 25; h++ {
			d := (h*130 - 500 - 400*math.Sin(2*math.Pi*1.3*t)) / 500
			x[i] += math.Sin(2*math.Pi*h*(130*t+10*math.Sin(2*math.Pi*0.5*t))) * math.Exp(-d*d)
		}
		env := 0.5 + 0.5*math.Sin(2*math.Pi*3*t)
		x[i] = x[i]*env*env + 0.001*hiss[i]
	}
	for i := range rest {
		x[12000+i] = 0.0001 * rest[i]
	}
	return x
}

func mix(x []float64, gain float64, y []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] + gain*y[i]
	}
	return out
}

// The values were computed for the same signals by a second implementation, in NumPy, after the authors' MATLAB code.
func TestSameAsTheSecondImplementation(t *testing.T) {
	x := vowels()
	gaps := append([]float64(nil), x...)
	for i := 0; i < len(gaps); i += 2000 {
		clear(gaps[i : i+200])
	}
	n := noise(3, len(x))
	for _, tc := range []struct {
		name string
		y    []float64
		want float64
	}{
		{"identical", x, 1}, {"noise 0.05", mix(x, 0.05, n), 0.643153}, {"noise 0.2", mix(x, 0.2, n), 0.597197},
		{"noise 0.8", mix(x, 0.8, n), 0.514273}, {"gaps", gaps, 0.748304},
	} {
		if got, err := Score(x, tc.y); err != nil || math.Abs(got-tc.want) > 1e-5 {
			t.Errorf("%s: %.6f, %v; want %.6f", tc.name, got, err, tc.want)
		}
	}
}

// Each kind of damage costs more the more there is of it; level and unrelated speech are told apart from it.
func TestFallsWithDegradation(t *testing.T) {
	x, n := vowels(), noise(7, 3*Rate)
	holes := func(length int) []float64 {
		out := append([]float64(nil), x...)
		for at := 700; at+length < len(out); at += 1700 {
			clear(out[at : at+length])
		}
		return out
	}
	shifted := func(by int) []float64 { return append(make([]float64, by), x...) }
	for name, series := range map[string][][]float64{
		"noise": {x, mix(x, 0.01, n), mix(x, 0.05, n), mix(x, 0.2, n), mix(x, 1, n), mix(x, 5, n)},
		"holes": {x, holes(50), holes(100), holes(200), holes(400), holes(800)},
		"shift": {x, shifted(20), shifted(60), shifted(150), shifted(400)},
	} {
		last := 1.1
		for i, y := range series {
			v, err := Score(x, y)
			if err != nil || v >= last {
				t.Errorf("%s %d: %.4f after %.4f, %v", name, i, v, last, err)
			}
			last = v
		}
	}
	if v, _ := Score(x, mix(make([]float64, len(x)), 0.1, x)); math.Abs(v-1) > 1e-6 {
		t.Errorf("a tenth of the level: %.6f", v)
	}
	if v, _ := Score(x, n); v > 0.6 {
		t.Errorf("noise alone: %.3f", v)
	}
}

func TestNothingToCompare(t *testing.T) {
	for _, x := range [][]float64{nil, make([]float64, 100), vowels()[:3000]} {
		if _, err := Score(x, x); !errors.Is(err, ErrShort) {
			t.Errorf("%d samples: %v", len(x), err)
		}
	}
}

// The wide measure also hears what is above the usual one's bands, and falls with it.
func TestWideHearsMore(t *testing.T) {
	const n = 3 * WideRate
	x, hiss, over := make([]float64, n), noise(1, n), noise(2, n)
	last := 0.0
	for i := range x {
		s := float64(i) / WideRate
		for h := 1.0; h <= 50; h++ {
			d := (h*130 - 500 - 400*math.Sin(2*math.Pi*1.3*s)) / 500
			e := (h*130 - 5600 - 300*math.Sin(2*math.Pi*1.7*s)) / 400
			x[i] += math.Sin(2*math.Pi*h*(130*s+10*math.Sin(2*math.Pi*0.5*s))) * (math.Exp(-d*d) + 0.3*math.Exp(-e*e))
		}
		env := 0.5 + 0.5*math.Sin(2*math.Pi*3*s)
		x[i] = x[i]*env*env + 0.001*hiss[i]
		over[i], last = over[i]-last, over[i] // rising with the frequency
	}
	before := 1.1
	for _, gain := range []float64{0, 0.01, 0.05, 0.3} {
		v, err := ScoreWide(x, mix(x, gain, over))
		if err != nil || v >= before || gain == 0 && math.Abs(v-1) > 1e-6 {
			t.Errorf("noise of %.2f: %.4f after %.4f, %v", gain, v, before, err)
		}
		before = v
	}
	dull := make([]float64, n) // without what is above 4.5 kHz
	for i := range dull {
		for k := -40; k <= 40; k++ {
			if i+k >= 0 && i+k < n {
				f, w := 2*4500.0/WideRate, 0.5+0.5*math.Cos(math.Pi*float64(k)/41)
				h := f
				if k != 0 {
					h = math.Sin(math.Pi*f*float64(k)) / (math.Pi * float64(k))
				}
				dull[i] += h * w * x[i+k]
			}
		}
	}
	if v, err := ScoreWide(x, dull); err != nil || v > 0.95 {
		t.Errorf("without the upper band: %.3f, %v", v, err)
	}
}
