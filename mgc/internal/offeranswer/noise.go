package offeranswer

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// takeNoise remembers the comfort noise (RFC 3389) that the peer has beside codecs of 8000 Hz.
func (l *Line) takeNoise(cs []codec.Codec) {
	l.Noise = codec.Codec{}
	if i := slices.IndexFunc(cs, func(c codec.Codec) bool {
		return c.Is(codec.ComfortNoise) && c.ClockRate == 8000 && c.ChannelCount() == 1
	}); i >= 0 {
		l.Noise = cs[i]
		l.Noise.Fmtp = ""
	}
}

// answerNoise agrees to the core's comfort noise where pauses are wanted and media are transcoded: a browser that has not agreed to it cannot get
// it relayed.
func (m *Media) answerNoise(side Side) {
	l, o := m.Line(side), m.Line(side.Other())
	waveform := l.Chosen.Is(codec.PCMA) || l.Chosen.Is(codec.PCMU) || l.Chosen.Is(codec.G722)
	if side == Core && m.Policy.DTX.towards(side) && waveform && !l.Noise.IsZero() && !o.Chosen.IsZero() && !l.Chosen.SameFormat(o.Chosen) && !ptTaken(l.Ours, l.Noise.PT) {
		l.Ours = append(l.Ours, l.Noise)
	}
}

// noiseAgreed reports whether what we said last has the peer's comfort noise.
func (l *Line) noiseAgreed() bool { return !l.Noise.IsZero() && slices.Contains(l.Ours, l.Noise) }

// towards reports whether what is transcoded for side's peer pauses in silence.
func (d DTX) towards(side Side) bool { return d == DTXBoth || d == DTXCore && side == Core }
