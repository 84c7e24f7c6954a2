package callcore

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// action is something that can happen next, and how likely it is beside the others.
type action struct {
	weight int
	do     func() error
}

// actions lists what can happen now.
func (w *world) actions() []action {
	var out []action
	add := func(weight int, do func() error) { out = append(out, action{weight, do}) }
	for _, c := range w.openClients() {
		if !c.delivered {
			add(60, func() error { c.delivered = true; return nil })
		} else {
			add(60, func() error { return w.respond(c) })
		}
		add(w.r.IntN(3)/2, func() error { return w.failClient(c, w.r.IntN(2) == 0) })
	}
	if w.mgw.out != nil {
		add(100, w.iqReply)
	}
	for _, a := range w.agents {
		if a != nil {
			w.agentActions(a, add)
		}
	}
	if w.agents[w.caller.Other()] == nil && w.caller == LegAccess {
		for _, a := range w.forks {
			w.earlyActions(a, add)
		}
	}
	w.rareActions(add)
	w.soundActions(add)
	return out
}

func (w *world) openClients() []*clientTx {
	var ids []string
	for id, c := range w.client {
		if !c.final {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	out := make([]*clientTx, len(ids))
	for i, id := range ids {
		out[i] = w.client[id]
	}
	return out
}

func (w *world) agentActions(a *agent, add func(int, func() error)) {
	if len(a.acks) > 0 {
		add(60, func() error { return w.sendAck(a) })
	}
	if a.open != "" && w.server[a.open].finals == 0 && a.method == "INVITE" {
		add(1, func() error { return w.step(CancelIn{Leg: a.leg, Tx: a.open}) })
	}
	if a.over {
		return
	}
	w.earlyActions(a, add)
	if a.leg == LegCore && a.leg == w.caller && a.rel.seq > 0 {
		weight := 1
		switch {
		case a.rel.silent:
			weight = 0
		case a.rel.open:
			weight = 40
		}
		add(weight, func() error { return w.sendPrack(a) })
	}
	if a.mayOffer() && a.sess.seconds > 0 && !a.sess.ours {
		add(2, func() error { return w.sendRefresh(a) })
	}
	if a.mayOffer() {
		add(22, func() error { return w.sendOffer(a) })
	}
	if a.up && len(a.acks) == 0 {
		add(1, func() error { return w.sendBye(a) })
	}
	if a.up || a.leg == w.caller && a.seq > 0 {
		add(6, func() error { return w.sendOther(a) })
		if w.sounds && len(w.presses) < 60 {
			add(6, func() error { return w.sendDigits(a) })
		}
	}
	if !a.up && a.leg == w.caller && a.seq > 0 && a.open != "" {
		add(1, func() error { a.ourTag = []string{"at", "ct"}[a.leg]; return w.sendBye(a) }) // BYE of an early dialog
	}
}

// earlyActions are what an agent does in its early dialog.
func (w *world) earlyActions(a *agent, add func(int, func() error)) {
	if !a.mayOfferEarly() {
		return
	}
	weight := 8
	if a.pre.used && !a.pre.ready {
		weight = 60
	}
	add(weight, func() error { return w.sendEarlyOffer(a) })
	add(1, func() error { return w.sendOther(a) })
}

func (w *world) rareActions(add func(int, func() error)) {
	if name := w.nextTimer(); name != "" && (w.mgw.out == nil || w.timers[name].Sub(w.mgw.since) < 5*time.Second) { // a reply comes within 5 s
		weight := 1
		switch {
		case (name == timerRel || name == timerRelEnd) && w.agents[w.caller].rel.silent:
			weight = 100
		case strings.HasPrefix(name, timerAck), name == timerSettle, name == timerRel, name == timerAnnounce:
			weight = 10
		case strings.HasPrefix(name, "refresh"):
			weight = 4
		}
		add(weight, w.fireTimer)
	}
	if w.mgw.up {
		weight := 3
		if !w.secure {
			weight = 30
		}
		add(weight, w.notify)
	}
	add(w.r.IntN(4)/3, func() error {
		w.lost = true
		return w.step(FlowLost{})
	})
	if w.lost {
		add(20, func() error {
			w.lost = false
			return w.step(FlowBack{})
		})
	}
	if w.r.IntN(8) == 0 {
		add(1, func() error {
			dead := w.r.IntN(2) == 0
			w.mgw.dead = w.mgw.dead || dead
			return w.step(Release{Status: peertest.Pick(w.r, 0, 503, 480), Reason: "drain", Dead: dead})
		})
	}
	add(1, func() error { return w.step(IqReply{ID: "stale", Err: &IqError{Code: 500}}) })
	add(1, func() error { return w.step(TimerFired{Name: "no_such"}) })
	add(1, func() error { return w.step(CancelIn{Leg: w.caller, Tx: "no such"}) })
}

func (w *world) sendAck(a *agent) error {
	seq := a.acks[0]
	a.acks = a.acks[1:]
	_, late := a.replies[seq]
	var body []byte
	if late {
		if body = w.reply(a, seq); body == nil {
			w.refusals = true
			w.mustEnd = seq == a.invite && w.s.d.Phase == phaseUp
		}
	}
	m := a.request("ACK", body)
	m.Set("CSeq", headers.CSeq{Seq: seq, Method: "ACK"}.String())
	return w.step(AckIn{Leg: a.leg, Msg: m})
}

func (w *world) sendOffer(a *agent) error {
	method := peertest.Pick(w.r, "INVITE", "INVITE", "INVITE", "UPDATE")
	tx := w.tx(a, method)
	var m headers.Msg
	switch bare := w.r.IntN(15) == 0; {
	case bare && method == "INVITE":
		m = a.bareInvite(tx)
	case bare: // a target refresh
		m = a.request("UPDATE", nil)
	default:
		m = a.offers(method, tx)
	}
	w.asksTimer(a, tx, &m)
	for _, c := range w.openClients() {
		c.glare = c.glare || c.leg == a.leg && c.msg.Method == "INVITE" && !c.delivered
	}
	return w.step(RequestIn{Leg: a.leg, Tx: tx, Msg: m})
}

func (w *world) sendBye(a *agent) error {
	a.over = true
	return w.step(RequestIn{Leg: a.leg, Tx: w.tx(a, "BYE"), Msg: a.request("BYE", nil)})
}

// sendOther is a request that is no offer; some must be refused.
func (w *world) sendOther(a *agent) error {
	method := peertest.Pick(w.r, "INFO", "MESSAGE", "OPTIONS", "NOTIFY", "REFER", "PRACK", "SUBSCRIBE", "FANCY", "INFO")
	m := a.request(method, nil)
	switch w.r.IntN(12) {
	case 0:
		m.Set("From", "<sip:mallory@x.example>;tag=zz")
	case 1:
		m.Set("CSeq", "1 "+method)
	case 2:
		m.Add("Require", "fancy")
	case 3:
		m.Set("Max-Forwards", "0")
	}
	return w.step(RequestIn{Leg: a.leg, Tx: w.tx(a, method), Msg: m})
}

func (w *world) failClient(c *clientTx, timeout bool) error {
	c.final = true
	w.digitFinal(c.id, 0)
	if a := w.forkOf(headers.ToTag(&c.msg)); a != nil && c.msg.Method == "PRACK" {
		a.rel.failed = true
	}
	if headers.ToTag(&c.msg) != "" && c.msg.Method == "INVITE" {
		w.refusals = true
		if err := w.agents[c.leg].overhear(c.msg.Body); err != nil {
			return err
		}
	}
	return w.step(TxFailed{Leg: c.leg, Tx: c.id, Timeout: timeout})
}

// fireTimer lets the time of the earliest timer come.
func (w *world) fireTimer() error {
	first := w.nextTimer()
	if at := w.timers[first]; at.After(w.now) {
		w.now = at
	}
	delete(w.timers, first)
	w.gaveUp = w.gaveUp || first == timerAckEnd
	if first != timerAck && first != timerRel {
		w.seen["timer "+first]++
	}
	w.mustEnd = strings.HasPrefix(first, "expire") || first == timerRelEnd || first == timerReserve || first == timerAnnounce
	return w.step(TimerFired{Name: first})
}

func (w *world) nextTimer() (first string) {
	for name, at := range w.timers {
		if first == "" || at.Before(w.timers[first]) || at.Equal(w.timers[first]) && name < first {
			first = name
		}
	}
	return first
}

func (w *world) iqReply() error {
	if peertest.Chance(w.r, 2) {
		return w.step(w.refuse())
	}
	e, err := w.execute()
	if err != nil {
		return err
	}
	if w.r.IntN(60) == 0 { // an incomplete reply
		e.Reply.Actions[0].Commands = e.Reply.Actions[0].Commands[:len(e.Reply.Actions[0].Commands)-1]
	}
	return w.step(e)
}

func (w *world) notify() error {
	type ev = iqv1.ObservedEvent
	var e *ev
	switch i := w.r.IntN(30); {
	case !w.secure && i < 25 && (w.s.d.Phase == phaseUp || w.caller == LegAccess && w.agents[LegAccess].answer != nil):
		w.secure = true
		e = &ev{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}
	case i < 10:
		e = &ev{Type: iqv1.EventType_EVENT_TYPE_CONSENT_LOST}
	case i < 20:
		e = &ev{Type: iqv1.EventType_EVENT_TYPE_ICE_RESULT, Params: map[string]string{"result": "connected"}}
	case i < 23:
		e = &ev{Type: iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE}
	case i < 28:
		e = &ev{Type: iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE}
	case i == 28:
		e = &ev{Type: iqv1.EventType_EVENT_TYPE_ICE_RESULT, Params: map[string]string{"result": "failed"}}
	default:
		e = &ev{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": peertest.Pick(w.r, "failed", "closed")}}
	}
	return w.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: peertest.Pick(w.r, "cx1", "cx1", "cx1", "other"), Events: []*ev{e}}})
}

// respond has the agent answer one of our requests.
func (w *world) respond(c *clientTx) error {
	switch {
	case c.msg.Method == "INVITE" && headers.ToTag(&c.msg) == "":
		return w.respondInitial(c)
	case c.msg.Method == "INVITE":
		return w.respondReinvite(c)
	}
	c.final = true
	a := w.agents[c.leg]
	switch c.msg.Method {
	case "PRACK":
		return w.respondPrack(c)
	case "UPDATE":
		return w.respondUpdate(c, a)
	}
	status := peertest.Pick(w.r, 200, 200, 200, 200, 404, 500)
	if w.byClient[c.id] != nil {
		status = w.digitStatus(a)
		w.digitFinal(c.id, status)
		if a != nil && status == 481 && headers.ToTag(&c.msg) == a.tag {
			a.over = true
		}
		return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: headers.NewResponse(&c.msg, status, "")})
	}
	if c.msg.Method != "INFO" && w.r.IntN(20) == 0 {
		status = 481
	}
	if c.msg.Method == "BYE" || c.msg.Method == "INFO" && w.r.IntN(40) == 0 {
		status = peertest.Pick(w.r, 200, 481)
		if c.msg.Method == "INFO" {
			status = 481
		}
		if a != nil && headers.ToTag(&c.msg) == a.tag {
			a.over = true
		}
	}
	return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: headers.NewResponse(&c.msg, status, "")})
}

func (w *world) clientIDs() []string {
	var ids []string
	for id := range w.client {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (w *world) respondReinvite(c *clientTx) error {
	a := w.agents[c.leg]
	c.final = true
	status := 0
	switch {
	case a.over:
		status = 481
	case c.cancelled && w.r.IntN(3) > 0:
		status = 487
	case c.glare && w.r.IntN(2) == 0:
		status = 491
	case w.r.IntN(12) == 0:
		status = peertest.Pick(w.r, 491, 488, 500, 481, 408)
	}
	if status == 0 && c.msg.Has("Session-Expires") && w.again < 5 && w.r.IntN(12) == 0 {
		return w.reinviteLonger(c, a)
	}
	if status == 0 {
		body, err := a.takesOffer(c.msg.Body)
		if err != nil {
			return err
		}
		if body != nil {
			return w.answer2xx(c, a, body)
		}
		status = 488
	} else if err := a.overhear(c.msg.Body); err != nil {
		return err
	}
	w.refusals = true
	a.over = a.over || status == 481
	return w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: a.response(&c.msg, status, nil)})
}

// reinviteLonger is a 422 to a re-INVITE of ours, which has to come again.
func (w *world) reinviteLonger(c *clientTx, a *agent) error {
	if err := a.overhear(c.msg.Body); err != nil {
		return err
	}
	w.again++
	w.seen["422 to our re-INVITE"]++
	up := w.s.d.Phase == phaseUp && !c.cancelled
	m, _ := tooSmall(w, &c.msg, a)
	if err := w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: m}); err != nil || !up {
		return err
	}
	for _, n := range w.openClients() {
		if n.leg == c.leg && (n.msg.Method == "INVITE" || n.msg.Method == "UPDATE") {
			return nil
		}
	}
	return errors.New("no further INVITE after 422 (RFC 4028 §7.3)")
}
