package offeranswer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// PassThrough are the codecs that no media gateway codes. Where the policy has one on both sides and both peers have it, it is relayed: each peer gets the
// other's format parameters as they are, since they bind the far end's encoder (EVS: TS 26.445 annex A.3.1).
var PassThrough = []string{codec.EVS, "G729", "iLBC", "G726-32", "GSM", "speex"}

func passes(c codec.Codec) bool { return listed(PassThrough, c) }

// formatsOf returns the formats with the encoding name as an offer on side describes them; those of PassThrough are the ones that the other side's
// peer has.
func (m *Media) formatsOf(side Side, name string) []codec.Codec {
	if own := formats(name); own != nil || !passes(codec.Codec{Name: name}) {
		return own
	}
	o := m.Line(side.Other())
	theirs := o.Theirs
	if passes(o.Chosen) {
		theirs = []codec.Codec{o.Chosen}
	}
	var out []codec.Codec
	for _, c := range theirs {
		if c.Is(name) && !slices.ContainsFunc(out, c.SamePayload) {
			out = append(out, c)
		}
	}
	return out
}

// answerOf is codec c of the peer's offer on side as our answer describes it.
func (m *Media) answerOf(side Side, c codec.Codec) codec.Codec {
	if o := m.Line(side.Other()).Chosen; passes(c) && c.SameCodec(o) {
		c.Fmtp = o.Fmtp
		return c
	}
	return answered(c)
}

// Path says how media pass between the sides: "relayed" or "transcoded", and why, in words. Both are empty as long as the codecs are not agreed.
func (m *Media) Path() (path, reason string) {
	v := m.at(max(m.Lead(Access), 0))
	a, c := v.Line(Access).Chosen, v.Line(Core).Chosen
	switch {
	case a.IsZero() || c.IsZero():
		return "", ""
	case a.SameFormat(c) && c.SameFormat(a):
		return "relayed", "both sides have " + text(a)
	case a.SameFrames(c) && c.SameFrames(a):
		return "relayed", "both sides have " + text(a) + ", packed otherwise"
	case a.SameCodec(c):
		return "transcoded", "the sides take different modes of " + text(a)
	}
	for _, x := range v.Line(Access).Theirs {
		if isAudio(x) && slices.ContainsFunc(v.Line(Core).Theirs, func(y codec.Codec) bool { return x.SameFormat(y) && y.SameFormat(x) }) {
			return "transcoded", fmt.Sprintf("media.prefer is %s, %s could be relayed", m.Policy.prefer(), text(x))
		}
	}
	return "transcoded", "no codec in common"
}

func (p Policy) prefer() Preference {
	if p.Prefer == "" {
		return PreferRelay
	}
	return p.Prefer
}

// unjoinable says why nothing of what side's peer offers can be used, for a Warning.
func (m *Media) unjoinable(side Side) string {
	var theirs []string
	for _, c := range m.Line(side).Theirs {
		if isAudio(c) && len(theirs) < 4 {
			theirs = append(theirs, text(c))
		}
	}
	if c := m.Line(side.Other()).Chosen; !c.IsZero() {
		return fmt.Sprintf("%s cannot be joined with %s of the other side", strings.Join(theirs, " "), text(c))
	}
	return fmt.Sprintf("%s cannot be joined with any codec for the other side", strings.Join(theirs, " "))
}

// text names a codec fit for a Warning.
func text(c codec.Codec) string {
	if c.ChannelCount() > 1 {
		return fmt.Sprintf("%s/%d/%d", printable(c.Name), c.ClockRate, c.ChannelCount())
	}
	return fmt.Sprintf("%s/%d", printable(c.Name), c.ClockRate)
}
