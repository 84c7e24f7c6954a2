// Package peertest has legal peers of RFC 3264 for tests: a browser (RFC 9429) and a SIP phone whose next step is picked at random, and
// which check everything that they are told. They know nothing of the planner. Floor 1 of mgc, for tests only; no goroutine.
package peertest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Peer is what a browser and a phone have in common.
type Peer struct {
	r       *rand.Rand
	browser bool

	Sends, Receives bool             // what its user wants now
	Can             []codec.Codec    // what it can do now, in order, with its payload types; by the policy usable or not
	bound           [128]codec.Codec // what each payload type ever stood for in this dialog
	id, version     uint64
	said            *sdp.Description // its last description
	Lines           []Line
	Audio           int
	tagged          int // 1 + the line that carries the BUNDLE transport, by its last offer, when that is no audio; 0: none

	heardRaw []byte // the last description from the other end
	heard    *sdp.Description
	heardID  uint64
	Took     *sdp.Media    // the other end's audio as negotiated last
	Codecs   []codec.Codec // what it receives by its last accepted description

	backup *Peer // as it was before the offer that is out
}

// Line is one of its m= lines.
type Line struct {
	Kind, MID string
	Dead      bool // port 0: rejected, stopped or never wanted
	Formats   []string
}

// Chance is true in percent of the cases.
func Chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// Pick returns one of list.
func Pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func format(c codec.Codec) string {
	return strings.ToLower(c.Name) + fmt.Sprintf("/%d/%d", c.ClockRate, c.ChannelCount())
}

// bind notes what payload types stand for; one must never stand for two formats (RFC 3264 §8.3.2).
func (p *Peer) bind(cs []codec.Codec) error {
	for _, c := range cs {
		if was := p.bound[c.PT]; !was.IsZero() && !was.SamePayload(c) {
			return fmt.Errorf("payload type %d was %s and becomes %s (RFC 3264 §8.3.2)", c.PT, format(was), format(c))
		}
		p.bound[c.PT] = c
	}
	return nil
}

// freePT returns a dynamic payload type that stands for nothing yet, or for c.
func (p *Peer) freePT(c codec.Codec, want ...uint8) (uint8, bool) {
	for _, pt := range want {
		if p.bound[pt].IsZero() || p.bound[pt].SamePayload(c) {
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

// Has reports whether it ever said a format of the name.
func (p *Peer) Has(name string) bool {
	return slices.ContainsFunc(p.bound[:], func(c codec.Codec) bool { return c.Is(name) })
}

// changeWish lets the user hold or resume.
func (p *Peer) changeWish() {
	switch p.r.IntN(8) {
	case 0: // hold
		p.Sends, p.Receives = true, false
	case 1: // inactive
		p.Sends, p.Receives = false, false
	case 2: // listen only
		p.Sends, p.Receives = false, true
	case 3, 4:
	default:
		p.Sends, p.Receives = true, true
	}
}

// origin is its o= line; the version grows by one with each description.
func (p *Peer) origin(d *sdp.Description) {
	p.version++
	d.Origin = sdp.Origin{Username: "-", ID: p.id, Version: p.version, Addr: sdp.Address{Host: "127.0.0.1"}}
	p.said = d
}

// hear checks what holds for every description from the other end: o= (RFC 3264 §5, §8) and payload types.
func (p *Peer) hear(raw []byte) (*sdp.Description, error) {
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
	if p.Audio >= len(d.Media) {
		return nil, fmt.Errorf("%d media lines", len(d.Media))
	}
	return d, p.bind(d.Media[p.Audio].Codecs)
}

// Overhear notes an offer that the peer refuses unread: its version and payload types have been seen.
func (p *Peer) Overhear(raw []byte) error {
	_, err := p.hear(raw)
	return err
}

// sameLines checks that the m= lines are ours, in order and with their mids (RFC 3264 §6, §8; RFC 9429 §5.3.1).
func (p *Peer) sameLines(d *sdp.Description) error {
	if len(d.Media) != len(p.Lines) {
		return fmt.Errorf("%d media lines, there are %d", len(d.Media), len(p.Lines))
	}
	for i, l := range p.Lines {
		m := &d.Media[i]
		if m.Type != l.Kind || m.MID != l.MID && p.browser || m.MID != "" && !p.browser {
			return fmt.Errorf("line %d is %s mid %q, was %s mid %q", i, m.Type, m.MID, l.Kind, l.MID)
		}
		if i+1 == p.tagged { // must not be rejected (RFC 9143 §7.3.3)
			if m.Port == 0 || m.Direction != sdp.Inactive || len(m.Codecs) != 1 || m.Formats[0] != l.Formats[0] {
				return fmt.Errorf("the line that carries the transport, %d, has port %d, %s, formats %v", i, m.Port, m.Direction, m.Formats)
			}
			continue
		}
		if i != p.Audio && (m.Port != 0 || !slices.Equal(m.Formats, l.Formats)) {
			return fmt.Errorf("line %d (%s) has port %d and formats %v, want 0 and %v", i, l.Kind, m.Port, m.Formats, l.Formats)
		}
		if i == p.Audio && m.Port == 0 {
			return fmt.Errorf("audio is rejected")
		}
	}
	return nil
}

// subset checks that the answer's audio holds only what was offered, under its payload types (RFC 3264 §6.1), and one audio codec that
// is a codec and not only events.
func (p *Peer) subset(answer, offer *sdp.Media) error {
	if answer.Proto != offer.Proto {
		return fmt.Errorf("protocol %s, offered %s", answer.Proto, offer.Proto)
	}
	audio := 0
	for _, c := range answer.Codecs {
		if !slices.ContainsFunc(offer.Codecs, func(o codec.Codec) bool { return o.PT == c.PT && o.SamePayload(c) }) {
			return fmt.Errorf("%d %s was not offered", c.PT, format(c))
		}
		if !c.Is(codec.TelephoneEvent) && !c.Is(codec.ComfortNoise) {
			audio++
		}
	}
	if audio != 1 {
		return fmt.Errorf("%d audio codecs in the answer", audio)
	}
	return nil
}

// answerDirection picks the direction of an answer: within the offer, and where the offer leaves it open as the user wants.
func (p *Peer) answerDirection(offered sdp.Direction) sdp.Direction {
	if Chance(p.r, 10) { // a change of mind, of which only what the offer leaves open can be told
		s, r := p.Sends, p.Receives
		p.changeWish()
		if !offered.Receives() {
			p.Sends = s
		}
		if !offered.Sends() {
			p.Receives = r
		}
	}
	return sdp.Dir(p.Sends && offered.Receives(), p.Receives && offered.Sends())
}

// Keep saves the peer before an offer, from either end.
func (p *Peer) Keep() {
	b := *p
	b.Lines, b.Can, b.Codecs = slices.Clone(p.Lines), slices.Clone(p.Can), slices.Clone(p.Codecs)
	p.backup = &b
}

// Restore undoes a failed offer (RFC 3264 §8). Versions and payload types that were seen stay used.
func (p *Peer) Restore() {
	b := *p.backup
	b.version, b.said, b.bound, b.r = p.version, p.said, p.bound, p.r
	b.heardRaw, b.heard, b.heardID = p.heardRaw, p.heard, p.heardID
	*p = b
}

// Forget lets go of the payload types of an offer that was refused outright: it never held.
func (p *Peer) Forget() { p.bound = p.backup.bound }

// First returns the audio codec, or the event format, that stands first in cs.
func First(cs []codec.Codec, event bool) codec.Codec {
	i := slices.IndexFunc(cs, func(c codec.Codec) bool {
		return c.Is(codec.TelephoneEvent) == event && !c.Is(codec.ComfortNoise)
	})
	if i < 0 {
		return codec.Codec{}
	}
	return cs[i]
}

// Some returns some of the menu, at least one, in a random order but mostly in the given one.
func Some(r *rand.Rand, menu []codec.Codec) []codec.Codec {
	var out []codec.Codec
	for _, c := range menu {
		if Chance(r, 70) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		out = append(out, Pick(r, menu...))
	}
	if Chance(r, 30) {
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// usableBy reports whether one of cs is a codec that the policy allows; written down anew, not taken from the planner.
func usableBy(cs []codec.Codec, names []string) bool {
	return slices.ContainsFunc(cs, func(c codec.Codec) bool {
		ok := c.Is("opus") && c.ClockRate == 48000 && c.ChannelCount() == 2 ||
			(c.Is("PCMA") || c.Is("PCMU") || c.Is("G722") || c.Is("AMR")) && c.ClockRate == 8000 && c.ChannelCount() == 1 ||
			c.Is("AMR-WB") && c.ClockRate == 16000 && c.ChannelCount() == 1
		return ok && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, c.Name) })
	})
}
