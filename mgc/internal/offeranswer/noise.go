package offeranswer

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Noise says whether comfort noise (RFC 3389) is agreed with the core, beside G.711, G.722 and other codecs that know no pauses themselves. A browser
// gets no more than it has offered, in any case. All of them have a clock of 8000 Hz, G.722 too (RFC 3551 §4.5.2), and so has the noise: what has
// 16000 Hz here, AMR-WB and EVS, has silence frames of its own.
type Noise string

// The values.
const (
	NoiseOff    Noise = "off"
	NoiseAnswer Noise = "answer" // to a core that offers it
	NoiseOffer  Noise = "offer"  // to the core too, where the browser has offered it, and where what is transcoded for the core pauses
)

// waveform reports whether c has no frames for silence, so that comfort noise belongs beside it.
func waveform(c codec.Codec) bool {
	return c.ClockRate == 8000 && (c.Is(codec.PCMA) || c.Is(codec.PCMU) || c.Is(codec.G722) || c.Is("G726-32") || c.Is("iLBC"))
}

// takeNoise remembers the comfort noise that the peer has beside codecs of 8000 Hz; in an answer, what we have offered.
func (l *Line) takeNoise(cs []codec.Codec, answer bool) {
	l.Noise = codec.Codec{}
	if i := slices.IndexFunc(cs, func(c codec.Codec) bool {
		return c.Is(codec.ComfortNoise) && c.ClockRate == 8000 && c.ChannelCount() == 1 && (!answer || slices.ContainsFunc(l.Ours, c.SamePayload))
	}); i >= 0 {
		l.Noise = cs[i]
		l.Noise.Fmtp = ""
	}
}

// offerNoise adds comfort noise to what an offer on side lists, where both directions of it can be heard whichever codec the peer picks.
func (m *Media) offerNoise(side Side, list []codec.Codec) []codec.Codec {
	l, o := m.Line(side), m.Line(side.Other())
	if m.Policy.Noise != NoiseOffer && !l.noiseAgreed() || !slices.ContainsFunc(list, waveform) {
		return list
	}
	switch {
	case side == Access:
		if l.Noise.IsZero() || !o.noiseAgreed() {
			return list
		}
	case o.Noise.IsZero() && !m.pausesFor(list):
		return list
	}
	cn, _ := codec.Static(13)
	if !l.Noise.IsZero() {
		cn.PT = l.Noise.PT
	}
	if cn, ok := l.number(Core, cn, list); ok { // as for a core: what a browser may not be offered has been left out
		return append(list, cn)
	}
	return list
}

// pausesFor reports whether each waveform codec in list, which is to be offered to the core, would be transcoded, and pauses are wanted then.
func (m *Media) pausesFor(list []codec.Codec) bool {
	if !m.Policy.DTX.towards(Core) {
		return false
	}
	for _, c := range list {
		if !waveform(c) {
			continue
		}
		then := *m
		then.Lines[Core].Chosen = c
		if a, ok := then.choose(Access); !ok || a.SameFormat(c) && c.SameFormat(a) {
			return false
		}
	}
	return true
}

// answerNoise agrees to the comfort noise of the peer's offer: where media are relayed, if the other peer has agreed to it too; where they are
// transcoded, with the core only.
func (m *Media) answerNoise(side Side) {
	l, o := m.Line(side), m.Line(side.Other())
	if m.Policy.Noise == NoiseOff || l.Noise.IsZero() || !waveform(l.Chosen) || o.Chosen.IsZero() || ptTaken(l.Ours, l.Noise.PT) {
		return
	}
	agreed := side == Core && m.Policy.DTX.towards(side)
	if l.Chosen.SameFormat(o.Chosen) && o.Chosen.SameFormat(l.Chosen) {
		agreed = o.noiseAgreed()
	}
	if agreed {
		l.Ours = append(l.Ours, l.Noise)
	}
}

// noiseAgreed reports whether what we said last has the peer's comfort noise, under whatever payload type.
func (l *Line) noiseAgreed() bool {
	return !l.Noise.IsZero() && slices.ContainsFunc(l.Ours, l.Noise.SamePayload)
}

// towards reports whether what is transcoded for side's peer pauses in silence.
func (d DTX) towards(side Side) bool { return d == DTXBoth || d == DTXCore && side == Core }
