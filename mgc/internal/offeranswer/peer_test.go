package offeranswer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// peer is a user of RFC 3264 whose next step is picked at random; what it hears is checked against the RFC. A browser and a phone are
// built on it. It knows nothing of the planner.
type peer struct {
	r    *rand.Rand
	side Side

	sends, receives bool             // what its user wants now
	can             []codec.Codec    // what it can do now, in order, with its payload types; by the policy usable or not
	bound           [128]codec.Codec // what each payload type ever stood for in this dialog
	id, version     uint64
	said            *sdp.Description // its last description
	lines           []line
	audio           int

	heardRaw  []byte // the last description from the other end
	heard     *sdp.Description
	heardID   uint64
	took      *sdp.Media    // the other end's audio as negotiated last
	codecsNow []codec.Codec // what it receives by its last accepted description

	backup *peer // as it was before the offer that is out
}

// line is one of its m= lines.
type line struct {
	kind, mid string
	dead      bool // port 0: rejected, stopped or never wanted
	formats   []string
}

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func format(c codec.Codec) string {
	return strings.ToLower(c.Name) + fmt.Sprintf("/%d/%d", c.ClockRate, c.ChannelCount())
}

// bind notes what payload types stand for; one must never stand for two formats (RFC 3264 §8.3.2).
func (p *peer) bind(cs []codec.Codec) error {
	for _, c := range cs {
		if was := p.bound[c.PT]; !was.IsZero() && !was.SameFormat(c) {
			return fmt.Errorf("payload type %d was %s and becomes %s (RFC 3264 §8.3.2)", c.PT, format(was), format(c))
		}
		p.bound[c.PT] = c
	}
	return nil
}

// freePT returns a dynamic payload type that stands for nothing yet, or for c.
func (p *peer) freePT(c codec.Codec, want ...uint8) (uint8, bool) {
	for _, pt := range want {
		if p.bound[pt].IsZero() || p.bound[pt].SameFormat(c) {
			return pt, true
		}
	}
	for pt := uint8(96); pt < 128; pt++ {
		if p.bound[pt].IsZero() {
			return pt, true
		}
	}
	return 0, false
}

// changeWish lets the user hold or resume.
func (p *peer) changeWish() {
	switch p.r.IntN(8) {
	case 0: // hold
		p.sends, p.receives = true, false
	case 1: // inactive
		p.sends, p.receives = false, false
	case 2: // listen only
		p.sends, p.receives = false, true
	case 3, 4:
	default:
		p.sends, p.receives = true, true
	}
}

// origin is its o= line; the version grows by one with each description.
func (p *peer) origin(d *sdp.Description) {
	p.version++
	d.Origin = sdp.Origin{Username: "-", ID: p.id, Version: p.version, Addr: sdp.Address{Host: "127.0.0.1"}}
	p.said = d
}

// hear checks what holds for every description from the other end: o= (RFC 3264 §5, §8) and payload types.
func (p *peer) hear(raw []byte) (*sdp.Description, error) {
	d, err := sdp.Parse(raw)
	if err != nil {
		return nil, err
	}
	if p.heardRaw == nil {
		p.heardID = d.Origin.ID
	} else {
		same := bytes.Equal(raw, p.heardRaw)
		want := p.heard.Origin.Version
		if !same {
			want++
		}
		if d.Origin.Version != want || d.Origin.ID != p.heardID {
			return nil, fmt.Errorf("o= %d %d, was %d %d, same text: %v (RFC 3264 §8)", d.Origin.ID, d.Origin.Version, p.heardID, p.heard.Origin.Version, same)
		}
	}
	p.heardRaw, p.heard = raw, d
	if p.audio >= len(d.Media) {
		return nil, fmt.Errorf("%d media lines", len(d.Media))
	}
	return d, p.bind(d.Media[p.audio].Codecs)
}

// sameLines checks that the m= lines are ours, in order and with their mids (RFC 3264 §6, §8; RFC 9429 §5.3.1).
func (p *peer) sameLines(d *sdp.Description) error {
	if len(d.Media) != len(p.lines) {
		return fmt.Errorf("%d media lines, there are %d", len(d.Media), len(p.lines))
	}
	for i, l := range p.lines {
		m := &d.Media[i]
		if m.Type != l.kind || m.MID != l.mid && p.side == Access || m.MID != "" && p.side == Core {
			return fmt.Errorf("line %d is %s mid %q, was %s mid %q", i, m.Type, m.MID, l.kind, l.mid)
		}
		if i != p.audio && (m.Port != 0 || !slices.Equal(m.Formats, l.formats)) {
			return fmt.Errorf("line %d (%s) has port %d and formats %v, want 0 and %v", i, l.kind, m.Port, m.Formats, l.formats)
		}
		if i == p.audio && m.Port == 0 {
			return fmt.Errorf("audio is rejected")
		}
	}
	return nil
}

// subset checks that the answer's audio holds only what was offered, under its payload types (RFC 3264 §6.1), and one audio codec that
// is a codec and not only events.
func (p *peer) subset(answer, offer *sdp.Media) error {
	if answer.Proto != offer.Proto {
		return fmt.Errorf("protocol %s, offered %s", answer.Proto, offer.Proto)
	}
	audio := 0
	for _, c := range answer.Codecs {
		if !slices.ContainsFunc(offer.Codecs, func(o codec.Codec) bool { return o.PT == c.PT && o.SameFormat(c) }) {
			return fmt.Errorf("%d %s was not offered", c.PT, format(c))
		}
		if !c.Is(codec.TelephoneEvent) {
			audio++
		}
	}
	if audio != 1 {
		return fmt.Errorf("%d audio codecs in the answer", audio)
	}
	return nil
}

// answerDirection picks the direction of an answer: within the offer, and where the offer leaves it open as the user wants.
func (p *peer) answerDirection(offered sdp.Direction) sdp.Direction {
	if chance(p.r, 10) { // a change of mind, of which only what the offer leaves open can be told
		s, r := p.sends, p.receives
		p.changeWish()
		if !offered.Receives() {
			p.sends = s
		}
		if !offered.Sends() {
			p.receives = r
		}
	}
	return sdp.Dir(p.sends && offered.Receives(), p.receives && offered.Sends())
}

// keep saves the peer before an offer, from either end.
func (p *peer) keep() {
	b := *p
	b.lines, b.can, b.codecsNow = slices.Clone(p.lines), slices.Clone(p.can), slices.Clone(p.codecsNow)
	p.backup = &b
}

// restore undoes a failed offer (RFC 3264 §8). Versions and payload types that were seen stay used.
func (p *peer) restore() {
	b := *p.backup
	b.version, b.said, b.bound, b.r = p.version, p.said, p.bound, p.r
	b.heardRaw, b.heard, b.heardID = p.heardRaw, p.heard, p.heardID
	*p = b
}

// forget lets go of the payload types of an offer that was refused outright: it never held.
func (p *peer) forget() { p.bound = p.backup.bound }

// firstOf returns the audio codec, or the event format, that stands first in cs.
func firstOf(cs []codec.Codec, event bool) codec.Codec {
	i := slices.IndexFunc(cs, func(c codec.Codec) bool { return c.Is(codec.TelephoneEvent) == event })
	if i < 0 {
		return codec.Codec{}
	}
	return cs[i]
}

// shuffled returns some of the menu, at least one, in a random order but mostly in the given one.
func shuffled(r *rand.Rand, menu []codec.Codec) []codec.Codec {
	var out []codec.Codec
	for _, c := range menu {
		if chance(r, 70) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		out = append(out, pick(r, menu...))
	}
	if chance(r, 30) {
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// usableBy reports whether one of cs is a codec that the policy allows; written down anew, not taken from the planner.
func usableBy(cs []codec.Codec, names []string) bool {
	return slices.ContainsFunc(cs, func(c codec.Codec) bool {
		ok := c.Is("opus") && c.ClockRate == 48000 && c.ChannelCount() == 2 ||
			(c.Is("PCMA") || c.Is("PCMU") || c.Is("G722")) && c.ClockRate == 8000 && c.ChannelCount() == 1
		return ok && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, c.Name) })
	})
}
