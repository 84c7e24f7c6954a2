package quality

import (
	"math"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// The reference receiver's concealment of PCMA, after ITU-T G.711 Appendix I: repeat the last pitch period, fade from the second 10 ms
// on, and overlap with what comes next.
const (
	pitchMin, pitchMax = 5 * rate / 1000, 15 * rate / 1000
	compared           = 20 * rate / 1000 // samples by which the pitch is found
	steadyLen          = 10 * rate / 1000
	fadeLen            = 50 * rate / 1000
	joint              = 4 * rate / 1000
)

// decodeLaw decodes payloads; nil ones are lost.
func decodeLaw(payloads [][]byte) []float64 {
	var out []float64
	lost := 0 // samples concealed in a row
	var loop []float64
	for _, p := range payloads {
		if p == nil {
			if lost == 0 {
				loop = lastPeriod(out)
			}
			for range frame {
				out = append(out, repetition(loop, lost))
				lost++
			}
			continue
		}
		good := speech.Floats(tone.ALaw.Decode(nil, p))
		for i := 0; lost > 0 && i < min(joint, len(good)); i++ {
			w := float64(i) / joint
			good[i] = w*good[i] + (1-w)*repetition(loop, lost+i)
		}
		out, lost = append(out, good...), 0
	}
	return out
}

// lastPeriod is the last pitch period of x, its end faded into what came before its begin.
func lastPeriod(x []float64) []float64 {
	if len(x) < compared+2*pitchMax {
		return nil
	}
	end := len(x)
	best, period := math.Inf(-1), pitchMax
	for lag := pitchMin; lag <= pitchMax; lag++ {
		cross, energy := 0.0, 1.0
		for i := end - compared; i < end; i++ {
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

// repetition is sample k of the concealment.
func repetition(loop []float64, k int) float64 {
	if len(loop) == 0 {
		return 0
	}
	return loop[k%len(loop)] * max(0, min(1, 1-float64(k-steadyLen)/fadeLen))
}
