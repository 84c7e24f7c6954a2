package callcore

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// reservation is what a SIP user that calls has of its resources (RFC 3312).
type reservation struct {
	used  bool // its offers have precondition lines
	ready bool // it has said that its resources are there
	gone  bool // it has said that they are not to be had
}

// begin sends the initial INVITE; sometimes one that has to be refused.
func (w *world) begin() error {
	a := w.agents[w.caller]
	tx := w.tx(a, "INVITE")
	m := w.firstInvite(a, tx)
	a.invite = a.seq
	kind := w.r.IntN(50)
	if a.bare {
		kind = min(kind, 1) * 10 // a body would be an offer
	}
	switch kind {
	case 0:
		m.Set("Max-Forwards", "0")
		a.expect.Fails = "Max-Forwards 0"
	case 1:
		m.Add("Require", "fancy")
		a.expect.Fails = "Require"
	case 2:
		if w.caller == LegAccess {
			m.Body = nil
			a.expect.Fails = "no offer"
		}
	case 3:
		m.Body = []byte("hello")
		a.expect.Fails = "no description"
	}
	w.asksTimer(a, tx, &m)
	return w.step(RequestIn{Leg: w.caller, Tx: tx, Msg: m})
}

// firstInvite makes the initial INVITE with what the caller can do.
func (w *world) firstInvite(a *agent, tx string) headers.Msg {
	if a.leg == LegAccess {
		return a.offers("INVITE", tx)
	}
	a.rel.required, a.rel.silent = w.r.IntN(6) == 0, w.r.IntN(8) == 0
	a.rel.asked = a.rel.required || w.r.IntN(2) == 0
	if a.rel.asked && w.r.IntN(2) == 0 {
		a.pre.used = true
		a.phone.Reserves = w.policy.Media.Preconditions != "off" && (w.policy.Reliable || a.rel.required)
		a.pre.ready = w.r.IntN(4) == 0
		a.phone.Quality = a.pre.lines()
	}
	var m headers.Msg
	if w.r.IntN(5) == 0 {
		m = a.bareInvite(tx)
		a.pre, a.phone.Quality, a.phone.Reserves = reservation{}, nil, false
	} else {
		m = a.offers("INVITE", tx)
	}
	switch {
	case a.rel.required:
		m.Add("Require", "100rel")
	case a.rel.asked:
		m.Add("Supported", "100rel, precondition")
	}
	return m
}

func (p *reservation) lines() []sdp.Attribute {
	switch {
	case p.gone:
		return []sdp.Attribute{{Name: "curr", Value: "qos local none"}, {Name: "curr", Value: "qos remote sendrecv"}, {Name: "des", Value: "qos failure local sendrecv"}}
	case p.ready:
		return quality("sendrecv", "sendrecv")
	}
	return []sdp.Attribute{{Name: "curr", Value: "qos local none"}, {Name: "curr", Value: "qos remote none"},
		{Name: "des", Value: "qos mandatory local sendrecv"}, {Name: "des", Value: "qos optional remote sendrecv"}}
}

// bareInvite makes an INVITE without an offer.
func (a *agent) bareInvite(tx string) headers.Msg {
	m := a.request("INVITE", nil)
	a.bare, a.open, a.method, a.openSeq, a.expect = true, tx, "INVITE", a.seq, peertest.Expect{}
	return m
}

// takeReliable checks a provisional response to the caller (RFC 3262 §3).
func (w *world) takeReliable(a *agent, e *SendResponse) error {
	m, r := &e.Msg, &a.rel
	if m.Status < 101 || m.Status > 199 {
		return nil
	}
	if !headers.HasToken(m, "Require", "100rel") {
		switch {
		case m.Has("RSeq"):
			return fmt.Errorf("%d with RSeq, but not reliable", m.Status)
		case r.required:
			return fmt.Errorf("unreliable %d to a caller that requires 100rel (RFC 3262 §3)", m.Status)
		case a.bare && len(m.Body) > 0:
			return fmt.Errorf("an offer in an unreliable %d (RFC 3262 §5)", m.Status)
		}
		return nil
	}
	n, err := strconv.ParseUint(m.Get("RSeq"), 10, 32)
	switch {
	case err != nil || n == 0 || a.leg != LegCore || !r.asked:
		return fmt.Errorf("reliable %d to %s, RSeq %q, which asked: %v", m.Status, a.leg, m.Get("RSeq"), r.asked)
	case e.Retransmission:
		if uint32(n) != r.seq || !r.open || !slices.Equal(m.Body, r.last) {
			return fmt.Errorf("repeats RSeq %d, open is %d %v", n, r.seq, r.open)
		}
		return nil
	case r.open:
		return fmt.Errorf("a reliable response before the PRACK of the one before (RFC 3262 §3)")
	case r.seq == 0 && n >= 1<<31, r.seq != 0 && uint32(n) != r.seq+1:
		return fmt.Errorf("RSeq %d after %d (RFC 3262 §3)", n, r.seq)
	case r.settled && len(m.Body) > 0:
		return fmt.Errorf("a reliable %d repeats an acknowledged description", m.Status)
	}
	r.seq, r.open, r.described, r.last = uint32(n), true, len(m.Body) > 0, slices.Clone(m.Body)
	return nil
}

// repeats checks that what is not acknowledged, and nothing else, is repeated and given up in time.
func (w *world) repeats() error {
	a := w.agents[w.caller]
	want := !a.up && a.rel.open && a.open != "" && w.server[a.open].finals == 0
	for _, name := range []string{timerRel, timerRelEnd} {
		if _, ok := w.timers[name]; ok != want {
			return fmt.Errorf("timer %s runs: %v, a response waits for its PRACK: %v", name, ok, want)
		}
	}
	return nil
}

// sendPrack acknowledges our reliable response, rightly or not.
func (w *world) sendPrack(a *agent) error {
	r := &a.rel
	rack := headers.RAck{RSeq: r.seq, CSeq: a.invite, Method: "INVITE"}
	tx := w.tx(a, "PRACK")
	s := w.server[tx]
	var body []byte
	kind := w.r.IntN(12)
	ending := w.s.d.Phase == phaseEnding
	switch {
	case kind == 0:
		rack.RSeq, s.want = rack.RSeq+1, []int{481}
	case kind == 1:
		rack.CSeq, s.want = rack.CSeq+1, []int{481}
	case kind == 2 && !r.open:
		s.want = []int{481} // acknowledged before
	case !r.open:
		delete(w.server, tx)
		return nil
	case r.described && a.bare:
		body = w.reply(a, a.invite)
		if body == nil {
			s.want = []int{488, 481}
			w.mustEnd = !ending
		} else {
			s.want = []int{200}
		}
		r.open, r.described, r.settled = false, false, true
	default:
		r.settled = r.settled || r.described
		s.want = []int{200}
		if r.settled && a.mid == "" && !ending && w.s.d.Phase != phaseUp && kind == 3 {
			s.want, s.early = []int{200, 488}, true
			body = w.midOffer(a, tx)
		}
		r.open, r.described = false, false
	}
	if ending {
		s.want = []int{200, 481}
	}
	m := a.request("PRACK", body)
	m.Set("RAck", rack.String())
	return w.step(RequestIn{Leg: a.leg, Tx: tx, Msg: m})
}

// reply is the agent's answer to our offer, or none, or one that is of no use.
func (w *world) reply(a *agent, seq uint32) []byte {
	body := a.replies[seq]
	delete(a.replies, seq)
	if body != nil && w.r.IntN(12) == 0 {
		body = nil
		a.user.Restore()
		a.dir = a.wasDir
	}
	a.mute = a.mute || body == nil && seq == a.invite
	return body
}

// midOffer makes the agent's offer in its early dialog.
func (w *world) midOffer(a *agent, tx string) []byte {
	if a.pre.used && !a.pre.ready && !a.pre.gone {
		switch w.r.IntN(8) {
		case 0:
			a.pre.gone = true
		case 1:
		default:
			a.pre.ready = true
		}
		a.phone.Quality = a.pre.lines()
	}
	d, e := a.user.Offer(names(a.leg))
	a.mid, a.midOffer = tx, e
	if e.Fails != "" && a.pre.used { // what a refused offer says of resources does not count
		a.pre.ready, a.pre.gone = false, false
	}
	return d.Marshal()
}

// sendEarlyOffer offers in an UPDATE before the call is answered (RFC 3311 §5.1).
func (w *world) sendEarlyOffer(a *agent) error {
	tx := w.tx(a, "UPDATE")
	w.server[tx].want, w.server[tx].early = []int{200, 488}, true
	m := a.request("UPDATE", w.midOffer(a, tx))
	if w.s.d.Phase == phaseEnding {
		w.server[tx].want = []int{481}
	}
	return w.step(RequestIn{Leg: a.leg, Tx: tx, Msg: m})
}

// waits reports whether the caller's resources are still to come: the browser must not be called (RFC 3312 §6).
func (w *world) reserves() bool {
	a := w.agents[LegCore]
	return w.caller == LegCore && a.phone.Reserves && a.pre.used && !a.pre.ready
}
