package callcore

import (
	"slices"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Reliable provisional responses (RFC 3262). The browser's leg never uses them: what comes reliably from the core is acknowledged
// here, and what the core wants reliably is made so here (standards MO-11, MT-06).

// reliable is a provisional response to the caller that a PRACK has to acknowledge.
type reliable struct {
	Msg   headers.Msg   `json:"msg"`
	Seq   uint32        `json:"seq"`
	Every time.Duration `json:"every,omitempty"` // interval of its repetition; 0: it waits for the one before
}

// provisional is what a call keeps for the reliable responses to its caller.
type provisional struct {
	Queue []reliable `json:"queue,omitempty"` // the first is out
	Last  uint32     `json:"last,omitempty"`  // number given last
	Held  *held      `json:"held,omitempty"`  // final response that waits for a PRACK (RFC 3262 §3)
	Left  uint32     `json:"left,omitempty"`  // number that was out when the final response left: its PRACK may still come (RFC 3262 §3)
	Done  bool       `json:"done,omitempty"`  // our answer has been acknowledged: no other response repeats it (standards MT-07)
}

// held is a 2xx to the caller that is not sent yet.
type held struct {
	Body  []byte          `json:"body,omitempty"`
	Extra []headers.Field `json:"extra,omitempty"`
}

// acknowledge sends the PRACK for a reliable provisional response. False: the response is not to be acted on, because it is a
// repetition or came out of order (RFC 3262 §4).
func (s *State) acknowledge(l Leg, m *headers.Msg, inviteSeq uint32) bool {
	if l == LegAccess { // it was not asked for any
		return true
	}
	n := headers.RSeq(m)
	if n == 0 {
		return !headers.HasToken(m, "Require", "100rel")
	}
	g := &s.d.Legs[l]
	if g.RSeq != 0 && n != g.RSeq+1 || headers.ToTag(m) == "" {
		return false
	}
	g.RSeq = n
	p := s.inDialog(l, "PRACK")
	p.Add("RAck", headers.RAck{RSeq: n, CSeq: inviteSeq, Method: "INVITE"}.String())
	s.send(l, p, client{Method: "PRACK", Kind: "prack"})
	return true
}

// reliably reports whether a provisional response with the body goes reliably to the caller.
func (s *State) reliably(body []byte) bool {
	if s.d.Caller != LegCore {
		return false
	}
	return headers.HasToken(&s.d.Invite, "Require", "100rel") ||
		body != nil && s.d.Cfg.Policy.Reliable && headers.HasToken(&s.d.Invite, "Supported", "100rel")
}

// progressReliably numbers a provisional response and sends it, or keeps it until the one before is acknowledged.
func (s *State) progressReliably(m headers.Msg) {
	p := &s.d.Prov
	if p.Last == 0 { // RFC 3262 §3: from 1 to 2^31-1 at random
		n, _ := strconv.ParseUint(s.id()[:7], 16, 32) // hex by make
		p.Last = uint32(n)
	}
	p.Last++
	headers.AddToken(&m, "Require", "100rel")
	m.Set("RSeq", strconv.FormatUint(uint64(p.Last), 10))
	p.Queue = append(p.Queue, reliable{Msg: m, Seq: p.Last})
	s.pumpProvisional()
}

// pumpProvisional sends the next reliable response, or the final one that waited for them.
func (s *State) pumpProvisional() {
	p := &s.d.Prov
	if h := p.Held; h != nil && !s.unacknowledged() { // what is left in the queue is overtaken
		s.answerCaller(200, "", h.Body, h.Extra)
		s.releaseDigits(s.d.Caller)
		return
	}
	if len(p.Queue) > 0 {
		if r := &p.Queue[0]; r.Every == 0 {
			r.Every = s.policy(s.d.Cfg.Policy.T1, 500*time.Millisecond)
			s.emit(SendResponse{Leg: s.d.Caller, Tx: s.d.Server, Msg: r.Msg.Clone()})
			s.start(timerRel, r.Every)
			s.start(timerRelEnd, 64*r.Every)
		}
	}
}

// repeatProvisional sends the unacknowledged response again at doubling intervals (RFC 3262 §3).
func (s *State) repeatProvisional() {
	if len(s.d.Prov.Queue) == 0 || s.d.Server == "" {
		return
	}
	r := &s.d.Prov.Queue[0]
	s.emit(SendResponse{Leg: s.d.Caller, Tx: s.d.Server, Msg: r.Msg.Clone(), Retransmission: true})
	r.Every *= 2
	s.start(timerRel, r.Every)
}

// dropProvisional ends the repetition: a final response goes out.
func (s *State) dropProvisional() {
	if p := &s.d.Prov; len(p.Queue) > 0 && p.Queue[0].Every != 0 {
		p.Left = p.Queue[0].Seq
	}
	s.d.Prov.Queue, s.d.Prov.Held = nil, nil
	s.stop(timerRel)
	s.stop(timerRelEnd)
}

// unacknowledged reports whether a session description in a provisional response still waits for its PRACK.
func (s *State) unacknowledged() bool {
	return slices.ContainsFunc(s.d.Prov.Queue, func(r reliable) bool { return len(r.Msg.Body) > 0 })
}

// onPrack takes the acknowledgement of a reliable provisional response, which may bring an offer or the answer to ours.
func (s *State) onPrack(e RequestIn) {
	p := &s.d.Prov
	r, err := headers.ParseRAck(e.Msg.Get("RAck"))
	cs, _ := headers.ParseCSeq(s.d.Invite.Get("CSeq")) // read before the call began
	ours := err == nil && e.Leg == s.d.Caller && r.CSeq == cs.Seq && r.Method == "INVITE"
	switch {
	case err != nil:
		s.respond(e.Leg, e.Tx, "PRACK", 400, "", nil, nil)
		return
	case ours && p.Left != 0 && r.RSeq == p.Left:
		p.Left = 0
		s.latePrack(e)
		return
	case !ours || len(p.Queue) == 0 || r.RSeq != p.Queue[0].Seq:
		s.respond(e.Leg, e.Tx, "PRACK", 481, "", nil, nil)
		return
	}
	s.stop(timerRel)
	s.stop(timerRelEnd)
	described := len(p.Queue[0].Msg.Body) > 0
	p.Queue, p.Done = p.Queue[1:], p.Done || described
	switch {
	case described && s.d.Late:
		s.lateAnswer(e.Leg, e.Tx, "PRACK", &e.Msg)
	case len(e.Msg.Body) > 0 && s.d.Phase == phaseUp:
		s.onReoffer(e)
	case len(e.Msg.Body) > 0:
		s.onEarlyOffer(e)
	default:
		s.respond(e.Leg, e.Tx, "PRACK", 200, "", nil, nil)
	}
	if s.d.Phase == phaseEnding {
		return
	}
	s.pumpProvisional()
	s.reserved()
}

// latePrack answers the acknowledgement of a response that the final one has overtaken.
func (s *State) latePrack(e RequestIn) {
	switch {
	case len(e.Msg.Body) == 0:
		s.respond(e.Leg, e.Tx, "PRACK", 200, "", nil, nil)
	case s.d.Phase == phaseUp:
		s.onReoffer(e)
	default:
		s.respond(e.Leg, e.Tx, "PRACK", 488, "", nil, nil)
	}
}
