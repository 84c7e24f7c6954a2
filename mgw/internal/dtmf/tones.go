package dtmf

import "math"

// Tones plays presses as sound, for a peer that has no telephone events (ITU-T Q.23): each one at least leastTone long and followed by a
// pause, whatever was pressed how quickly. Use NewTones.
type Tones struct {
	presses
	at    uint64 // samples of queue[0] played, its pause included
	turns [2]float64
	step  [2]float64 // turns per sample of the two frequencies
	until uint64     // where the tone ends, samples; 0: not known yet
}

const (
	leastTone = 80 // ms; receivers want 40 (Q.24 table A-1), gateways on the way may eat some
	pauseTone = 60 // ms between two tones; receivers want 40
	edgeTone  = 4  // ms of rise and fall, against clicks
	lowTone   = 8000
	highTone  = 10000 // amplitudes of 16 bits: -9 and -7 dBm0 (Q.23, Q.24: twist within limits)
)

// Frequencies of the keys by event code, Hz.
var (
	rows    = [4]float64{697, 770, 852, 941}
	columns = [4]float64{1209, 1336, 1477, 1633}
	places  = [16]uint8{ // row<<2 | column
		3<<2 | 1, 0, 1, 2, 1 << 2, 1<<2 | 1, 1<<2 | 2, 2 << 2, 2<<2 | 1, 2<<2 | 2, 3 << 2, 3<<2 | 2, 3, 1<<2 | 3, 2<<2 | 3, 3<<2 | 3,
	}
)

// NewTones returns the Tones for a source of event clock from and samples at rate, Hz.
func NewTones(from, rate uint32) *Tones { return &Tones{presses: presses{from: from, to: rate}} }

// Fill overwrites pcm with the sound of the presses, silence between and after them. Only when Active.
func (t *Tones) Fill(pcm []int16) {
	for i := range pcm {
		if t.n == 0 {
			clear(pcm[i:])
			return
		}
		pcm[i] = t.sample()
	}
}

func (t *Tones) sample() int16 {
	q := &t.queue[0]
	if t.at == 0 {
		t.begin(q.code)
	}
	ms := uint64(t.to / 1000)
	if t.until == 0 && q.ended && t.at+edgeTone*ms >= q.ticks {
		t.until = max(q.ticks, leastTone*ms, t.at+edgeTone*ms)
	}
	v := 0.0
	if (t.until == 0 || t.at < t.until) && q.code < uint8(len(places)) {
		for k, a := range [2]float64{lowTone, highTone} {
			v += a * math.Sin(2*math.Pi*t.turns[k])
			if t.turns[k] += t.step[k]; t.turns[k] >= 1 {
				t.turns[k]--
			}
		}
		v *= t.envelope(edgeTone * ms)
	}
	t.at++
	if t.until != 0 && t.at >= t.until+pauseTone*ms {
		t.pop()
		t.at, t.until = 0, 0
	}
	return int16(v)
}

// begin sets the frequencies; flash, which has none, is silent.
func (t *Tones) begin(code uint8) {
	t.turns = [2]float64{}
	if code < uint8(len(places)) {
		t.step = [2]float64{rows[places[code]>>2] / float64(t.to), columns[places[code]&3] / float64(t.to)}
	}
}

// envelope is the loudness at t.at, 0..1, with edges of so many samples.
func (t *Tones) envelope(edge uint64) float64 {
	near := min(t.at, edge)
	if t.until != 0 {
		near = min(near, t.until-t.at)
	}
	return float64(near) / float64(edge)
}
