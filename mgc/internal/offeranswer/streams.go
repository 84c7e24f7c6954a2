package offeranswer

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// A call has one audio stream or several, each an m= line on either side (TS 29.334 §5.7.2). A further one is planned like a call of its own: at gives
// the call as if it had that stream alone, and put takes back what has become of it. Of the browser's side they have one transport (BUNDLE, RFC 9143), of the
// core's a pair of ports and SRTP keys each. The first stream decides about the call; a further one that cannot be had is refused.
//
// A stream begins with a line of one peer's offer (Begun); the media gateway makes it on both sides (New, or the Adds); the other peer is offered a line for
// it, and what that one makes of it is the answer. A line that is refused or given up by its peer is Off; the other side's line is inactive then, until the
// line comes back with an offer of the same peer.

const (
	MaxStreams = 8  // most audio streams of a call
	MaxLines   = 32 // most m= lines of a description, of any media, those at port 0 included: they stay until the call ends (RFC 3264 §8)
)

// streams is the most that the policy allows.
func (p Policy) streams() int { return min(max(p.Streams, 1), MaxStreams) }

// Streams is the number of streams that the call has, or had.
func (m *Media) Streams() int {
	return 1 + max(len(m.Lines[Access].More), len(m.Lines[Core].More))
}

// Still is the call with no more streams than before: what side's offer brings back stays refused, as the other peer does not hear of it.
func (m Media) Still(side Side, before Media) Media {
	l := m.Line(side)
	for i := 1; i < before.Streams(); i++ {
		was, is := before.Lines[side].streamAt(i), l.streamAt(i)
		if was.Off && !is.IsOff() {
			is.refuse()
			l.setStream(i, is)
			m.Line(side.Other()).setStream(i, before.Lines[side.Other()].streamAt(i))
		}
	}
	return m
}

// Single is the call without its further streams: their lines are refused.
func (m Media) Single() Media {
	for side := range m.Lines {
		m.Lines[side].More = nil
	}
	return m
}

// streamAt is stream i of a side; 0 is the first.
func (l *Line) streamAt(i int) Stream {
	switch {
	case i == 0:
		return l.Stream
	case i <= len(l.More):
		return l.More[i-1]
	}
	return Stream{Audio: -1}
}

// Only is the side with its stream i alone; 0 is the first.
func (l *Line) Only(i int) Line {
	out := *l
	out.Stream, out.More = l.streamAt(i), nil
	if !out.Local.IsValid() {
		out.Local = l.Local // of a browser's side, where all have one
	}
	return out
}

// setStream stores stream i of a side.
func (l *Line) setStream(i int, s Stream) {
	if i == 0 {
		l.Stream = s
		return
	}
	more := slices.Clone(l.More)
	for len(more) < i {
		more = append(more, Stream{Audio: -1})
	}
	more[i-1] = s
	l.More = more
}

// at is the call as its stream i alone.
func (m *Media) at(i int) Media {
	v := *m
	v.stream = i
	for side := range v.Lines {
		l := &v.Lines[side]
		local := l.Local
		if l.Stream = l.streamAt(i); Side(side) == Access {
			l.Local = local
		}
	}
	return v
}

// put stores what has become of the stream that v is the call alone with.
func (m *Media) put(v Media) {
	for side := range m.Lines {
		m.Lines[side].setStream(v.stream, v.Lines[side].Stream)
		m.Lines[side].Slots = v.Lines[side].Slots
	}
}

// made reports whether the media gateway has the stream that m is the call alone with.
func (m *Media) made() bool { return m.stream == 0 || m.Line(Core).Local.IsValid() }

// IsOff reports whether the stream has no line on the side, or one that is off.
func (s *Stream) IsOff() bool { return s.Audio < 0 || s.Off }

// refuse puts a stream's line off.
func (s *Stream) refuse() {
	s.Off, s.Want, s.Asked, s.Told, s.Dir = true, sdp.Inactive, sdp.Inactive, sdp.Inactive, sdp.DirUnset
	s.Crypto.Peer = Key{}
}

// Lead is the stream, from 0, to which belongs on side what a call has of one stream only, digits and what is played: the first that
// lives on both sides, else on that side; -1: it has none.
func (m *Media) Lead(side Side) int {
	own := -1
	for i := range m.Streams() {
		s, o := m.Line(side).streamAt(i), m.Line(side.Other()).streamAt(i)
		switch {
		case s.IsOff():
		case !o.IsOff():
			return i
		case own < 0:
			own = i
		}
	}
	return own
}

// Agreed reports whether a codec of one of the side's streams is agreed.
func (l *Line) Agreed() bool {
	return !l.Chosen.IsZero() || slices.ContainsFunc(l.More, func(s Stream) bool { return !s.IsOff() && !s.Chosen.IsZero() })
}

// several reports whether the side has lines of more than one stream.
func (l *Line) several() bool {
	return slices.ContainsFunc(l.More, func(s Stream) bool { return !s.IsOff() })
}

// live are the streams whose lines the side's description has, by slot.
func (l *Line) live() map[int]*Stream {
	out := map[int]*Stream{}
	if !l.Off {
		out[l.Audio] = &l.Stream
	}
	for i := range l.More {
		if s := &l.More[i]; !s.IsOff() {
			out[s.Audio] = s
		}
	}
	return out
}

// hasLine reports whether the slot is a stream's.
func (l *Line) hasLine(slot int) bool {
	return slot == l.Audio || slices.ContainsFunc(l.More, func(s Stream) bool { return s.Audio == slot })
}

// Uses reports whether the slot is the line of a stream that is not off.
func (l *Line) Uses(slot int) bool { return l.live()[slot] != nil }

// revertMore undoes the further streams of a side. What the media gateway has made stays for a stream to come: it is there until the call ends.
func (l *Line) revertMore(is *Line) {
	for i := range is.More {
		was, now := l.streamAt(i+1), &is.More[i]
		if was.Audio < 0 || was.Audio == now.Audio {
			was.Bound = now.Bound
		}
		was.Crypto.Keys = now.Crypto.Keys
		was.Local, was.LocalRTCP, was.SSRC, was.CName = now.Local, now.LocalRTCP, now.SSRC, now.CName
		l.setStream(i+1, was)
	}
}

// midOf is the id of the header extension with the MID that a peer's line has, 0: none (RFC 9143 §15, RFC 8285), or one that does not fit in it.
func midOf(d *sdp.Description, a *sdp.Media) uint8 {
	if len(a.MID) > maxMID {
		return 0
	}
	for _, list := range [][]sdp.Extmap{a.Extmaps, d.Extmaps} {
		for _, e := range list {
			if e.URI == midURI && e.ID >= 1 && e.ID <= 14 {
				return uint8(e.ID)
			}
		}
	}
	return 0
}

const (
	midURI = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ownMID = 4 // id in our offers, as browsers have it

	maxMID = 16 // octets of an element with a header of one (RFC 8285 §4.2)
)

// ssrcOf is the source that a peer's line tells, 0: none (RFC 5576 §4.1).
func ssrcOf(a *sdp.Media) uint32 {
	if len(a.SSRCs) == 0 {
		return 0
	}
	return a.SSRCs[0].ID
}
