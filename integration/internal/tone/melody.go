package tone

import "math"

// note: MIDI number (0 is a rest) and length in eighths.
type note struct{ pitch, eighths int }

// tune is a small original melody in C major over a walking bass, 16 beats, made to loop.
var tune = []note{
	{72, 2}, {76, 2}, {79, 3}, {77, 1}, {76, 2}, {74, 2}, {76, 4},
	{69, 2}, {72, 2}, {76, 3}, {74, 1}, {72, 2}, {71, 2}, {67, 4},
}
var bass = []note{
	{48, 4}, {55, 4}, {53, 4}, {48, 4},
	{45, 4}, {52, 4}, {43, 4}, {50, 4},
}

const eighth = Rate * 21 / 100 // 210 ms

// Melody renders one round of a pleasant synthesised tune, about 6.7 s, to be looped.
func Melody() []int16 {
	out := make([]float64, 32*eighth)
	render(out, tune, 0.30)
	render(out, bass, 0.22)
	pcm := make([]int16, len(out))
	for i, v := range out {
		pcm[i] = clip(v * fullScale * 0.8)
	}
	return pcm
}

// render adds plucked notes with three harmonics and an exponential decay.
func render(out []float64, part []note, gain float64) {
	at := 0
	for _, n := range part {
		length := n.eighths * eighth
		freq := 440 * math.Pow(2, float64(n.pitch-69)/12)
		for i := 0; i < length && at+i < len(out) && n.pitch > 0; i++ {
			t := float64(i) / Rate
			attack := math.Min(1, t/0.012)
			release := math.Min(1, float64(length-i)/(0.02*Rate))
			env := gain * attack * release * math.Exp(-2.2*t)
			w := 2 * math.Pi * freq * t
			out[at+i] += env * (math.Sin(w) + 0.35*math.Sin(2*w) + 0.12*math.Sin(3*w))
		}
		at += length
	}
}
