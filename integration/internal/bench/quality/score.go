package quality

import (
	"fmt"
	"math"
	"slices"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
)

// Score is what one stream came to.
type Score struct {
	Score float64 // ESTOI after alignment
	Level float64 // of the speech against what was said, dB
	Delay float64 // added, median over the packets with speech, ms; not of the reference
	Last  float64 // the same over the last quarter of them
}

// judge compares what was heard with what was said.
func (s *stream) judge(heard []float64) (Score, alignment, error) {
	clean := speech.Floats(s.said(s.speech)[:len(s.payloads)*s.frame()])
	a := align(speech.Convert(clean, s.hz(), rate), speech.Convert(heard, s.hz(), rate))
	laid := a.apply(heard, len(clean), s.wide)
	v, err := s.pair.score(clean, laid)
	if err != nil {
		return Score{}, a, fmt.Errorf("quality: %w", err)
	}
	return Score{Score: v, Level: 10 * math.Log10((energy(laid)+1)/(energy(clean)+1))}, a, nil
}

// judgeReference scores the receiver without gateway, and the same coded twice. lag: that of the codecs alone, samples.
func (s *stream) judgeReference() (sc, twice Score, lag int, err error) {
	heard, err := s.reference()
	if err != nil {
		return sc, twice, 0, err
	}
	sc, a, err := s.judge(heard)
	if err != nil {
		return sc, twice, 0, err
	}
	again, err := s.codedTwice(heard)
	if err != nil {
		return sc, twice, 0, err
	}
	twice, _, err = s.judge(again)
	return sc, twice, a.usual(), err
}

// judgeGateway scores what a gateway made of the stream. lag: from judgeReference.
func (s *stream) judgeGateway(rec []load.Recorded, lag int) (Score, error) {
	heard, pieces, err := s.layOut(rec)
	if err != nil {
		return Score{}, err
	}
	sc, a, err := s.judge(heard)
	if err != nil {
		return sc, err
	}
	var delays []float64
	for _, p := range pieces {
		// When the network's fastest packet with the sound at the begin of this one would have come, and when this one came.
		from := p.from / s.wide
		said := from - a.at(from-a.at(from)) + lag
		due := float64(said) * 1000 / rate * (1 + s.cond.Drift)
		delays = append(delays, (p.At-s.start).Seconds()*1000-due)
	}
	sc.Delay, sc.Last = middle(delays), middle(delays[len(delays)*3/4:])
	return sc, nil
}

// middle is the median.
func middle(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
