package dtmf

import (
	"math"
	"time"
)

// Detector finds keys in audio and silences them there (ITU-T Q.23, Q.24). It looks at windows of 12.75 ms, one each 6.4 ms: a tone is a
// key when it lasts (35 ms always do, less than 29 never), when nothing else sounds, and when its frequencies are right, which the phase
// tells from window to window; speech has all that for a window now and then, not for five (talk-off). What sounds like a key for one window
// is silenced at once, so that less than 20 ms of it, which no receiver takes for a key, gets through. Use NewDetector.
type Detector struct {
	half bool // the audio has 16 kHz: pairs are averaged

	window [windowLen]int16 // of 8 kHz
	fill   int              // new samples in it

	run  hearing
	last [2]complex128 // spectral lines of the window before, row and column
	seen uint8         // its key; noKey: none

	mute int // samples still to be silenced

	press   Press
	done    [8]Detected
	from, n int
	missed  uint64
}

// hearing is a row of windows with one key.
type hearing struct {
	key    uint8
	good   int // windows in all, with short breaks
	steady int // of them, those whose frequencies fit the window before
	bad    int // windows since the last good one
	hops   int // since the first
}

const (
	toneRate  = 8000 // Hz
	hopLen    = 51
	windowLen = 2 * hopLen
	noKey     = 255

	leastGood   = 5    // windows of a key
	leastSteady = 3    // of them
	mostBad     = 5    // windows that a break within a key may have: 20 ms must not end it, 40 ms must (Q.24 table A-1)
	leastPower  = 722  // amplitude of a tone, -30 dBm0
	leastShare  = 0.75 // of the energy in both lines
	leastPure   = 0.88 // of the energy in both tones, in steady windows
	twistLow    = 8.5  // dB that the row may be above the column
	twistHigh   = 5.5  // dB that the column may be above the row
	offset      = 0.025
)

// line is a frequency that is looked for.
type line struct {
	coeff    float64 // of the Goertzel filter
	cos, sin float64
	advance  float64 // of the phase in a hop
	slack    float64 // that the phase may be off by
}

var rowLines, columnLines = linesOf(rows), linesOf(columns)

func linesOf(hz [4]float64) (out [4]line) {
	for i, f := range hz {
		w := 2 * math.Pi * f / toneRate
		out[i] = line{coeff: 2 * math.Cos(w), cos: math.Cos(w), sin: math.Sin(w), advance: w * hopLen, slack: offset * w * hopLen}
	}
	return out
}

// DetectorClock is the clock that the Detector's presses are told in, Hz.
const DetectorClock = toneRate

// NewDetector returns a Detector for audio of 8000 or 16000 Hz.
func NewDetector(rate int) *Detector {
	return &Detector{half: rate == 2*toneRate, seen: noKey, run: hearing{key: noKey}}
}

// Process looks at the next frame of audio and silences in place what sounds like a key.
func (d *Detector) Process(pcm []int16) {
	step := 1
	if d.half {
		step = 2
	}
	n := len(pcm) / step
	done := 0 // samples of 8 kHz that are decided on
	for i := range n {
		v := pcm[i*step]
		if d.half {
			v = int16((int(v) + int(pcm[i*step+1])) / 2)
		}
		d.window[windowLen-hopLen+d.fill] = v
		if d.fill++; d.fill < hopLen {
			continue
		}
		d.fill = 0
		if d.hop() {
			// The window reaches back by twice a hop; what of it is in this frame goes.
			clear(pcm[max(0, i+1-windowLen)*step : (i+1)*step])
			d.mute = 2 * hopLen
		} else {
			d.silence(pcm[done*step:(i+1)*step], step)
		}
		done = i + 1
		copy(d.window[:windowLen-hopLen], d.window[hopLen:])
	}
	d.silence(pcm[done*step:], step)
}

// silence clears what follows a key closely.
func (d *Detector) silence(pcm []int16, step int) {
	k := min(d.mute*step, len(pcm))
	clear(pcm[:k])
	d.mute -= k / step
}

// hop looks at the window, whose second half is new, and reports whether it sounds like a key.
func (d *Detector) hop() bool {
	key, lines, energy := d.look()
	steady := key != noKey && key == d.seen && d.fits(key, lines, energy)
	d.seen, d.last = key, lines
	r := &d.run
	switch {
	case key != noKey && key == r.key:
		r.good++
		r.hops += r.bad + 1
		r.bad = 0
		if steady {
			r.steady++
		}
		d.follow()
	case key != noKey:
		d.end()
		*r = hearing{key: key, good: 1, hops: 1}
	case r.key != noKey:
		if r.bad++; r.bad > mostBad {
			d.end()
			*r = hearing{key: noKey}
		}
	}
	return key != noKey
}

// follow begins a press once the run is long enough, and lets it grow.
func (d *Detector) follow() {
	r := &d.run
	if r.good < leastGood || r.steady < leastSteady {
		return
	}
	if d.press.ID == 0 || d.press.Ended {
		d.press = Press{ID: d.press.ID + 1, Code: r.key, Volume: 10, First: true}
	}
	// As many windows fit a tone that is so long, give or take half a hop.
	d.press.Ticks = uint64(r.hops)*hopLen + windowLen - hopLen - 21
}

// end closes the press of the present run, if it has become one.
func (d *Detector) end() {
	if d.press.ID == 0 || d.press.Ended {
		return
	}
	d.press.Ended = true
	if d.n == len(d.done) {
		d.from = (d.from + 1) % len(d.done)
		d.n--
		d.missed++
	}
	d.done[(d.from+d.n)%len(d.done)] = Detected{
		Digit: Digit(d.press.Code), Duration: time.Duration(d.press.Ticks) * time.Second / toneRate,
	}
	d.n++
}

// Press is the state of the present press; its ID is 0 before the first one.
func (d *Detector) Press() Press { return d.press }

// Take returns the oldest press that is over and was not taken yet; eight are kept.
func (d *Detector) Take() (Detected, bool) {
	if d.n == 0 {
		return Detected{}, false
	}
	x := d.done[d.from]
	d.from = (d.from + 1) % len(d.done)
	d.n--
	return x, true
}

// look returns the key that the window sounds like, or noKey, its two spectral lines, and the energy of all.
func (d *Detector) look() (key uint8, lines [2]complex128, energy float64) {
	for _, v := range d.window {
		energy += float64(v) * float64(v)
	}
	if energy < leastPower*leastPower*windowLen { // two tones of half the square each
		return noKey, lines, energy
	}
	row, rx, rp := d.strongest(&rowLines)
	column, cx, cp := d.strongest(&columnLines)
	// A tone of amplitude A has a line of A*N/2; and an energy of A²*N/2.
	share := (rp + cp) * perLine / energy
	twist := 10 * math.Log10(cp/rp)
	least := leastPower / perLine
	if share < leastShare || twist > twistHigh || twist < -twistLow || math.Min(rp, cp) < least*least {
		return noKey, lines, energy
	}
	return codeAt[row][column], [2]complex128{rx, cx}, energy
}

// strongest is the strongest of four lines: its index, its value and its power. A key has the others of its group far below.
func (d *Detector) strongest(lines *[4]line) (best int, x complex128, power float64) {
	for i := range lines {
		l := &lines[i]
		s1, s2 := 0.0, 0.0
		for _, v := range d.window {
			s1, s2 = float64(v)+l.coeff*s1-s2, s1
		}
		y := complex(s1-l.cos*s2, l.sin*s2)
		if p := real(y)*real(y) + imag(y)*imag(y); p > power {
			best, x, power = i, y, p
		}
	}
	return best, x, power
}

// perLine brings the power of a line to the energy of the tone in the window.
const perLine = 2.0 / windowLen

// fits reports whether both phases went on since the window before as those of the key's frequencies do, and whether nothing else sounds,
// which can be told better now that it is known how far the tones are beside their lines.
func (d *Detector) fits(key uint8, now [2]complex128, energy float64) bool {
	place := places[key]
	both := 0.0
	for i, l := range [2]*line{&rowLines[place>>2], &columnLines[place&3]} {
		turned := math.Atan2(imag(now[i]), real(now[i])) - math.Atan2(imag(d.last[i]), real(d.last[i]))
		off := math.Remainder(turned-l.advance, 2*math.Pi)
		if math.Abs(off) > l.slack {
			return false
		}
		x := off * windowLen / hopLen / 2
		seen := 1 - x*x/6 // of the amplitude: sin(x)/x
		both += (real(now[i])*real(now[i]) + imag(now[i])*imag(now[i])) / (seen * seen)
	}
	return both*perLine >= leastPure*energy
}

// codeAt is the event code by row and column.
var codeAt = func() (out [4][4]uint8) {
	for code, place := range places {
		out[place>>2][place&3] = uint8(code)
	}
	return out
}()
