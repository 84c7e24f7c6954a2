package audio

import (
	"math"
	"testing"
)

// clicks is the largest level above 3 kHz in any 4 ms of pcm, root mean square: where a tone of some hundred hertz is cut hard, joined out of
// step or jumps, there is much; where it fades, hardly more than the codec's own noise.
func clicks(pcm []int16, rate int) (worst float64, at int) {
	const reach = 24
	var taps [2*reach + 1]float64
	cut := 2 * 3000 / float64(rate) // of half the rate
	for i := range taps {
		k := float64(i - reach)
		h := -cut
		if k != 0 {
			h = -math.Sin(math.Pi*cut*k) / (math.Pi * k)
		} else {
			h += 1
		}
		taps[i] = h * (0.5 + 0.5*math.Cos(math.Pi*k/(reach+1)))
	}
	n := rate * 4 / 1000
	sum, ring := 0.0, make([]float64, n)
	for i := reach; i+reach < len(pcm); i++ {
		y := 0.0
		for k, h := range taps {
			y += h * float64(pcm[i-reach+k])
		}
		sum += y*y - ring[i%n]
		ring[i%n] = y * y
		if v := math.Sqrt(max(0, sum) / float64(n)); v > worst {
			worst, at = v, i
		}
	}
	return worst, at
}

// audible is what clicks may say of a tone of peak 8000: -46 dB of it.
const audible = 40.0

// A cut anywhere but at zero is seen, so is a jump of the phase; a fade of 5 ms is none.
func TestClicksAreSeen(t *testing.T) {
	for _, rate := range []int{8000, 16000} {
		whole := tone(440, 8000, rate, rate)
		if v, _ := clicks(whole, rate); v > 5 {
			t.Errorf("%d Hz: a tone alone: %.0f", rate, v)
		}
		for _, phase := range []float64{0.1, 0.25, 0.4} { // of a period after its rise through zero
			from := rate/2 + int((phase+math.Ceil(440*0.5)-440*0.5)*float64(rate)/440)
			cut := append([]int16(nil), whole...)
			clear(cut[from:])
			jump := append(append([]int16(nil), whole[:from]...), whole[from+rate/880:]...)
			faded := append([]int16(nil), cut...)
			for i := range rate * 5 / 1000 {
				faded[from+i] = fade(whole[from+i], 0, i, rate*5/1000)
			}
			c, _ := clicks(cut, rate)
			j, _ := clicks(jump, rate)
			f, _ := clicks(faded, rate)
			if c < 1.5*audible || j < 2*audible || f > audible/2 {
				t.Errorf("%d Hz, phase %.2f: cut %.0f, jump %.0f, fade %.0f", rate, phase, c, j, f)
			}
		}
	}
}
