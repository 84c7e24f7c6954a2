package callcore

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// maxForks bounds the early dialogs that are kept of a callee; what comes from a further one is not acted on.
const maxForks = 32

// Each To tag in a response to our INVITE names a dialog of its own (RFC 3261 §12.1.2): the callee's leg works with one of them at
// a time, the others are parked. Likewise Media holds the line of the fork that is heard. The caller notices nothing: its
// description is made once and stays (standards MO-14).
type forks struct {
	Parked map[string]leg              `json:"parked,omitempty"` // by To tag, without the one in use
	Blank  *leg                        `json:"blank,omitempty"`  // as the INVITE left it: what a new fork begins with
	Heard  string                      `json:"heard,omitempty"`  // To tag of the fork whose line is in Media
	Lines  map[string]offeranswer.Line `json:"lines,omitempty"`  // of the others; "" is the line as the INVITE left it
	Seqs   map[string]uint32           `json:"seqs,omitempty"`   // once the callee has answered: CSeq of our last request to each other fork
}

// turn makes the callee's leg work with the dialog of a provisional response and opens it when it is new. False: there are too
// many.
func (s *State) turn(l Leg, m *headers.Msg) bool {
	g := &s.d.Legs[l]
	tag := headers.ToTag(m)
	if tag == "" || g.Up || s.d.Forks.Blank == nil {
		return true
	}
	if tag != tagOf(g.Remote) && !s.turnTo(l, tag) {
		if len(s.d.Forks.Parked) >= maxForks {
			return false
		}
		s.useDialog(g, *s.d.Forks.Blank)
		g.Remote = m.Get("To")
	}
	if t := contactOf(m); t != "" {
		g.Target = t
	}
	if routes := headers.List(m, "Record-Route"); len(routes) > 0 {
		slices.Reverse(routes)
		g.Routes = routes
	}
	s.notePeer(l, m)
	return true
}

// turnTo makes the leg work with the parked dialog of the tag; false when there is none.
func (s *State) turnTo(l Leg, tag string) bool {
	f, ok := s.d.Forks.Parked[tag]
	if !ok {
		return false
	}
	g := &s.d.Legs[l]
	delete(s.d.Forks.Parked, tag)
	s.useDialog(g, f)
	return true
}

// useDialog parks the dialog in use and goes on with another. Digits wait for whoever answers.
func (s *State) useDialog(g *leg, next leg) {
	waiting := g.Digits
	g.Digits = nil
	s.park(g)
	*g = next
	g.Digits = waiting
}

func (s *State) park(g *leg) {
	tag := tagOf(g.Remote)
	if tag == "" {
		return
	}
	if s.d.Forks.Parked == nil {
		s.d.Forks.Parked = map[string]leg{}
	}
	s.d.Forks.Parked[tag] = *g
}

// hear puts the fork's line into Media, in the place of the one that is there.
func (s *State) hear(l Leg, tag string) {
	f := &s.d.Forks
	if f.Heard == tag || s.d.Legs[l].Up {
		return
	}
	line := s.d.Media.Line(side(l))
	if f.Lines == nil {
		f.Lines = map[string]offeranswer.Line{}
	}
	f.Lines[f.Heard] = *line
	kept, ok := f.Lines[tag]
	if !ok {
		kept = f.Lines[""]
	}
	delete(f.Lines, tag)
	*line, f.Heard = kept, tag
}

// forgetForks forgets the other forks: the callee has answered (RFC 3261 §13.2.2.4: their early dialogs end by themselves, a 2xx of one
// of them is acknowledged and ended, with the next number of its own dialog).
func (s *State) forgetForks() {
	kept := forks{}
	for tag, g := range s.d.Forks.Parked {
		if kept.Seqs == nil {
			kept.Seqs = map[string]uint32{}
		}
		kept.Seqs[tag] = g.LocalSeq
	}
	s.d.Forks = kept
}

// fork returns the dialog of a fork that answers too late, as far as it is known; invite is the CSeq of the INVITE.
func (s *State) fork(l Leg, tag string, invite uint32) leg {
	g := s.d.Legs[l]
	if f, ok := s.d.Forks.Parked[tag]; ok {
		return f
	}
	if tag != tagOf(g.Remote) {
		g.LocalSeq = max(invite, s.d.Forks.Seqs[tag])
	}
	return g
}

// notePeer remembers what the peer is able to do: whether it takes UPDATE (RFC 3311 §4), and its feature tags.
func (s *State) notePeer(l Leg, m *headers.Msg) {
	if m.Has("Allow") {
		s.d.Legs[l].Update = headers.HasToken(m, "Allow", "UPDATE")
		s.d.Legs[l].Info = headers.HasToken(m, "Allow", "INFO")
	}
	if m.Has("Contact") {
		s.d.Legs[l].Features = featuresOf(m)
	}
}
