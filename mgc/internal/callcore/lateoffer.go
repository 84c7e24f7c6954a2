package callcore

import (
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// An INVITE of the core without an offer (RFC 3261 §13.2.1, RFC 6337 §2.1): the browser always gets an offer, made of what the MGW
// has; the core gets one in the first reliable provisional or in the 2xx, and answers in PRACK or ACK (standards MO-19).

// lateOffer is our offer to a caller that made none.
func (s *State) lateOffer() ([]byte, error) {
	media, body, err := s.d.Media.MakeOffer(side(s.d.Caller), sdp.SendRecv)
	if err != nil {
		return nil, err
	}
	s.d.Media = media
	return body, nil
}

// lateAnswer takes the caller's answer to our offer. An answer that cannot be used ends the call: the callee has been promised media.
func (s *State) lateAnswer(l Leg, tx, method string, m *headers.Msg) {
	err := error(&offeranswer.Unacceptable{Code: 399, Text: "an answer is missing"})
	if len(m.Body) > 0 {
		var desc *sdp.Description
		if desc, err = describe(m); err == nil {
			var media offeranswer.Media
			if media, err = s.d.Media.Answer(side(l), desc); err == nil {
				s.d.Media = media
			}
		}
	}
	if err != nil {
		s.respond(l, tx, method, 488, "", nil, warning(err))
		s.end(CauseMedia, 488, sipReason(488, "Answer not usable"), nil)
		return
	}
	s.d.Late = false
	s.respond(l, tx, method, 200, "", nil, nil)
	if s.d.Phase == phaseUp {
		s.modify("modify", offeranswer.Open, LegAccess, LegCore)
	}
}

// onBareReinvite answers a re-INVITE without an offer with what we could do now; the answer comes in its ACK.
func (s *State) onBareReinvite(e RequestIn) {
	before := s.d.Media
	media, body, err := s.d.Media.MakeOffer(side(e.Leg), s.d.Media.Able(side(e.Leg)))
	if err != nil {
		s.respond(e.Leg, e.Tx, "INVITE", 488, "", nil, warning(err))
		return
	}
	s.d.Media = media
	s.d.Legs[e.Leg].InviteSeq = s.d.Legs[e.Leg].RemoteSeq
	s.d.Reoffer = &reoffer{Leg: e.Leg, Method: "INVITE", Before: before, Late: true}
	s.respond(e.Leg, e.Tx, "INVITE", 200, "", body, s.answerTimer(e.Leg, s.grantTimer(e.Leg, &e.Msg)))
}

// bareAnswer takes the answer that an ACK brought. One that is missing or not usable leaves all as it was.
func (s *State) bareAnswer(l Leg, ack *headers.Msg) {
	r := s.d.Reoffer
	s.d.Reoffer = nil
	desc, err := describe(ack)
	if err == nil {
		var media offeranswer.Media
		if media, err = s.d.Media.Answer(side(l), desc); err == nil {
			s.d.Media = media
			s.agreed()
			return
		}
	}
	if s.d.Media = s.d.Media.Revert(side(l), r.Before); s.ordersLeft() {
		s.modify("modify", offeranswer.Open, LegAccess, LegCore)
	}
}
