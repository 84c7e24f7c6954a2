package flow

import (
	"errors"
	"fmt"
)

// A client without rtcp-mux gets a second component for RTCP (RFC 8858 §4, TS 24.371 §7.2.1): candidates on ports of their own, checks with the credentials
// of the data stream, a DTLS association by the same certificate and fingerprints, SRTCP by its keys (RFC 5764 §3). It is an Access of its own that has no
// media: what it receives is the parent's, and the parent's reports leave by it.

// openComponent2 opens the ports of component 2 of the i-th worker.
func (e *Engine) openComponent2(w *worker, r AccessRealm, i int) (*accessSock, error) {
	r.Name, r.Port, r.RTCP, r.TCP = r.Name+"/rtcp", r.RTCPPort, false, 0 // no termination is placed in a realm with this name
	if err := e.openAccess(w, r, i); err != nil {
		return nil, err
	}
	as := w.access[len(w.access)-1]
	as.component = 2
	return as, nil
}

// openComponent2 makes the second component of a termination that is being made.
func (a *Access) openComponent2() {
	c := &Access{e: a.e, w: a.w, sock: a.sock.component2, id: a.id, full: a.full, parent: a, cert: a.cert, print: a.print, ended: make(chan struct{})}
	c.locals = c.sock.candidates()
	t := &term{owner: a, w: a.w}
	c.s = &accessState{t: t, a: c, sock: c.sock, component2: true}
	t.access = c.s
	t.out = outbound{secure: true, consent: true, sock: c.sock.sock, stamp: newStamper(1)}
	a.component2 = c
	a.w.do(func() {
		a.s.t.component2 = t
		t.begin()
		t.weigh(0) // reports only
	})
}

// component is 1, or 2 of RTCP.
func (a *Access) component() uint32 {
	if a.parent != nil {
		return 2
	}
	return 1
}

// errGivenUp: what a description asks for needs the component that was given up for good.
var errGivenUp = errors.New("component 2 (RTCP) was given up")

// tellComponent2 tells the second component of the peer, or puts it aside: what made the peer multiplex may still be undone. Caller holds mu. Errors: ErrBadRemote, errGivenUp.
func (a *Access) tellComponent2(r AccessRemote) error {
	switch {
	case a.component2 == nil && a.gaveUp && !r.Mux:
		return fmt.Errorf("%s: %w", a.id, errGivenUp)
	case a.component2 == nil:
		return nil
	}
	if !r.Mux {
		return a.component2.SetRemote(r)
	}
	a.component2, a.aside = nil, a.component2
	a.w.do(func() { a.s.t.component2 = nil })
	return nil
}

// regainComponent2 takes back that the second component was put aside, with all that it had. Caller holds mu.
func (a *Access) regainComponent2() {
	if c := a.aside; c != nil {
		a.component2, a.aside = c, nil
		a.w.do(func() { a.s.t.component2 = c.s.t })
	}
}

// GiveUpComponent2 ends the second component for good, after which SetRemote without Mux is refused. Without one it does nothing.
func (a *Access) GiveUpComponent2() {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.component2
	if c == nil {
		c = a.aside
	}
	if c == nil || a.closed {
		return
	}
	a.component2, a.aside, a.gaveUp = nil, nil, true
	a.w.do(func() { a.s.t.component2 = nil })
	a.wg.Go(func() { c.shut() })
}

// emitComponent2 reports of the second component what ends the stream: a stream that lacks a component has failed (RFC 8445 §6.1.2.1).
func (t *term) emitComponent2(e Event) {
	parent := t.access.a.parent.s.t
	if e.Kind != ICEFailed && e.Kind != DTLSFailed || parent.component2 != t { // put aside
		return
	}
	e.Reason = "component 2 (RTCP): " + e.Reason
	parent.emit(e)
}
