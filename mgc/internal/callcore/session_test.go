package callcore

import (
	"fmt"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
)

// session is what an agent and we have agreed on the session timer of its dialog (RFC 4028); seconds 0: none.
type session struct {
	seconds uint32
	ours    bool // we refresh
	from    time.Time
}

// asksTimer adds to a request of the agent what it wants of a session timer, and notes what must come of it.
func (w *world) asksTimer(a *agent, tx string, m *headers.Msg) {
	s := w.server[tx]
	if s.knows = w.r.IntN(2) == 0; s.knows {
		m.Add("Supported", "timer")
	}
	if w.r.IntN(3) > 0 {
		return
	}
	s.seconds = peertest.Pick[uint32](w.r, 60, 90, 300, 300, 900, 1800, 1800)
	if !s.knows {
		s.seconds = max(s.seconds, 90) // a proxy put it in
	}
	e := headers.SessionExpires{Seconds: s.seconds, Refresher: peertest.Pick(w.r, "", "", "uac", "uas")}
	if s.refresher = e.Refresher; !s.knows {
		e.Refresher, s.refresher = "", ""
	}
	m.Set("Session-Expires", e.String())
}

// takeTimer checks what our response to the agent's INVITE or UPDATE says of the session timer and takes it.
func (w *world) takeTimer(a *agent, tx *serverTx, m *headers.Msg) error {
	if m.Status == 422 {
		least, ok := headers.MinSE(m)
		if !ok || least < 90 || !tx.knows || tx.seconds == 0 || tx.seconds >= least {
			return fmt.Errorf("422 with Min-SE %d for a session of %d s", least, tx.seconds)
		}
		return nil
	}
	if m.Status < 200 || m.Status >= 300 || tx.method != "INVITE" && tx.method != "UPDATE" || tx.early {
		return nil
	}
	a.sess = session{from: w.now}
	if !m.Has("Session-Expires") {
		if tx.seconds != 0 && (tx.knows || a.leg == LegCore) {
			return fmt.Errorf("%d without the session timer that was asked for (RFC 4028 §9)", m.Status)
		}
		return nil
	}
	e, err := headers.ParseSessionExpires(m.Get("Session-Expires"))
	switch {
	case err != nil || e.Seconds < 90 || e.Refresher == "":
		return fmt.Errorf("Session-Expires %q", m.Get("Session-Expires"))
	case tx.seconds != 0 && e.Seconds > tx.seconds:
		return fmt.Errorf("session of %d s, asked for %d (RFC 4028 §9)", e.Seconds, tx.seconds)
	case tx.refresher != "" && tx.refresher != e.Refresher:
		return fmt.Errorf("refresher %s, asked for %s (RFC 4028 §9)", e.Refresher, tx.refresher)
	case e.Refresher == "uac" && (!tx.knows || !headers.HasToken(m, "Require", "timer")):
		return fmt.Errorf("refresher uac, which knows timers: %v, Require %q", tx.knows, m.Get("Require"))
	}
	a.sess.seconds, a.sess.ours = e.Seconds, e.Refresher == "uas"
	return nil
}

// grant adds to the agent's 2xx what it grants of the session timer that our request asks for.
func (a *agent) grant(req, m *headers.Msg) {
	a.sess = session{}
	e, err := headers.ParseSessionExpires(req.Get("Session-Expires"))
	if err != nil || peertest.Chance(a.r, 20) {
		return
	}
	if e.Refresher == "" {
		e.Refresher = peertest.Pick(a.r, "uac", "uac", "uas")
	}
	if least, _ := headers.MinSE(req); e.Seconds > 600 && peertest.Chance(a.r, 30) {
		e.Seconds = max(600, least)
	}
	m.Set("Session-Expires", e.String())
	if e.Refresher == "uac" {
		m.Add("Require", "timer")
	}
	a.sess = session{seconds: e.Seconds, ours: e.Refresher == "uac"}
}

// askedRight checks what a request of ours says of the session timer.
func (w *world) askedRight(a *agent, m *headers.Msg) error {
	if !m.Has("Session-Expires") {
		return nil
	}
	e, err := headers.ParseSessionExpires(m.Get("Session-Expires"))
	switch {
	case err != nil || e.Seconds < 90 || !headers.HasToken(m, "Supported", "timer"):
		return fmt.Errorf("Session-Expires %q, Supported %q", m.Get("Session-Expires"), m.Get("Supported"))
	case a == nil || !a.up || a.sess.seconds == 0:
		return nil
	case e.Seconds < a.sess.seconds || e.Refresher == "uac" != a.sess.ours:
		return fmt.Errorf("Session-Expires %q within a session of %d s that we refresh: %v (RFC 4028 §7.4)", e, a.sess.seconds, a.sess.ours)
	}
	return nil
}

// askLonger is a 422 to our initial INVITE, which has to come again.
func (w *world) askLonger(c *clientTx, a *agent) error {
	m, least := tooSmall(w, &c.msg, a)
	c.final, c.refused = true, true
	w.forks = nil
	w.again++
	w.seen["422 to our INVITE"]++
	calling := w.s.d.Phase == phaseCall
	if err := w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: m}); err != nil || !calling {
		return err
	}
	for _, n := range w.openClients() {
		if e, err := headers.ParseSessionExpires(n.msg.Get("Session-Expires")); err == nil && n.msg.Method == "INVITE" && e.Seconds >= least {
			return nil
		}
	}
	return fmt.Errorf("no further INVITE after 422 (RFC 4028 §7.3)")
}

func tooSmall(w *world, req *headers.Msg, a *agent) (headers.Msg, uint32) {
	e, _ := headers.ParseSessionExpires(req.Get("Session-Expires"))
	least := e.Seconds + 100*(1+uint32(w.r.IntN(5)))
	m := a.response(req, 422, nil)
	m.Set("Min-SE", strconv.FormatUint(uint64(least), 10))
	return m, least
}

// respondUpdate has the agent answer our refresh.
func (w *world) respondUpdate(c *clientTx, a *agent) error {
	if len(c.msg.Body) > 0 {
		return fmt.Errorf("UPDATE with a body")
	}
	status := peertest.Pick(w.r, 200, 200, 200, 200, 200, 405, 501, 422, 491, 500, 481, 408)
	if a.over {
		status = 481
	}
	w.seen["refresh by UPDATE"]++
	up := w.s.d.Phase == phaseUp
	m := a.response(&c.msg, status, nil)
	switch status {
	case 200:
		a.grant(&c.msg, &m)
	case 405, 501:
		a.update = false
	case 422:
		if !c.msg.Has("Session-Expires") {
			m.Status = 500
			break
		}
		m, _ = tooSmall(w, &c.msg, a)
	case 481:
		a.over = true
	}
	if err := w.step(ResponseIn{Leg: c.leg, Tx: c.id, Msg: m}); err != nil || !up || m.Status == 200 || w.ending || !a.sess.ours {
		return err
	}
	for _, n := range w.openClients() {
		if n.leg == c.leg && (n.msg.Method == "INVITE" || n.msg.Method == "UPDATE") {
			return nil
		}
	}
	if _, ok := w.timers[timerRefresh(c.leg)]; !ok {
		return fmt.Errorf("no further refresh after %d", m.Status)
	}
	return nil
}

// sendRefresh is the agent's refresh: an UPDATE without an offer.
func (w *world) sendRefresh(a *agent) error {
	tx := w.tx(a, "UPDATE")
	s := w.server[tx]
	s.knows, s.seconds, s.want = true, a.sess.seconds, []int{200}
	m := a.request("UPDATE", nil)
	m.Set("Supported", "timer")
	m.Set("Session-Expires", headers.SessionExpires{Seconds: s.seconds, Refresher: "uac"}.String())
	if s.refresher = "uac"; w.s.d.Phase == phaseEnding {
		s.want = []int{481}
	}
	return w.step(RequestIn{Leg: a.leg, Tx: tx, Msg: m})
}

// timed checks the timers against what was agreed.
func (w *world) timed() error {
	if w.s.d.Phase != phaseUp {
		return nil
	}
	for _, a := range w.agents {
		if a == nil || !a.up || a.over {
			continue
		}
		if a.sess.from.IsZero() {
			a.sess.from = w.now // granted by the response of this step
		}
		expire, ok := w.timers[timerExpire(a.leg)]
		if ok != (a.sess.seconds != 0) {
			return fmt.Errorf("%s: expiry guarded %v, agreed %d s", a.leg, ok, a.sess.seconds)
		}
		if !ok {
			continue
		}
		whole := time.Duration(a.sess.seconds) * time.Second
		if want := a.sess.from.Add(whole - min(32*time.Second, whole/3)); !expire.Equal(want) {
			return fmt.Errorf("%s: expires at %s, want %s (RFC 4028 §10)", a.leg, expire, want)
		}
		if _, ok := w.timers[timerRefresh(a.leg)]; ok && !a.sess.ours {
			return fmt.Errorf("%s: we refresh, agreed otherwise", a.leg)
		} else if !ok && a.sess.ours && !w.refreshing(a.leg) && expire.Sub(w.now) > 12*time.Second {
			return fmt.Errorf("%s: nobody refreshes", a.leg)
		}
	}
	return nil
}

func (w *world) refreshing(l Leg) bool {
	for _, c := range w.openClients() {
		if c.leg == l && (c.msg.Method == "UPDATE" || c.msg.Method == "INVITE" && headers.ToTag(&c.msg) != "") {
			return true
		}
	}
	return false
}
