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
	filters := make(map[int][]float64) // by place between two samples of pcm, in parts of to
	out := make([]float64, len(pcm)*to/from)
	for i := range out {
		at, part := i*from/to, i*from%to
		taps, ok := filters[part]
		if !ok {
			taps = filter(float64(part)/float64(to), half, edge)
			filters[part] = taps
		}
		first := at - len(taps)/2
		sum := 0.0
		for k := max(0, first); k < min(first+len(taps), len(pcm)); k++ {
			sum += pcm[k] * taps[k-first]
		}
		out[i] = sum
	}
	return out
}

// filter is the weights of samples around a place that lies frac of a sample after the middle one. half: samples to each side.
func filter(frac, half, edge float64) []float64 {
	n := int(half) + 1
	taps := make([]float64, 2*n+1)
	for i := range taps {
		if d := float64(i-n) - frac; math.Abs(d) <= half {
			w := math.Cos(math.Pi / 2 * d / half)
			taps[i] = edge * sinc(edge*d) * w * w
		}
	}
	return taps
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
