package transcode

import "math"

// tone is samples of a sine of freq Hz at the given peak amplitude, starting at sample from.
func tone(freq, peak float64, rate, from, n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(peak * math.Sin(2*math.Pi*freq*float64(from+i)/float64(rate))))
	}
	return pcm
}

// rms is the effective value of pcm.
func rms(pcm []int16) float64 {
	var e float64
	for _, v := range pcm {
		e += float64(v) * float64(v)
	}
	return math.Sqrt(e / float64(max(len(pcm), 1)))
}

// level is the amplitude of the component of pcm at freq Hz, by correlation with sine and cosine.
func level(pcm []int16, freq float64, rate int) float64 {
	var s, c float64
	for i, v := range pcm {
		a := 2 * math.Pi * freq * float64(i) / float64(rate)
		s += float64(v) * math.Sin(a)
		c += float64(v) * math.Cos(a)
	}
	return 2 * math.Hypot(s, c) / float64(len(pcm))
}

// dB is the ratio a/b in decibels.
func dB(a, b float64) float64 { return 20 * math.Log10(a/b) }

// snr is how far pcm is from a pure tone of freq Hz, dB.
func snr(pcm []int16, freq float64, rate int) float64 {
	l := level(pcm, freq, rate)
	sig := l * l / 2
	total := rms(pcm)
	return 10 * math.Log10(sig/math.Max(total*total-sig, 1e-9))
}
