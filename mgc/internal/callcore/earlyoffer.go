package callcore

import (
	"strconv"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// onEarlyOffer takes an offer in an UPDATE or PRACK before the call is answered (RFC 3311 §5.1, RFC 3262 §5): it concerns the core
// side alone, the browser keeps what it has been told.
func (s *State) onEarlyOffer(e RequestIn) {
	refuse := func(status int, extra []headers.Field) { s.respond(e.Leg, e.Tx, e.Msg.Method, status, "", nil, extra) }
	switch {
	case e.Leg == s.d.Caller && !s.d.Prov.Done: // the answer to its first offer is not acknowledged (RFC 3311 §5.2)
		refuse(500, []headers.Field{{Name: "Retry-After", Value: strconv.Itoa(1 + int(s.d.Count%10))}})
		return
	case e.Leg != LegCore || s.d.Phase != phaseCall && s.d.Phase != phaseReserve:
		refuse(491, nil)
		return
	}
	desc, err := describe(&e.Msg)
	if err != nil {
		s.refuseOffer(e, err)
		return
	}
	before, heard := s.d.Media, s.d.Forks.Heard
	if e.Leg != s.d.Caller {
		s.hear(e.Leg, headers.FromTag(&e.Msg))
		if !s.d.Media.Line(side(e.Leg)).Agreed() { // our first offer has no answer in this dialog (RFC 3311 §5.2)
			s.hear(e.Leg, heard)
			refuse(491, nil)
			return
		}
	}
	media, _, err := s.d.Media.Offer(side(e.Leg), desc)
	var body []byte
	if err == nil {
		media, body, err = media.Still(side(e.Leg), s.d.Media).MakeAnswer(side(e.Leg))
	}
	if err != nil {
		s.hear(e.Leg, heard)
		s.d.Media = before
		s.refuseOffer(e, err)
		return
	}
	s.d.Media = media
	s.d.Legs[e.Leg].Answered = true
	s.respond(e.Leg, e.Tx, e.Msg.Method, 200, "", body, nil)
	if other := e.Leg != s.d.Caller && s.d.Forks.Heard != heard; other {
		s.hear(e.Leg, heard) // an offer does not make its fork heard
	} else if s.d.Gate != offeranswer.Closed {
		s.modify("modify", s.d.Gate, LegAccess, LegCore)
	}
}
