package offeranswer

import (
	"slices"
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// liveLine reports whether a peer's line is offered: one of a browser that exists in the BUNDLE group only has port 0 (RFC 9143 §6).
func liveLine(side Side, md *sdp.Media) bool {
	return md.Type == "audio" && md.IsRTP() && (md.Port != 0 || side == Access && bundleOnly(md))
}

// takeMore takes the further audio lines of a peer's offer whose first stream has been taken, and adds to change what they change.
func (m *Media) takeMore(side Side, d *sdp.Description, change *Change) {
	for i := 1; i < m.Streams(); i++ {
		m.takeAgain(side, i, d, change)
	}
	for slot := range d.Media {
		if m.begins(side, d, slot) {
			m.begin(side, slot, d, change)
		}
	}
}

// takeAgain takes the line of a stream that there is.
func (m *Media) takeAgain(side Side, i int, d *sdp.Description, change *Change) {
	v := m.at(i)
	l := v.Line(side)
	if l.Audio < 0 {
		return
	}
	a := &d.Media[l.Audio]
	ch, err := Change{}, error(nil)
	ok := liveLine(side, a) && (side == Core && !l.Off || m.transportable(side, d, l.Audio)) // once agreed it is no alternative
	if ok {
		ch, err = v.takePeer(side, d, a, false)
	}
	repeated := l.Off && l.Since != 0 && l.Since == d.Origin.Version // what refused it has not been changed (RFC 4028 §7.4)
	if !ok || err != nil || repeated || !v.bridgeable(side) {
		v = m.at(i)
		l = v.Line(side)
		l.refuse()
		if !ok {
			l.Since = 0
		}
		m.put(v)
		return
	}
	l.Since = d.Origin.Version
	if l.Off { // it comes back: the other peer is asked again
		l.Off, l.Begun, l.Dir = false, true, sdp.DirUnset
		v.Line(side.Other()).askAgain()
	}
	l.Asked = directionOf(side, d, a)
	l.Want = wantAfterOffer(l.Want, l.Dir, l.Asked)
	change.NewKey = change.NewKey || ch.NewKey
	change.Moved = change.Moved || ch.Moved
	m.put(v)
}

// askAgain lets a line that was refused be offered once more.
func (s *Stream) askAgain() {
	if s.Audio >= 0 && s.Off {
		s.Off, s.Begun, s.Want, s.Dir = false, false, sdp.SendRecv, sdp.DirUnset
	}
}

// asks reports whether the line is such a one.
func (s *Stream) asks() bool { return s.Audio >= 0 && !s.Off && !s.Begun && s.Dir == sdp.DirUnset }

// begins reports whether the line of an offer is a further stream.
func (m *Media) begins(side Side, d *sdp.Description, slot int) bool {
	md, l, o := &d.Media[slot], m.Line(side), m.Line(side.Other())
	switch {
	case m.Policy.streams() == 1, l.hasLine(slot), !liveLine(side, md), !m.transportable(side, d, slot):
		return false
	case side == Core && o.Slots != nil && !o.Web.Bundle: // the browser could have it with a transport of its own only
		return false
	case m.Line(Core).Pre.InUse(), side == Access && o.Said == nil && m.Policy.Preconditions == PreconditionsFull: // of one stream only
		return false
	}
	return m.spare(side) < m.Policy.streams()
}

// transportable reports whether a further stream can have the line beside the first: a browser's in the same BUNDLE group; one of the core with the same
// protocol and no alternative of another line. SRTP and RTP in two lines (RFC 8643 §3.1), or AVP and AVPF, are one stream in two ways.
func (m *Media) transportable(side Side, d *sdp.Description, slot int) bool {
	md, l := &d.Media[slot], m.Line(side)
	if !m.usableLine(side, md) {
		return false
	}
	if side == Access {
		return l.Web.Bundle && !l.Web.Component2 && md.MID != "" && slices.Contains(d.Bundle(), md.MID) && !l.shadowed(d, slot)
	}
	first := &d.Media[l.Audio]
	if c := m.carrier(side, d); c != nil {
		first = c
	}
	if md.Proto != first.Proto {
		return false
	}
	return !slices.ContainsFunc(d.Groups, func(g sdp.Group) bool {
		alternatives := strings.EqualFold(g.Semantics, "ANAT") || strings.EqualFold(g.Semantics, "FID") // RFC 4091 §3, RFC 5888 §8
		first := slices.IndexFunc(d.Media, func(o sdp.Media) bool { return o.MID != "" && slices.Contains(g.MIDs, o.MID) })
		return alternatives && md.MID != "" && slices.Contains(g.MIDs, md.MID) && first != slot
	})
}

// shadowed reports whether a browser's line has the name of the first stream's line or of one before it, which must not be (RFC 5888 §4).
func (l *Line) shadowed(d *sdp.Description, slot int) bool {
	for i := range d.Media {
		o := &d.Media[i]
		if (i < slot || i == l.Audio) && i != slot && o.MID == d.Media[slot].MID && (o.Port != 0 || bundleOnly(o)) {
			return true
		}
	}
	return false
}

// spare is the place for a further stream that an offer of side begins: of one that has no line any more, else behind the others, else of one whose line is off in
// this offer: lines that a peer never uses again (RFC 3264 §8.2) do not count. The other side's line goes on with the new one then.
func (m *Media) spare(side Side) int {
	n, dead := m.Streams(), 0
	for i := 1; i < n; i++ {
		own, other := m.Line(side).streamAt(i), m.Line(side.Other()).streamAt(i)
		if own.Audio < 0 && !other.Begun {
			return i
		}
		if own.Audio >= 0 && own.Off {
			dead = i
		}
	}
	if n >= m.Policy.streams() && dead > 0 {
		return dead
	}
	return n
}

// begin takes a line of an offer as a further stream, if it can be had.
func (m *Media) begin(side Side, slot int, d *sdp.Description, change *Change) {
	v := m.at(m.spare(side))
	l := v.Line(side)
	l.Slots = slices.Clone(l.Slots)
	if l.Audio >= 0 {
		l.Slots[l.Audio].Bound = l.Bound
	}
	l.Stream = l.another(slot)
	l.Bound, l.Begun, l.Since = l.Slots[slot].Bound, true, d.Origin.Version
	if side == Access && l.Bound == nil {
		l.Bound = m.Line(side).Bound // a payload type is the same in all lines of a group (RFC 9143 §10.1.2)
	}
	ch, err := v.takePeer(side, d, &d.Media[slot], false)
	if err != nil || !v.bridgeable(side) {
		return
	}
	change.NewKey = change.NewKey || ch.NewKey && v.made() // in the place of another, whose key the media gateway has
	l.Asked = directionOf(side, d, &d.Media[slot])
	l.Want = wantAfterOffer(l.Want, l.Dir, l.Asked)
	v.Line(side.Other()).askAgain()
	m.put(v)
}

// offerMore adds to our offer on side what it says of a further stream: nothing of one that is off.
func (m *Media) offerMore(side Side, i int, dir sdp.Direction) {
	v := m.at(i)
	l, o := v.Line(side), v.Line(side.Other())
	if l.Off || l.Audio < 0 && (!o.Begun || o.Off || !v.made()) {
		return
	}
	if l.asks() && l.Slots[l.Audio].Type != "audio" { // the peer has used the line for something else meanwhile
		l.Audio = -1
	}
	if side == Access && l.Bound == nil {
		l.Bound = m.Line(side).Bound // a payload type is the same in all lines of a group (RFC 9143 §10.1.2)
	}
	if ours := v.offerCodecs(side); len(ours) > 0 && isAudio(ours[0]) {
		l.Ours = ours
	}
	if len(l.Ours) == 0 || l.Audio < 0 && !m.newLine(l, side) {
		if l.asks() { // nothing to offer in a line that is off: it stays so
			l.refuse()
			m.put(v)
		}
		return
	}
	if was := m.Line(side).streamAt(i); was.asks() && was.Audio == l.Audio { // the line is used anew, whatever it was refused as
		l.Slots = slices.Clone(l.Slots)
		if l.Slots[l.Audio].Proto = l.Slots[m.Line(side).Audio].Proto; side == Access { // for another transceiver (RFC 9429 §5.2.2)
			l.Slots[l.Audio].MID = l.freshMID()
		}
	}
	l.bind(l.Ours)
	if l.Told, l.Actual = v.tell(side), ""; dir != sdp.DirUnset {
		l.Told = v.Able(side)
	}
	v.sayXR(side, false)
	if side == Core {
		v.offerKeys(l)
	}
	m.put(v)
}

// another is the stream with another line in the place of what it had: of that only what the media gateway has made is left.
func (s *Stream) another(slot int) Stream {
	return Stream{Audio: slot, Local: s.Local, LocalRTCP: s.LocalRTCP, SSRC: s.SSRC, CName: s.CName, Crypto: Crypto{Keys: s.Crypto.Keys}}
}

// newLine gives the stream of l a line in our offer on side; false: the browser does not bundle, or has as many lines as there may be.
func (m *Media) newLine(l *Line, side Side) bool {
	if side == Access && !l.Web.Bundle || len(l.Slots) >= MaxLines {
		return false
	}
	s := Slot{Type: "audio", Proto: l.Slots[m.Line(side).Audio].Proto, Formats: payloadTypes(l.Ours)}
	if side == Access {
		s.MID = l.freshMID()
	}
	l.Slots = append(slices.Clone(l.Slots), s)
	l.Audio = len(l.Slots) - 1
	return true
}

// payloadTypes are the formats of a line, to repeat when it is rejected.
func payloadTypes(cs []codec.Codec) (out []string) {
	for _, c := range cs {
		out = append(out, strconv.Itoa(int(c.PT)))
	}
	return out
}

// freshMID is a name for a line that no other has.
func (l *Line) freshMID() string {
	for n := len(l.Slots); ; n++ {
		mid := strconv.Itoa(n)
		if !slices.ContainsFunc(l.Slots, func(o Slot) bool { return o.MID == mid }) {
			return mid
		}
	}
}

// answerMore adds to our answer on side what it says of a further stream.
func (m *Media) answerMore(side Side, i int) {
	v := m.at(i)
	l, o := v.Line(side), v.Line(side.Other())
	if l.Audio < 0 {
		return
	}
	established := l.Dir != sdp.DirUnset
	if l.Off || !v.made() || o.IsOff() && !established || !v.answerStream(side) {
		v = m.at(i)
		v.Line(side).refuse()
	}
	m.put(v)
}

// prune forgets the streams that the media gateway was never asked for: their lines are refused.
func (m *Media) prune() {
	for n := m.Streams() - 1; n > 0; n-- {
		if v := m.at(n); v.made() {
			return
		}
		for side := range m.Lines {
			if l := &m.Lines[side]; len(l.More) == n {
				l.More = l.More[: n-1 : n-1]
			}
		}
	}
}

// takeMoreAnswers takes what the peer's answer says of the further streams.
func (m *Media) takeMoreAnswers(side Side, d *sdp.Description) {
	for i := 1; i < m.Streams(); i++ {
		v := m.at(i)
		l := v.Line(side)
		if l.Audio < 0 {
			continue
		}
		a := &d.Media[l.Audio]
		told := l.Told
		switch {
		case l.Off, a.Port == 0:
			l.refuse()
		case a.Proto != l.Slots[l.Audio].Proto || !m.bundled(side, d, a) || v.takeAnswer(side, d, a) != nil:
			v = m.at(i)
			v.Line(side).refuse()
			v.Line(side).Dir = told.And(directionOf(side, d, a).Reverse()) // it believes in it, and has to be told (Stale)
		}
		m.put(v)
	}
}

// bundled reports whether the line has the transport of the first one, as a browser's must.
func (m *Media) bundled(side Side, d *sdp.Description, a *sdp.Media) bool {
	return side == Core || m.Line(side).Web.Bundle && slices.Contains(d.Bundle(), a.MID)
}

// stale reports whether side has to get an offer for the stream that m is the call alone with.
func (m *Media) stale(side Side) bool {
	l, o := m.Line(side), m.Line(side.Other())
	if l.Audio < 0 {
		return l.Slots != nil && len(l.Slots) < MaxLines && o.Begun && !o.Off && (side == Core || l.Web.Bundle)
	}
	if l.asks() {
		return o.Begun && !o.Off
	}
	return l.Dir != sdp.DirUnset && m.tell(side) != l.Dir
}
