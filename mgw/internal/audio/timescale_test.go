package audio

import (
	"math"
	"testing"
)

// held makes a fifo with n samples of a tone.
func held(freq float64, rate, n int) fifo {
	f := newFIFO(4 * n)
	f.put(tone(freq, 8000, rate, n))
	return f
}

// Cutting and repeating a pitch period change the length by it and leave a tone without a step.
func TestCutAndRepeatAreSeamless(t *testing.T) {
	for _, rate := range []int{8000, 16000} {
		for _, freq := range []float64{110, 231, 440, 1000} {
			n, w := rate*40/1000, overlapMS*rate/1000
			limit := 8000*2*math.Pi*freq/float64(rate)*1.25 + 200
			f := held(freq, rate, n)
			lag, alike := f.lag(lagMinMS*rate/1000, lagMaxMS*rate/1000, w)
			if periods := float64(lag) * freq / float64(rate); alike < 0.95 || math.Abs(periods-math.Round(periods)) > 0.1 {
				t.Errorf("%v Hz at %d: lag of %.2f periods, alike %.2f", freq, rate, periods, alike)
			}
			f.cut(lag, w)
			if s := largestStep(f.s[:f.n]); f.n != n-lag || s > limit {
				t.Errorf("%v Hz at %d, cut: %d samples, step %.0f of %.0f", freq, rate, f.n, s, limit)
			}
			f = held(freq, rate, n)
			f.repeat(lag, w)
			if s := largestStep(f.s[:f.n]); f.n != n+lag || s > limit {
				t.Errorf("%v Hz at %d, repeated: %d samples, step %.0f of %.0f", freq, rate, f.n, s, limit)
			}
			if f.s[0] != 0 || math.Abs(float64(f.s[f.n-1])-float64(tone(freq, 8000, rate, n)[n-1])) > 0 {
				t.Errorf("%v Hz at %d: ends of the audio changed", freq, rate)
			}
		}
	}
}

// Even where the signal does not repeat the seam is a fade, not a step.
func TestSeamIsAFade(t *testing.T) {
	const rate, n, w, lag = 8000, 480, 64, 82 // two and a quarter periods of 220 Hz
	limit := 8000*2*math.Pi*220/rate*1.5 + 2*8000/w
	f := held(220, rate, n)
	f.cut(lag, w)
	if s := largestStep(f.s[:f.n]); s > limit || f.s[0] != 0 {
		t.Errorf("cut leaves a step of %.0f, and the head is %d where the audio before went on with 0", s, f.s[0])
	}
	f = held(220, rate, n)
	f.repeat(lag, w)
	if s := largestStep(f.s[:f.n]); s > limit {
		t.Errorf("repeating leaves a step of %.0f", s)
	}
}

func TestLagWithoutRoomOrSignal(t *testing.T) {
	f := held(300, 8000, 100)
	if lag, _ := f.lag(16, 96, 64); lag != 0 {
		t.Errorf("found %d in too few samples", lag)
	}
	f.n = 320
	clear(f.s)
	if lag, alike := f.lag(16, 96, 64); lag != 96 || alike != 1 {
		t.Errorf("silence can be cut anywhere, got %d %v", lag, alike)
	}
}
