package speech

import (
	"math"
	"testing"
)

func TestConvertKeepsTones(t *testing.T) {
	for _, r := range [][2]int{{22050, 48000}, {22050, 8000}, {8000, 10000}, {48000, 8000}} {
		for _, hz := range []float64{200, 1000, 3000} {
			in := make([]float64, r[0])
			for i := range in {
				in[i] = math.Sin(2 * math.Pi * hz * float64(i) / float64(r[0]))
			}
			worst := 0.0
			out := Convert(in, r[0], r[1])
			for i := r[1] / 10; i < r[1]*9/10; i++ {
				worst = math.Max(worst, math.Abs(out[i]-math.Sin(2*math.Pi*hz*float64(i)/float64(r[1]))))
			}
			if worst > 0.01 || len(out) != r[1] {
				t.Errorf("%d to %d, %.0f Hz: off by %.4f, %d samples", r[0], r[1], hz, worst, len(out))
			}
		}
	}
	in := make([]float64, 48000) // 5 kHz do not fit in 8 kHz
	for i := range in {
		in[i] = math.Sin(2 * math.Pi * 5000 * float64(i) / 48000)
	}
	for i, v := range Convert(in, 48000, 8000) {
		if i > 100 && i < 7900 && math.Abs(v) > 0.01 {
			t.Fatalf("an alias of %.3f", v)
		}
	}
}
