package offeranswer

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Payload types that our own offers use for formats without a static one.
const (
	ptOpus      = 111
	ptEvent48k  = 110
	ptEventWeb  = 126
	ptEventCore = 101
	ptEvent16k  = 102
	ptAMRWB     = 97 // and one more for the octet-aligned one
	ptAMR       = 99
)

// Format parameters of what we say. The MGW decodes any Opus; asking for wideband mono saves the browser's uplink (RFC 7587 §6.1).
const (
	fmtpOpus  = "minptime=10;useinbandfec=1;stereo=0;maxplaybackrate=16000"
	fmtpEvent = "0-15"
	fmtpAMR   = "mode-change-capability=2;max-red=0" // TS 26.114 table 6.3: any mode; no redundancy
)

func isAudio(c codec.Codec) bool { return !c.Is(codec.TelephoneEvent) && !c.Is(codec.ComfortNoise) }

func hasEvent(cs []codec.Codec) bool {
	return slices.ContainsFunc(cs, func(c codec.Codec) bool { return c.Is(codec.TelephoneEvent) })
}

func listed(names []string, c codec.Codec) bool {
	return slices.ContainsFunc(names, c.Is)
}

// known reports whether c is a format that we speak: the name alone does not do (opus/48000/2 only, RFC 7587 §7).
func known(c codec.Codec) bool {
	switch {
	case c.Is(codec.Opus):
		return c.ClockRate == 48000 && c.ChannelCount() == 2
	case c.Is(codec.PCMA), c.Is(codec.PCMU), c.Is(codec.G722):
		return c.ClockRate == 8000 && c.ChannelCount() == 1
	case c.Is(codec.AMR):
		return c.ClockRate == 8000 && c.ChannelCount() == 1 && knownAMR(c)
	case c.Is(codec.AMRWB):
		return c.ClockRate == 16000 && c.ChannelCount() == 1 && knownAMR(c)
	case c.Is(codec.EVS):
		return c.ClockRate == 16000 // TS 26.445 annex A.3.1
	}
	return passes(c)
}

// usable keeps the codecs of a peer's description that names allow, and telephone-event, in the peer's order.
func usable(cs []codec.Codec, names []string) []codec.Codec {
	var out []codec.Codec
	for _, c := range cs {
		if c.Is(codec.TelephoneEvent) || known(c) && listed(names, c) {
			out = append(out, c)
		}
	}
	return out
}

// bridges reports whether media in a can leave as b.
func (m *Media) bridges(a, b codec.Codec) bool {
	return a.SameFormat(b) && b.SameFormat(a) || listed(m.Policy.Transcode, a) && listed(m.Policy.Transcode, b)
}

// Codes reports whether media gateways are asked to code c: what is played to a peer, and digits in its audio, need that.
func (p Policy) Codes(c codec.Codec) bool { return listed(p.Transcode, c) }

// Settled reports whether what side's peer is to use can be joined with whatever the other side's peer may pick of our last offer.
func (m *Media) Settled(side Side) bool {
	chosen := m.Line(side).Chosen
	return !slices.ContainsFunc(m.Line(side.Other()).Ours, func(c codec.Codec) bool { return isAudio(c) && !m.bridges(c, chosen) })
}

// bridgeable reports whether some codec of side's peer can be joined with what the other side has, or may have.
func (m *Media) bridgeable(side Side) bool {
	o := m.Line(side.Other())
	theirs := m.Line(side).Theirs
	if !o.Chosen.IsZero() {
		return slices.ContainsFunc(theirs, func(c codec.Codec) bool { return isAudio(c) && m.bridges(c, o.Chosen) })
	}
	return len(m.candidates(side.Other())) > 0
}

// candidates returns the codecs that an offer on side may hold, in the policy's order, with our payload types: those
// that can be joined with at least one codec of the other side.
func (m *Media) candidates(side Side) []codec.Codec {
	var out []codec.Codec
	for _, n := range m.names(side) {
		for _, c := range m.formatsOf(side, n) {
			if m.joins(c, side.Other()) {
				out = append(out, c)
			}
		}
	}
	return out
}

// names returns the codecs that the policy allows on side.
func (m *Media) names(side Side) []string {
	if side == Access {
		return m.Policy.Access
	}
	return m.Policy.Core
}

// joins reports whether c can be joined with what the peer on side uses, or could use.
func (m *Media) joins(c codec.Codec, side Side) bool {
	o := m.Line(side)
	if !o.Chosen.IsZero() {
		return m.bridges(c, o.Chosen)
	}
	if o.Theirs == nil { // nothing known yet: an INVITE without offer
		return slices.ContainsFunc(m.names(side), func(n string) bool {
			return slices.ContainsFunc(formats(n), func(t codec.Codec) bool { return m.bridges(c, t) })
		})
	}
	return slices.ContainsFunc(o.Theirs, func(t codec.Codec) bool { return isAudio(t) && m.bridges(c, t) })
}

// formats returns the formats with the encoding name as our offers describe them.
func formats(name string) []codec.Codec {
	var c codec.Codec
	switch {
	case strings.EqualFold(name, codec.Opus):
		c = codec.Codec{Name: codec.Opus, PT: ptOpus, ClockRate: 48000, Channels: 2, Fmtp: fmtpOpus}
	case strings.EqualFold(name, codec.PCMU):
		c, _ = codec.Static(0)
	case strings.EqualFold(name, codec.PCMA):
		c, _ = codec.Static(8)
	case strings.EqualFold(name, codec.G722):
		c, _ = codec.Static(9)
	case strings.EqualFold(name, codec.AMRWB):
		return formatsAMR(codec.Codec{Name: codec.AMRWB, PT: ptAMRWB, ClockRate: 16000, Channels: 1})
	case strings.EqualFold(name, codec.AMR):
		return formatsAMR(codec.Codec{Name: codec.AMR, PT: ptAMR, ClockRate: 8000, Channels: 1})
	default:
		return nil
	}
	return []codec.Codec{c}
}

// offerCodecs returns what an offer on side lists.
func (m *Media) offerCodecs(side Side) []codec.Codec {
	l, o := m.Line(side), m.Line(side.Other())
	list := m.order(side, m.candidates(side))
	var numbered []codec.Codec
	for _, c := range list {
		if c, ok := l.number(side, c, numbered); ok {
			numbered = append(numbered, c)
		}
	}
	if l.Theirs != nil {
		numbered = toFront(numbered, l.Chosen)
	}
	if o.Theirs == nil || m.keys(side) {
		numbered = append(numbered, m.offerEvents(side, numbered)...)
	}
	return m.offerNoise(side, numbered)
}

// keys reports whether telephone events of side's peer are of use: the other peer has them too, or, for a browser's, the MGW plays them to
// it as tones (ITU-T Q.23).
func (m *Media) keys(side Side) bool {
	o := m.Line(side.Other())
	if hasEvent(o.Theirs) || side == Core {
		return hasEvent(o.Theirs)
	}
	playable := func(c codec.Codec) bool { return isAudio(c) && listed(m.Policy.Transcode, c) }
	if !o.Chosen.IsZero() {
		return playable(o.Chosen)
	}
	return o.Theirs == nil || slices.ContainsFunc(o.Theirs, playable) // nothing known: an answer ahead of the other peer's
}

// number gives c, which is to be offered beside others, its payload type: the peer's for a format that it has, else the one that the
// format had before, else the usual one unless that stands for another format (RFC 3264 §8.3.2). A browser that has spoken is not
// offered formats that it has not.
func (l *Line) number(side Side, c codec.Codec, others []codec.Codec) (codec.Codec, bool) {
	if i := slices.IndexFunc(l.Theirs, c.SamePayload); i >= 0 {
		c.PT = l.Theirs[i].PT
		return c, !ptTaken(others, c.PT)
	}
	if side == Access && l.Theirs != nil {
		return c, false
	}
	if i := slices.IndexFunc(l.Bound, c.SamePayload); i >= 0 && !ptTaken(others, l.Bound[i].PT) {
		c.PT = l.Bound[i].PT
		return c, true
	}
	if !ptTaken(l.Bound, c.PT) && !ptTaken(others, c.PT) {
		return c, true
	}
	for pt := uint8(96); pt < 128; pt++ { // dynamic (RFC 3551 §6)
		if !ptTaken(l.Bound, pt) && !ptTaken(others, pt) {
			c.PT = pt
			return c, true
		}
	}
	return c, false
}

// bind remembers what payload types stand for.
func (l *Line) bind(cs []codec.Codec) {
	bound := slices.Clone(l.Bound)
	for _, c := range cs {
		if c.Name == "" {
			continue
		}
		c.Fmtp = packing(c)
		if i := slices.IndexFunc(bound, func(b codec.Codec) bool { return b.PT == c.PT }); i >= 0 {
			bound[i] = c
		} else {
			bound = append(bound, c)
		}
	}
	l.Bound = bound
}

// order sorts the candidates by preference.
//
//	relay   what both sides have first: the core's in the policy's order, the browser's in the core's
//	core    the core's in the policy's order; the browser's so that the core's first choice can be met: the same codec if it has
//	        that, else one to be transcoded
//	opus    the policy's order
func (m *Media) order(side Side, list []codec.Codec) []codec.Codec {
	o := m.Line(side.Other())
	if m.Policy.Prefer == PreferOpus || m.Policy.Prefer == PreferCore && side == Core || o.Theirs == nil && o.Chosen.IsZero() {
		return list
	}
	shared := func(c codec.Codec) int {
		if c.SamePayload(o.Chosen) {
			return -1
		}
		i := slices.IndexFunc(o.Theirs, c.SamePayload)
		switch {
		case i < 0 && m.Policy.Prefer == PreferCore:
			return firstForeign(o.Theirs, list)
		case i < 0:
			return len(o.Theirs)
		case side == Core: // the policy orders what the core gets
			return 0
		}
		return i // the browser gets them in the core's order
	}
	slices.SortStableFunc(list, func(a, b codec.Codec) int { return shared(a) - shared(b) })
	return list
}

// firstForeign is the place of the first audio codec that list has not.
func firstForeign(theirs, list []codec.Codec) int {
	i := slices.IndexFunc(theirs, func(c codec.Codec) bool { return isAudio(c) && !slices.ContainsFunc(list, c.SamePayload) })
	if i < 0 {
		return len(theirs)
	}
	return i
}

// offerEvents returns one telephone-event format per clock rate in list (RFC 4733 §2.1; TS 26.114 §5.2.1).
func (m *Media) offerEvents(side Side, list []codec.Codec) []codec.Codec {
	l := m.Line(side)
	var out []codec.Codec
	for _, c := range list {
		e := codec.Codec{Name: codec.TelephoneEvent, ClockRate: c.ClockRate, Channels: 1, Fmtp: fmtpEvent, PT: ptEventCore}
		switch {
		case side == Access && c.ClockRate == 48000:
			e.PT = ptEvent48k
		case side == Access:
			e.PT = ptEventWeb
		case c.ClockRate == 16000:
			e.PT = ptEvent16k
		}
		if slices.ContainsFunc(out, e.SamePayload) {
			continue
		}
		if e, ok := l.number(side, e, slices.Concat(list, out)); ok {
			out = append(out, e)
		}
	}
	if out == nil && l.Event.Name != "" { // the peer has events at another clock rate only
		e := l.Event
		e.Fmtp = fmtpEvent
		out = append(out, e)
	}
	return out
}

func ptTaken(cs []codec.Codec, pt uint8) bool {
	return slices.ContainsFunc(cs, func(c codec.Codec) bool { return c.PT == pt })
}

func toFront(list []codec.Codec, first codec.Codec) []codec.Codec {
	i := slices.IndexFunc(list, first.SamePayload)
	if first.IsZero() || i <= 0 {
		return list
	}
	c := list[i]
	return slices.Insert(slices.Delete(list, i, i+1), 0, c)
}

// choose picks the codec of an answer on side: what is in use stays; else what needs no transcoding (or Opus, by policy); else the
// first that can be joined, in the policy's order for a browser and in the offer's order for the core.
func (m *Media) choose(side Side) (codec.Codec, bool) {
	l, o := m.Line(side), m.Line(side.Other())
	pick := func(ok func(codec.Codec) bool) (codec.Codec, bool) {
		for _, c := range l.Theirs {
			if isAudio(c) && m.joins(c, side.Other()) && ok(c) {
				return c, true
			}
		}
		return codec.Codec{}, false
	}
	if c, ok := pick(func(c codec.Codec) bool { return c.SamePayload(l.Chosen) }); ok {
		return c, true
	}
	if side == Access && m.Policy.Prefer == PreferOpus {
		if c, ok := pick(func(c codec.Codec) bool { return c.Is(codec.Opus) }); ok {
			return c, true
		}
	}
	if c, ok := pick(func(c codec.Codec) bool { return c.SamePayload(o.Chosen) }); ok {
		return c, true
	}
	if side == Access {
		for _, n := range m.Policy.Access {
			if c, ok := pick(func(c codec.Codec) bool { return c.Is(n) }); ok {
				return c, true
			}
		}
	}
	return pick(func(codec.Codec) bool { return true })
}

// eventFor returns the telephone-event format that goes with an audio clock rate, or any other when there is none (RFC 4733 §2.1).
func eventFor(cs []codec.Codec, rate uint32) codec.Codec {
	var any codec.Codec
	for _, c := range cs {
		if !c.Is(codec.TelephoneEvent) {
			continue
		}
		if c.ClockRate == rate {
			return c
		}
		if any.IsZero() || c.ClockRate == 8000 {
			any = c
		}
	}
	return any
}
