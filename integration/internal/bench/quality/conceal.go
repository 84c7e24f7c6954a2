package quality

import "math"

// The reference receiver's concealment of codecs that have none, after ITU-T G.711 Appendix I: repeat the last pitch period, fade from the
// second 10 ms on, and overlap with what comes next. Lengths in ms.
const (
	pitchMin, pitchMax = 5, 15
	compared           = 20 // by which the pitch is found
	steadyLen          = 10
	fadeLen            = 50
	joint              = 4
)

// concealed decodes payloads of 20 ms to samples at hz; nil ones are lost.
func concealed(hz int, payloads [][]byte, decode func([]byte) ([]float64, error)) ([]float64, error) {
	k := hz / 1000
	var out []float64
	lost := 0 // samples concealed in a row
	var loop []float64
	for _, p := range payloads {
		if p == nil {
			if lost == 0 {
				loop = lastPeriod(out, k)
			}
			for range hz / 50 {
				out = append(out, repetition(loop, lost, k))
				lost++
			}
			continue
		}
		good, err := decode(p)
		if err != nil {
			return nil, err
		}
		for i := 0; lost > 0 && i < min(joint*k, len(good)); i++ {
			w := float64(i) / float64(joint*k)
			good[i] = w*good[i] + (1-w)*repetition(loop, lost+i, k)
		}
		out, lost = append(out, good...), 0
	}
	return out, nil
}

// lastPeriod is the last pitch period of x, its end faded into what came before its begin. k: samples of a ms.
func lastPeriod(x []float64, k int) []float64 {
	if len(x) < (compared+2*pitchMax)*k {
		return nil
	}
	end := len(x)
	best, period := math.Inf(-1), pitchMax*k
	for lag := pitchMin * k; lag <= pitchMax*k; lag++ {
		cross, energy := 0.0, 1.0
		for i := end - compared*k; i < end; i++ {
			cross += x[i] * x[i-lag]
			energy += x[i-lag] * x[i-lag]
		}
		if v := cross / math.Sqrt(energy); v > best {
			best, period = v, lag
		}
	}
	loop := append([]float64(nil), x[end-period:]...)
	fade := period / 4
	for i := range fade {
		w := float64(i+1) / float64(fade+1)
		loop[period-fade+i] = (1-w)*loop[period-fade+i] + w*x[end-period-fade+i]
	}
	return loop
}

// repetition is sample n of the concealment.
func repetition(loop []float64, n, k int) float64 {
	if len(loop) == 0 {
		return 0
	}
	return loop[n%len(loop)] * max(0, min(1, 1-float64(n-steadyLen*k)/float64(fadeLen*k)))
}
