package tone

import "strings"

// Digits are the DTMF digits in the order of their RFC 4733 §3.2 event codes.
const Digits = "0123456789*#ABCD"

var dtmfLow = [4]float64{697, 770, 852, 941}
var dtmfHigh = [4]float64{1209, 1336, 1477, 1633}

const dtmfPad = "123A456B789C*0#D" // ITU-T Q.23 keypad, row by row

// DTMF makes the two tones of a digit (ITU-T Q.23) at level dBFS each; nil for anything else.
func DTMF(digit byte, level float64) Source {
	i := strings.IndexByte(dtmfPad, digit)
	if i < 0 {
		return nil
	}
	return &Mix{A: NewSine(dtmfLow[i/4], level), B: NewSine(dtmfHigh[i%4], level)}
}

// DetectDTMF gives the digit sounding in pcm, 0 if none. pcm is best 160 to 400 samples. A digit needs
// both its tones, within 8 dB of each other, holding most of the energy.
func DetectDTMF(pcm []int16) byte {
	if len(pcm) < FrameLen || Level(pcm) < -45 {
		return 0
	}
	x := make([]float64, len(pcm))
	var energy float64
	for i, s := range pcm {
		x[i] = float64(s)
		energy += x[i] * x[i]
	}
	row, pr := strongest(x, dtmfLow)
	col, pc := strongest(x, dtmfHigh)
	if pr > 6.3*pc || pc > 6.3*pr { // 8 dB
		return 0
	}
	// A pure tone of energy e over n samples has |X|^2 = e*n/2.
	if (pr+pc)*2/float64(len(x)) < 0.7*energy {
		return 0
	}
	return dtmfPad[row*4+col]
}

func strongest(x []float64, freqs [4]float64) (int, float64) {
	best, power := 0, -1.0
	for i, f := range freqs {
		if p := goertzel(x, f); p > power {
			best, power = i, p
		}
	}
	return best, power
}
