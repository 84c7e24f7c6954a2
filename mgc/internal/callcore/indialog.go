package callcore

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// through are the methods that pass between the dialogs as they are.
var through = []string{"INFO", "MESSAGE", "OPTIONS", "NOTIFY", "REFER"}

// onRequest takes a request: the initial INVITE or one of a dialog.
func (s *State) onRequest(e RequestIn) {
	if s.d.Phase == phaseNew {
		s.onInvite(e)
		return
	}
	g := &s.d.Legs[e.Leg]
	refuse := func(status int) { s.respond(e.Leg, e.Tx, e.Msg.Method, status, "", nil, nil) }
	cs, err := headers.ParseCSeq(e.Msg.Get("CSeq"))
	switch {
	case err != nil:
		refuse(400)
		return
	case headers.FromTag(&e.Msg) != tagOf(g.Remote) || e.Msg.Get("Call-ID") != g.CallID:
		refuse(481)
		return
	case cs.Seq <= g.RemoteSeq && g.RemoteSeq != 0: // RFC 3261 §12.2.2
		refuse(500)
		return
	}
	g.RemoteSeq = cs.Seq
	if tags := headers.List(&e.Msg, "Require"); len(tags) > 0 {
		s.respond(e.Leg, e.Tx, e.Msg.Method, 420, "", nil, unsupported(tags))
		return
	}
	if t := contactOf(&e.Msg); t != "" && (e.Msg.Method == "INVITE" || e.Msg.Method == "UPDATE") {
		g.Target = t
	}
	switch m := e.Msg.Method; {
	case m == "BYE":
		s.onBye(e)
	case s.d.Phase == phaseEnding:
		refuse(481)
	case m == "INVITE", m == "UPDATE" && len(e.Msg.Body) > 0:
		s.onReoffer(e)
	case m == "UPDATE":
		refuse(200)
	case slices.Contains(through, m):
		s.passOn(e)
	case m == "PRACK" || m == "SUBSCRIBE" || m == "PUBLISH" || m == "REGISTER":
		refuse(405)
	default:
		refuse(501)
	}
}

func (s *State) onBye(e RequestIn) {
	s.respond(e.Leg, e.Tx, "BYE", 200, "", nil, nil)
	s.d.Legs[e.Leg].Gone = true
	cause := CauseHangupAccess
	if e.Leg == LegCore {
		cause = CauseHangupCore
	}
	l := e.Leg
	s.end(cause, 487, e.Msg.Get("Reason"), &l)
}

func (s *State) onCancel(e CancelIn) {
	if e.Tx != s.d.Server || s.d.Server == "" {
		if r := s.d.Reoffer; r != nil && r.Server == e.Tx {
			s.failReoffer(487, nil)
		}
		return
	}
	reason := ""
	if e.Msg != nil {
		reason = e.Msg.Get("Reason")
	}
	s.end(CauseCancelled, 487, reason, nil)
}

// passOn sends a request on in the other dialog; its response comes back as it is.
func (s *State) passOn(e RequestIn) {
	o := e.Leg.Other()
	if !s.d.Legs[o].Up {
		s.respond(e.Leg, e.Tx, e.Msg.Method, 481, "", nil, nil)
		return
	}
	if n, ok := headers.MaxForwards(&e.Msg); ok && n == 0 {
		s.respond(e.Leg, e.Tx, e.Msg.Method, 483, "", nil, nil)
		return
	}
	m := s.inDialog(o, e.Msg.Method)
	m.Fields = append(m.Fields, pass(e.Leg, &e.Msg)...)
	if len(e.Msg.Body) > 0 {
		m.Set("Content-Type", e.Msg.Get("Content-Type"))
		m.Body = slices.Clone(e.Msg.Body)
	}
	s.send(o, m, client{Method: e.Msg.Method, Kind: "pass", Server: e.Tx})
}

// onReoffer takes an offer inside the dialog (RFC 3261 §14, RFC 3311).
func (s *State) onReoffer(e RequestIn) {
	refuse := func(status int, extra []headers.Field) { s.respond(e.Leg, e.Tx, e.Msg.Method, status, "", nil, extra) }
	if s.d.Phase != phaseUp || s.d.Reoffer != nil || s.reoffering() {
		refuse(491, nil) // RFC 3261 §14.2
		return
	}
	if len(e.Msg.Body) == 0 {
		refuse(488, warning(&offeranswer.Unacceptable{Code: 399, Text: "an INVITE without offer is not supported"}))
		return
	}
	desc, err := describe(&e.Msg)
	if err != nil {
		refuse(488, warning(err))
		return
	}
	media, change, err := s.d.Media.Offer(side(e.Leg), desc)
	if err != nil {
		refuse(488, warning(err))
		return
	}
	s.d.Reoffer = &reoffer{Leg: e.Leg, Server: e.Tx, Method: e.Msg.Method, Before: s.d.Media}
	s.d.Media = media
	switch {
	case change.Tell:
		s.tellOther()
	case change.ICERestart:
		s.modify("restart", offeranswer.Open, e.Leg)
	default:
		s.answerReoffer(true)
	}
}

// reoffering reports whether an offer of ours is out.
func (s *State) reoffering() bool {
	for _, c := range s.clientsInOrder() {
		if c.Kind == "reoffer" {
			return true
		}
	}
	return false
}

// tellOther offers the changed direction to the other side.
func (s *State) tellOther() {
	o := s.d.Reoffer.Leg.Other()
	media, body, err := s.d.Media.MakeOffer(side(o), sdp.DirUnset)
	if err != nil {
		s.failReoffer(488, warning(err))
		return
	}
	s.d.Media = media
	m := s.inDialog(o, "INVITE")
	m.Set("Allow", allow)
	m.Set("Content-Type", "application/sdp")
	m.Body = body
	s.send(o, m, client{Method: "INVITE", Kind: "reoffer"})
}

// onReofferAnswer takes the other side's final response to our offer.
func (s *State) onReofferAnswer(e ResponseIn, c client) {
	if e.Msg.Status < 300 {
		if t := contactOf(&e.Msg); t != "" {
			s.d.Legs[e.Leg].Target = t
		}
		s.ack(e.Leg, c.Seq)
	}
	if s.d.Reoffer == nil {
		return
	}
	if e.Msg.Status >= 300 {
		s.failReoffer(e.Msg.Status, pass(e.Leg, &e.Msg))
		return
	}
	desc, err := describe(&e.Msg)
	if err == nil {
		var media offeranswer.Media
		if media, err = s.d.Media.Answer(side(e.Leg), desc); err == nil {
			s.d.Media = media
		}
	}
	if err != nil {
		s.failReoffer(488, warning(err))
		return
	}
	s.answerReoffer(true)
}

// answerReoffer answers the offer and tells the MGW.
func (s *State) answerReoffer(modify bool) {
	r := s.d.Reoffer
	media, body, err := s.d.Media.MakeAnswer(side(r.Leg))
	if err != nil {
		s.failReoffer(488, warning(err))
		return
	}
	s.d.Media, s.d.Reoffer = media, nil
	s.respond(r.Leg, r.Server, r.Method, 200, "", body, nil)
	if modify {
		s.modify("modify", offeranswer.Open, LegAccess, LegCore)
	}
	s.d.Rec.AccessCodec, s.d.Rec.CoreCodec = codecText(s.d.Media, offeranswer.Access), codecText(s.d.Media, offeranswer.Core)
}

// failReoffer refuses the offer; everything stays as it was (RFC 3264 §8).
func (s *State) failReoffer(status int, extra []headers.Field) {
	r := s.d.Reoffer
	s.d.Media, s.d.Reoffer = r.Before, nil
	s.respond(r.Leg, r.Server, r.Method, status, "", nil, extra)
}

// onResponse takes a response to a request of ours.
func (s *State) onResponse(e ResponseIn) {
	c, open := s.d.Clients[e.Tx]
	if !open {
		if e.Msg.Method == "INVITE" && e.Msg.Status >= 200 && e.Msg.Status < 300 {
			s.late2xx(e.Leg, &e.Msg)
		}
		return
	}
	if e.Msg.Status >= 200 {
		delete(s.d.Clients, e.Tx)
	}
	switch c.Kind {
	case "initial":
		s.onInitial(e)
	case "reoffer":
		if e.Msg.Status >= 200 {
			s.onReofferAnswer(e, c)
		}
	case "pass":
		s.passBack(e, c)
	}
	if e.Msg.Status == 481 && c.Kind != "initial" && c.Kind != "bye" || e.Msg.Status == 408 && c.Kind == "reoffer" {
		l := e.Leg // RFC 3261 §12.2.1.2: the dialog is gone
		s.d.Legs[l].Gone = true
		s.end(CauseTimeout, 480, sipReason(e.Msg.Status, "Dialog is gone"), &l)
	}
}

func (s *State) passBack(e ResponseIn, c client) {
	if e.Msg.Status <= 100 {
		return
	}
	extra := pass(e.Leg, &e.Msg)
	o := e.Leg.Other()
	if len(e.Msg.Body) > 0 {
		extra = append(extra, headers.Field{Name: "Content-Type", Value: e.Msg.Get("Content-Type")})
	}
	m := headers.Msg{Method: c.Method, Status: e.Msg.Status, Reason: e.Msg.Reason, Fields: extra, Body: slices.Clone(e.Msg.Body)}
	s.emit(SendResponse{Leg: o, Tx: c.Server, Msg: m})
}

// onFailed takes the end of a transaction without a final response.
func (s *State) onFailed(e TxFailed) {
	c, open := s.d.Clients[e.Tx]
	if !open {
		return
	}
	delete(s.d.Clients, e.Tx)
	status, cause := 503, CauseUnreachable
	switch {
	case e.Timeout:
		status, cause = 408, CauseTimeout
	case e.Leg == LegAccess:
		status = 480
	}
	switch c.Kind {
	case "initial":
		s.end(cause, status, sipReason(status, "Callee unreachable"), nil)
	case "reoffer":
		if s.d.Reoffer != nil {
			s.failReoffer(status, nil)
		}
		if e.Timeout {
			s.end(cause, status, sipReason(status, "Dialog is gone"), nil)
		}
	case "pass":
		s.respond(e.Leg.Other(), c.Server, c.Method, status, "", nil, nil)
	}
}
