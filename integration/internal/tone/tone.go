// Package tone makes and recognises the audio that tests and the demo core listen for: sines, DTMF,
// G.711, WAV. Pure: no goroutine, clock or socket. Floor 0 of the integration module.
//
// Audio is mono linear PCM, 16 bit, at Rate samples per second. A level is in dBFS where a sine of
// full scale has 0 dBFS.
package tone

import "math"

// Rate is the sampling rate of everything here, in Hz.
const Rate = 8000

// FrameLen is the length in samples of the 20 ms frame that telephony sends per packet.
const FrameLen = 160

const fullScale = 32767

// Source produces audio. Fill overwrites all of dst with the next samples; a source that has run dry
// fills zeros and returns false. Implementations are not safe for concurrent use unless they say so.
type Source interface {
	Fill(dst []int16) bool
}

// Sink takes audio in order. It must not keep pcm.
type Sink interface {
	Write(pcm []int16)
}

// Sine is an endless sine wave with continuous phase.
type Sine struct {
	step, phase, amp float64
}

// NewSine makes a sine of freq Hz at the given level (dBFS, at most 0).
func NewSine(freq, level float64) *Sine {
	return &Sine{step: 2 * math.Pi * freq / Rate, amp: amplitude(level)}
}

// Fill implements Source.
func (s *Sine) Fill(dst []int16) bool {
	for i := range dst {
		dst[i] = int16(math.Round(s.amp * math.Sin(s.phase)))
		s.phase += s.step
		if s.phase > 2*math.Pi {
			s.phase -= 2 * math.Pi
		}
	}
	return true
}

func amplitude(level float64) float64 {
	return fullScale * math.Pow(10, math.Min(level, 0)/20)
}

// Mix adds two sources, clipping at full scale; it runs dry when both have.
type Mix struct {
	A, B Source
	buf  []int16
}

// Fill implements Source.
func (m *Mix) Fill(dst []int16) bool {
	if cap(m.buf) < len(dst) {
		m.buf = make([]int16, len(dst))
	}
	b := m.buf[:len(dst)]
	okA, okB := m.A.Fill(dst), m.B.Fill(b)
	for i := range dst {
		dst[i] = clip(float64(dst[i]) + float64(b[i]))
	}
	return okA || okB
}

func clip(v float64) int16 {
	return int16(math.Max(-32768, math.Min(fullScale, math.Round(v))))
}

// Silence is an endless source of zeros.
type Silence struct{}

// Fill implements Source.
func (Silence) Fill(dst []int16) bool { clear(dst); return true }

// Clip plays samples once, or for ever when Loop is set.
type Clip struct {
	PCM  []int16
	Loop bool
	pos  int
}

// Fill implements Source.
func (c *Clip) Fill(dst []int16) bool {
	for i := range dst {
		if c.pos >= len(c.PCM) {
			if !c.Loop || len(c.PCM) == 0 {
				clear(dst[i:])
				return false
			}
			c.pos = 0
		}
		dst[i] = c.PCM[c.pos]
		c.pos++
	}
	return true
}

// Chain plays one source after another has run dry; each switch happens at a Fill boundary.
type Chain []Source

// Fill implements Source.
func (c *Chain) Fill(dst []int16) bool {
	for len(*c) > 0 {
		if (*c)[0].Fill(dst) {
			return true
		}
		*c = (*c)[1:]
	}
	clear(dst)
	return false
}

// Cadence gates a source on and off, as a ringback tone does (ITU-T E.180): On samples of Src, Off of
// silence, for ever.
type Cadence struct {
	Src     Source
	On, Off int // samples
	pos     int
}

// Fill implements Source.
func (c *Cadence) Fill(dst []int16) bool {
	ok := c.Src.Fill(dst)
	for i := range dst {
		if c.pos >= c.On {
			dst[i] = 0
		}
		if c.pos++; c.pos >= c.On+c.Off {
			c.pos = 0
		}
	}
	return ok
}
