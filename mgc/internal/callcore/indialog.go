package callcore

import (
	"fmt"
	"maps"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
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
	if tag := headers.FromTag(&e.Msg); e.Leg != s.d.Caller && !g.Up && tag != tagOf(g.Remote) {
		s.turnTo(e.Leg, tag)
	}
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
	if tags := s.unknownTags(e.Leg, &e.Msg); len(tags) > 0 {
		s.respond(e.Leg, e.Tx, e.Msg.Method, 420, "", nil, unsupported(tags))
		return
	}
	if t := contactOf(&e.Msg); t != "" && (e.Msg.Method == "INVITE" || e.Msg.Method == "UPDATE") {
		g.Target, g.Features = t, featuresOf(&e.Msg)
	}
	switch m := e.Msg.Method; {
	case m == "PRACK" && e.Leg == LegAccess:
		refuse(405)
	case m == "PRACK":
		s.onPrack(e)
	case m == "BYE":
		s.onBye(e)
	case s.d.Phase == phaseEnding:
		refuse(481)
	case (m == "INVITE" || m == "UPDATE") && s.tooShort(&e.Msg) != nil:
		s.respond(e.Leg, e.Tx, m, 422, "", nil, s.tooShort(&e.Msg))
	case m == "UPDATE" && len(e.Msg.Body) > 0 && s.d.Phase != phaseUp:
		s.onEarlyOffer(e)
		s.reserved()
	case m == "INVITE", m == "UPDATE" && len(e.Msg.Body) > 0:
		s.onReoffer(e)
	case m == "UPDATE" && s.d.Phase != phaseUp:
		refuse(200)
	case m == "UPDATE":
		s.respond(e.Leg, e.Tx, m, 200, "", nil, s.answerTimer(e.Leg, s.grantTimer(e.Leg, &e.Msg)))
	case isDigit(&e.Msg):
		s.onDigit(e)
	case isTrickle(&e.Msg):
		s.onTrickle(e)
	case slices.Contains(through, m):
		s.passOn(e)
	case m == "SUBSCRIBE" || m == "PUBLISH" || m == "REGISTER":
		refuse(405)
	default:
		refuse(501)
	}
}

func (s *State) onBye(e RequestIn) {
	s.respond(e.Leg, e.Tx, "BYE", 200, "", nil, nil)
	s.gone(e.Leg)
	cause := CauseHangupAccess
	if e.Leg == LegCore {
		cause = CauseHangupCore
	}
	l := e.Leg
	s.end(cause, 487, e.Msg.Get("Reason"), &l)
}

// gone notes that the dialog of a leg is over at the peer: no ACK will come in it, and nothing depends on the answer to a BYE of ours.
func (s *State) gone(l Leg) {
	g := &s.d.Legs[l]
	g.Gone, g.Ack, g.Final, g.Due = true, "", nil, nil
	// Who has said BYE may never answer ours: the connection that it went out on can be dead.
	maps.DeleteFunc(s.d.Clients, func(_ string, c client) bool { return c.Leg == l && c.Kind == "bye" })
	s.stopAck()
}

func (s *State) onCancel(e CancelIn) {
	if e.Tx != s.d.Server || s.d.Server == "" {
		s.cancelReoffer(e.Tx)
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
	if !s.d.Legs[o].Up { // not 481: the caller's early dialog exists
		s.respond(e.Leg, e.Tx, e.Msg.Method, 480, "", nil, nil)
		return
	}
	hops, limited := headers.MaxForwards(&e.Msg)
	if limited && hops == 0 {
		s.respond(e.Leg, e.Tx, e.Msg.Method, 483, "", nil, nil)
		return
	}
	m := s.inDialog(o, e.Msg.Method)
	if limited {
		m.Set("Max-Forwards", fmt.Sprint(hops-1))
	}
	m.Fields = append(m.Fields, s.pass(e.Leg, &e.Msg)...)
	s.crossRefer(e, &m)
	if len(e.Msg.Body) > 0 {
		m.Set("Content-Type", e.Msg.Get("Content-Type"))
		m.Body = slices.Clone(e.Msg.Body)
	}
	s.send(o, m, client{Method: e.Msg.Method, Kind: "pass", Server: e.Tx})
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
		s.onInitial(e, c)
	case "reoffer":
		if e.Msg.Status >= 200 {
			s.onReofferAnswer(e, c)
		}
	case "pass":
		s.passBack(e, c)
	case "refresh":
		if e.Msg.Status >= 200 {
			s.onRefreshed(e, c)
		}
	case "digit":
		if e.Msg.Status >= 200 {
			s.digitSent(e.Leg, e.Msg.Status)
		}
	}
	reason := sipReason(e.Msg.Status, "Dialog is gone")
	ours := c.Kind == "reoffer" || c.Kind == "refresh"
	switch l := e.Leg; { // RFC 3261 §12.2.1.2
	case e.Msg.Status == 481 && (ours || c.Method == "INFO"): // others are no part of the call (RFC 5057 §5.1)
		s.gone(l)
		s.end(CauseTimeout, 480, reason, &l)
	case e.Msg.Status == 408 && ours: // somebody on the way says so; the peer may still be there
		s.end(CauseTimeout, 480, reason, nil)
	}
}

func (s *State) passBack(e ResponseIn, c client) {
	if e.Msg.Status <= 100 {
		return
	}
	extra := s.pass(e.Leg, &e.Msg)
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
		s.failReoffer(status, nil)
		if e.Timeout {
			s.end(cause, status, sipReason(status, "Dialog is gone"), nil)
		}
	case "refresh":
		if e.Timeout {
			s.end(cause, status, sipReason(status, "Dialog is gone"), nil)
		} else {
			s.refreshLater(e.Leg)
		}
	case "pass":
		s.respond(e.Leg.Other(), c.Server, c.Method, status, "", nil, nil)
	case "digit":
		s.digitSent(e.Leg, 0)
	}
}
