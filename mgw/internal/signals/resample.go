package signals

import "math"

// halfWidth is how many zero crossings of the lower rate the filter reaches to each side.
const halfWidth = 16

// resample converts PCM between rates by a windowed sinc whose band ends below the lower rate's half. It runs once for each file.
func resample(in []int16, from, to int) []int16 {
	if from == to {
		return in
	}
	out := make([]int16, int(int64(len(in))*int64(to)/int64(from)))
	cut := 0.95 * math.Min(1, float64(to)/float64(from)) // of the source's half rate
	reach := int(math.Ceil(halfWidth / cut))
	// Output positions repeat in a few phases: one filter for each.
	div := gcd(from, to)
	phases := to / div
	taps := make([][]float64, phases)
	for p := range taps {
		frac := float64(p*(from/div)%phases) / float64(phases)
		taps[p] = kernel(frac, cut, reach)
	}
	for i := range out {
		center := int(int64(i) * int64(from) / int64(to))
		sum := 0.0
		for k, h := range taps[i%phases] {
			if at := center - reach + 1 + k; at >= 0 && at < len(in) {
				sum += h * float64(in[at])
			}
		}
		out[i] = int16(math.Max(-32768, math.Min(32767, math.Round(sum))))
	}
	return out
}

// kernel is the filter for a position frac after a sample of the source; its sum is 1.
func kernel(frac, cut float64, reach int) []float64 {
	h := make([]float64, 2*reach)
	sum := 0.0
	for k := range h {
		x := float64(k-reach+1) - frac
		w := 0.5 + 0.5*math.Cos(math.Pi*x/float64(reach+1))
		h[k] = w * sinc(cut*x)
		sum += h[k]
	}
	for k := range h {
		h[k] /= sum
	}
	return h
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
