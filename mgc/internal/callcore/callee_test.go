package callcore

import (
	"fmt"
	"strconv"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// reliability is what an agent keeps of reliable provisional responses (RFC 3262): a callee of its own, a caller of ours.
type reliability struct {
	seq       uint32 // RSeq of the last one
	open      bool   // it is not acknowledged
	described bool   // it has a description
	settled   bool   // one with a description has been acknowledged: no response repeats it
	failed    bool   // the acknowledgement was lost or refused
	asked     bool   // caller: its INVITE supports 100rel
	required  bool   // caller: its INVITE requires it
	last      []byte // caller: body of the last one
	silent    bool   // caller: it sends no PRACK
}

// described reports whether no 2xx may be sent yet (RFC 3262 §3).
func (r *reliability) holds() bool { return r.open && r.described }

// respondInitial: up to three forks ring, offer and answer (one of them wins), or all refuse.
func (w *world) respondInitial(c *clientTx) error {
	if len(w.forks) == 0 || c.leg == LegCore && len(w.forks) < 3 && w.r.IntN(6) == 0 {
		w.forkTags++
		a := newAgent(w.r, c.leg, c.msg.Get("Call-ID"), fmt.Sprintf("r%d", w.forkTags), w.policy.Media)
		a.ourTag = headers.FromTag(&c.msg)
		if a.phone != nil {
			a.phone.Reserves = w.policy.Media.Preconditions == "full" && w.policy.Reliable
		}
		w.forks = append(w.forks, a)
	}
	a := peertest.Pick(w.r, w.forks...)
	switch i := w.r.IntN(20); {
	case c.cancelled && i < 14:
		return w.rejectInitial(c, a, 487)
	case i < 13 && c.ringing < 10:
		c.ringing++
		return w.ring(c, a)
	case a.rel.holds() && (a.rel.failed || i > 17):
		return w.rejectInitial(c, a, 504)
	case i == 13 && c.msg.Has("Session-Expires") && w.again < 3:
		return w.askLonger(c, a)
	case i == 14 || a.rel.holds() && i == 15:
		return w.rejectInitial(c, a, peertest.Pick(w.r, 486, 404, 480, 603, 302, 500, 488))
	case a.rel.holds():
		return w.ring(c, a)
	}
	body, err := w.answerOnce(c, a)
	if err != nil {
		return err
	}
	if body == nil {
		return w.rejectInitial(c, a, 488)
	}
	c.final = true
	a.up = true
	if w.agents[c.leg] == nil && w.s.d.Phase == phaseCall {
		w.agents[c.leg] = a
	}
	return w.answer2xx(c, a, body)
}

// answerOnce makes a fork's answer, which its 18x and its 2xx have in common.
func (w *world) answerOnce(c *clientTx, a *agent) ([]byte, error) {
	if a.given == nil {
		if a.phone != nil && a.phone.Reserves {
			a.phone.Quality = peertest.Pick(w.r, nil, quality("none", "sendrecv"), quality("sendrecv", "sendrecv"))
		}
		var err error
		if a.given, err = a.takesOffer(c.msg.Body); err != nil {
			return nil, err
		}
	}
	return a.given, nil
}

func quality(local, remote string) []sdp.Attribute {
	return []sdp.Attribute{{Name: "curr", Value: "qos local " + local}, {Name: "curr", Value: "qos remote " + remote},
		{Name: "des", Value: "qos mandatory local sendrecv"}, {Name: "des", Value: "qos mandatory remote sendrecv"}}
}

// ring is a provisional response of a fork.
func (w *world) ring(c *clientTx, a *agent) error {
	if c.leg == LegCore && headers.HasToken(&c.msg, "Supported", "100rel") && w.r.IntN(3) > 0 {
		return w.ringReliably(c, a)
	}
	status := peertest.Pick(w.r, 100, 180, 183, 180)
	var body []byte
	if c.leg == LegCore && status != 100 && !a.rel.settled && w.r.IntN(2) == 0 {
		var err error
		if body, err = w.answerOnce(c, a); err != nil {
			return err
		}
	}
	m := a.response(&c.msg, status, body)
	w.earlyMedia(a, &m)
	if w.r.IntN(20) == 0 && c.leg == LegCore {
		m.Set("RSeq", "77") // without Require it says nothing
	}
	return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: m})
}

func (w *world) earlyMedia(a *agent, m *headers.Msg) {
	if a.leg != LegCore || w.r.IntN(2) == 0 {
		return
	}
	m.Set("P-Early-Media", peertest.Pick(w.r, "sendrecv", "sendonly", "recvonly", "inactive", "gated", "sendonly, inactive"))
	w.authorised = w.authorised || headers.ReadEarlyMedia(m).Receives
}

// ringReliably is a reliable provisional response: the next one when the last is acknowledged, else a repetition or one out of order.
func (w *world) ringReliably(c *clientTx, a *agent) error {
	r := &a.rel
	seq, status, acts := r.seq+1, peertest.Pick(w.r, 180, 183, 183), true
	switch {
	case r.seq == 0:
		seq = peertest.Pick[uint32](w.r, 1, 9021, 1<<31-10)
	case r.open: // the last one again
		seq, acts = r.seq, false
	case w.r.IntN(8) == 0:
		seq, acts = r.seq+2, false
	}
	var body []byte
	if !r.settled && (acts && w.r.IntN(3) > 0 || r.open && r.described) {
		var err error
		if body, err = w.answerOnce(c, a); err != nil {
			return err
		}
	}
	m := a.response(&c.msg, status, body)
	m.Set("Require", "100rel")
	m.Set("RSeq", strconv.FormatUint(uint64(seq), 10))
	w.earlyMedia(a, &m)
	w.mustPrack = ""
	if acts {
		r.seq, r.open, r.described = seq, true, body != nil
		if w.s.d.Phase == phaseCall {
			w.mustPrack = fmt.Sprintf("%s %d %s", dialogOf(&m), seq, c.msg.Get("CSeq"))
		}
	}
	w.pracks, w.watching = w.pracks[:0], true
	return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: m})
}

// acknowledged holds after each step that brought a reliable response.
func (w *world) acknowledged(effects int) error {
	if !w.watching {
		return nil
	}
	w.watching = false
	switch n := len(w.pracks); {
	case w.mustPrack == "" && n > 0:
		return fmt.Errorf("PRACK for a response that is repeated, out of order or too late: %v", w.pracks)
	case w.mustPrack == "" && effects > 0 && w.s.d.Phase == phaseCall:
		return fmt.Errorf("%d effects of a response that is repeated or out of order (RFC 3262 §4)", effects)
	case w.mustPrack != "" && (n != 1 || w.pracks[0] != w.mustPrack):
		return fmt.Errorf("PRACKs %q, want one: %q (RFC 3262 §4)", w.pracks, w.mustPrack)
	}
	return nil
}

// takePrack notes a PRACK of ours.
func (w *world) takePrack(e SendRequest) error {
	rack, err := headers.ParseRAck(e.Msg.Get("RAck"))
	if err != nil || e.Leg != LegCore || w.caller != LegAccess || len(e.Msg.Body) > 0 {
		return fmt.Errorf("PRACK on %s with RAck %q", e.Leg, e.Msg.Get("RAck"))
	}
	w.seen["PRACK to the core"]++
	w.pracks = append(w.pracks, fmt.Sprintf("%s %d %d %s", dialogOf(&e.Msg), rack.RSeq, rack.CSeq, rack.Method))
	return nil
}

func (w *world) forkOf(tag string) *agent {
	for _, a := range w.forks {
		if a.tag == tag {
			return a
		}
	}
	return nil
}

// respondPrack has a fork answer our PRACK.
func (w *world) respondPrack(c *clientTx) error {
	status := 200
	if w.r.IntN(20) == 0 {
		status = 481
	}
	if a := w.forkOf(headers.ToTag(&c.msg)); a != nil {
		if status == 200 {
			a.rel.settled = a.rel.settled || a.rel.described
			a.rel.open, a.rel.described = false, false
		} else {
			a.rel.failed = true
		}
	}
	return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: headers.NewResponse(&c.msg, status, "")})
}

func (w *world) rejectInitial(c *clientTx, a *agent, status int) error {
	c.final = true
	return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: a.response(&c.msg, status, nil)})
}

// answer2xx delivers a 2xx that has to be acknowledged at once.
func (w *world) answer2xx(c *clientTx, a *agent, body []byte) error {
	if a.rel.settled && headers.ToTag(&c.msg) == "" {
		body = nil // it was in a reliable provisional response
	}
	m := a.response(&c.msg, 200, body)
	if again := headers.ToTag(&c.msg) == "" && w.s.d.Phase != phaseCall; !again {
		a.grant(&c.msg, &m)
	}
	cs, err := headers.ParseCSeq(m.Get("CSeq"))
	if err != nil {
		return err
	}
	w.mustAck = fmt.Sprintf("%s %d", dialogOf(&m), cs.Seq)
	return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: m})
}

// late2xx delivers a 2xx of another fork after the first, or one again.
func (w *world) late2xx() error {
	for _, id := range w.clientIDs() {
		c := w.client[id]
		if c.msg.Method != "INVITE" || headers.ToTag(&c.msg) != "" || !c.final || c.refused || len(w.forks) == 0 {
			continue
		}
		a := peertest.Pick(w.r, w.forks...)
		if a.rel.holds() {
			continue
		}
		body, err := w.answerOnce(c, a)
		if err != nil || body == nil {
			return err
		}
		a.up = true
		return w.answer2xx(c, a, body)
	}
	return nil
}
