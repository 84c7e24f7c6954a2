// Package signals makes the sound of signals: tones of a country's plan and announcements from files, sample by sample. Floor 1. // hot
// Owner: a Source belongs to whoever plays it; Tones, Plans and Clips are immutable and shared. No goroutine, no clock; nothing is
// allocated after NewTone and NewClip. H.248.1 §E.7, H.248.7; ITU-T E.180.
package signals

import (
	"math"
	"time"
)

const (
	// base is the rate that positions are counted in: a multiple of every PCM rate, so that a signal goes on when the codec changes.
	base = 96000
	// edge is the length of rise and fall: shorter ones are heard as clicks.
	edge = base * 5 / 1000
)

// Source is a signal being played.
type Source struct {
	tone   *Tone // either
	clip   *Clip // or
	rounds int   // still to be played after the present one; negative: no end
	limit  int64 // where it ends at the latest; 0: no limit
	at     int64 // since its beginning
	mark   int64 // beginning of the present round
	part   int   // segment of the tone
	from   int64 // beginning of the segment
	turns  [maxFrequencies]float64
	over   bool
}

// NewTone plays a tone: rounds of its cadence, 0: without end; limit: at most so long, 0: no limit.
func NewTone(t *Tone, rounds int, limit time.Duration) *Source {
	return &Source{tone: t, rounds: rounds - 1, limit: ticks(limit)}
}

// NewClip plays an announcement so many times, 0: without end; limit: at most so long, 0: no limit.
func NewClip(c *Clip, rounds int, limit time.Duration) *Source {
	return &Source{clip: c, rounds: rounds - 1, limit: ticks(limit)}
}

func ticks(d time.Duration) int64 { return int64(d) * (base / 1000) / int64(time.Millisecond) }

// Stop makes the signal fade away and end.
func (s *Source) Stop() {
	if end := s.at + edge; s.limit == 0 || s.limit > end {
		s.limit = end
	}
}

// Over reports whether the signal has ended by itself, by its limit or by Stop.
func (s *Source) Over() bool { return s.over }

// Endless reports whether the signal does not end by itself or by a limit, nor has been stopped.
func (s *Source) Endless() bool {
	return s.limit == 0 && !s.over && (s.rounds < 0 || s.tone != nil && s.tone.Segments[s.part].MS == 0)
}

// Fill writes the next samples at rate, Hz, which divides 96000, and returns their number: less than len(pcm) when the signal has ended.
func (s *Source) Fill(pcm []int16, rate int) int {
	step := int64(base / rate)
	for i := range pcm {
		if s.limit != 0 && s.at >= s.limit || !s.over && !s.settle() {
			s.over = true
		}
		if s.over {
			return i
		}
		v := 0.0
		if s.tone != nil {
			v = s.voice(rate)
		} else {
			v = s.clip.sample(s.at-s.mark, rate)
		}
		pcm[i] = int16(math.Round(v * s.envelope()))
		s.at += step
	}
	return len(pcm)
}

// settle finds the round and the segment of the present position; false when the signal has no more.
func (s *Source) settle() bool {
	if s.clip != nil {
		if s.at-s.mark < s.clip.length() {
			return true
		}
		return s.again()
	}
	for {
		g := &s.tone.Segments[s.part]
		if g.MS == 0 || s.at-s.from < g.ticks() {
			return true
		}
		s.from += g.ticks()
		s.turns = [maxFrequencies]float64{}
		if s.part++; s.part == len(s.tone.Segments) {
			s.part = 0
			if !s.again() {
				return false
			}
		}
	}
}

// again begins the next round, if there is one.
func (s *Source) again() bool {
	if s.rounds == 0 {
		return false
	}
	if s.rounds > 0 {
		s.rounds--
	}
	s.mark = s.at
	return true
}

// voice is the next sample of the present segment, before its envelope.
func (s *Source) voice(rate int) float64 {
	g := &s.tone.Segments[s.part]
	v := 0.0
	for k, hz := range g.Hz {
		if hz == 0 {
			break
		}
		v += math.Sin(2 * math.Pi * s.turns[k])
		if s.turns[k] += hz / float64(rate); s.turns[k] >= 1 {
			s.turns[k]--
		}
	}
	return v * g.level()
}

// envelope is the loudness at the present position, 0..1: it rises and falls with the signal, and with each segment of a tone.
func (s *Source) envelope() float64 {
	near := s.at
	if s.limit != 0 {
		near = min(near, s.limit-s.at)
	}
	if s.tone != nil {
		if g := &s.tone.Segments[s.part]; g.MS != 0 {
			near = min(near, s.at-s.from, s.from+g.ticks()-s.at)
		}
	} else {
		near = min(near, s.at-s.mark, s.mark+s.clip.length()-s.at)
	}
	if near >= edge {
		return 1
	}
	return 0.5 - 0.5*math.Cos(math.Pi*float64(max(near, 0))/edge)
}
