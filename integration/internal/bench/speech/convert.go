package speech

import "math"

// Convert brings pcm from one sample rate to another by a windowed sinc with its edge at 0.46 of the lower rate. The result is of the same
// length in time and not delayed.
func Convert(pcm []float64, from, to int) []float64 {
	if from == to {
		return append([]float64(nil), pcm...)
	}
	const reach = 24 // zero crossings to each side
	low := float64(min(from, to))
	edge := 0.92 * low / float64(from) // of the input's Nyquist frequency
	half := float64(reach) / edge
	out := make([]float64, len(pcm)*to/from)
	for i := range out {
		at := float64(i) * float64(from) / float64(to)
		sum := 0.0
		for k := max(0, int(math.Ceil(at-half))); k <= int(at+half) && k < len(pcm); k++ {
			d := float64(k) - at
			w := math.Cos(math.Pi / 2 * d / half)
			sum += pcm[k] * edge * sinc(edge*d) * w * w
		}
		out[i] = sum
	}
	return out
}

func sinc(x float64) float64 {
	if math.Abs(x) < 1e-9 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// Floats and Samples change the form, with no change of scale; Samples clips.
func Floats(pcm []int16) []float64 {
	out := make([]float64, len(pcm))
	for i, v := range pcm {
		out[i] = float64(v)
	}
	return out
}

// Samples is the opposite of Floats.
func Samples(x []float64) []int16 {
	out := make([]int16, len(x))
	for i, v := range x {
		out[i] = int16(math.Round(math.Max(-32768, math.Min(32767, v))))
	}
	return out
}
