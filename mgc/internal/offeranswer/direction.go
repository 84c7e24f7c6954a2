package offeranswer

import "github.com/isthmus-gateway/isthmus/pkg/sdp"

// Hold is kept as what each peer wants, because what a peer says in an answer is also bounded by the offer: a browser that was
// put on hold answers recvonly, but it does not hold anybody itself (RFC 3264 §8.4, TS 24.610 §4.5.2).

// directionOf returns the direction that a description means, from the peer's point of view. A core peer that receives at
// 0.0.0.0 wants nothing sent (RFC 3264 §8.4); in a browser's description that address only says that candidates rule (RFC 9429 §5.2.1).
func directionOf(side Side, d *sdp.Description, a *sdp.Media) sdp.Direction {
	dir := d.DirectionOf(a)
	if side == Core && d.ConnectionOf(a).IP.IsUnspecified() {
		dir = dir.And(sdp.SendOnly)
	}
	return dir
}

// tell returns what we have to say on side, from our point of view, given what both peers want.
func (m *Media) tell(side Side) sdp.Direction {
	own := sdp.SendRecv // of one that is to get a line
	if l := m.Line(side); l.Audio >= 0 {
		own = want(l)
	}
	return want(m.Line(side.Other())).And(own.Reverse())
}

// want is what the peer wants; everything as long as it has not spoken.
func want(l *Line) sdp.Direction {
	switch {
	case l.IsOff():
		return sdp.Inactive
	case l.Want == sdp.DirUnset:
		return sdp.SendRecv
	}
	return l.Want
}

// wantAfterAnswer updates what a peer wants by its answer: only a direction that was offered to it tells anything.
func wantAfterAnswer(old, offered, answer sdp.Direction) sdp.Direction {
	if old == sdp.DirUnset {
		old = sdp.SendRecv
	}
	sends, receives := old.Sends(), old.Receives()
	if offered.Receives() {
		sends = answer.Sends()
	}
	if offered.Sends() {
		receives = answer.Receives()
	}
	return sdp.Dir(sends, receives)
}

// wantAfterOffer is that of an offer: a way that was not open tells nothing where it stays shut, as a client that is held and restarts ICE offers recvonly.
// Once it opens for the other peer, this one is asked.
func wantAfterOffer(old, agreed, offer sdp.Direction) sdp.Direction {
	if agreed == sdp.DirUnset {
		return offer
	}
	if old == sdp.DirUnset {
		old = sdp.SendRecv
	}
	sends, receives := offer.Sends(), offer.Receives()
	if !agreed.Receives() {
		sends = sends || old.Sends()
	}
	if !agreed.Sends() {
		receives = receives || old.Receives()
	}
	return sdp.Dir(sends, receives)
}

// Able returns the direction for an offer that nobody asked with one: all that the other peer wants (RFC 6337 §5.2).
func (m *Media) Able(side Side) sdp.Direction { return want(m.Line(side.Other())) }
