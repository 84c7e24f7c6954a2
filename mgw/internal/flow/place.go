package flow

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
)

// NewAccess makes an access termination, Inactive and with nothing armed. Errors: ErrUnknownRealm, ErrClosed.
func (e *Engine) NewAccess(spec AccessSpec) (*Access, error) {
	w, err := e.place(spec.Near)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	a, err := e.newAccess(w, spec)
	if err != nil {
		e.unplace(w)
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	e.mu.Lock()
	closed := e.closed
	e.accesses[a] = struct{}{}
	e.mu.Unlock()
	if closed {
		a.Close()
		return nil, fmt.Errorf("%s: %w", spec.ID, ErrClosed)
	}
	return a, nil
}

func (e *Engine) newAccess(w *worker, spec AccessSpec) (*Access, error) {
	var sock *accessSock
	for _, as := range w.access {
		if as.realm == spec.Realm {
			sock = as
		}
	}
	if sock == nil {
		return nil, fmt.Errorf("%w %q", ErrUnknownRealm, spec.Realm)
	}
	if spec.Component2 && sock.component2 == nil {
		return nil, fmt.Errorf("%w in realm %q", ErrNoComponent, spec.Realm)
	}
	a := &Access{e: e, w: w, sock: sock, id: spec.ID, full: spec.Full, ssrc: spec.SSRC, cname: spec.CName, ended: make(chan struct{})}
	e.mu.Lock()
	a.cert, a.print = e.cert, e.print
	e.mu.Unlock()
	identity(&a.ssrc, &a.cname)
	a.locals = sock.candidates()
	t := &term{owner: a, w: w, number: spec.Stream}
	a.s = &accessState{t: t, a: a, sock: sock}
	t.access = a.s
	t.out = outbound{secure: true, consent: true, sock: sock.sock, stamp: newStamper(a.ssrc)}
	if spec.Component2 {
		a.openComponent2()
	}
	a.newGeneration()
	w.do(func() { t.begin() })
	return a, nil
}

// NewCore makes a core termination, Inactive and with nothing armed. Errors: ErrUnknownRealm, ErrPortsExhausted, ErrClosed.
func (e *Engine) NewCore(spec CoreSpec) (*Core, error) {
	realm := e.cores[spec.Realm]
	if realm == nil {
		return nil, fmt.Errorf("%s: %w %q", spec.ID, ErrUnknownRealm, spec.Realm)
	}
	w, err := e.place(spec.Near)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	c, err := e.newCore(w, realm, spec)
	if err != nil {
		e.unplace(w)
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	e.mu.Lock()
	closed := e.closed
	e.coreSet[c] = struct{}{}
	e.mu.Unlock()
	if closed {
		c.Close()
		return nil, fmt.Errorf("%s: %w", spec.ID, ErrClosed)
	}
	return c, nil
}

func (e *Engine) newCore(w *worker, realm *coreRealm, spec CoreSpec) (*Core, error) {
	media, control, even, err := realm.open()
	if err != nil {
		return nil, err
	}
	c := &Core{e: e, w: w, realm: realm, id: spec.ID, cname: spec.CName, even: even, ended: make(chan struct{})}
	ssrc := spec.SSRC
	identity(&ssrc, &c.cname)
	c.local = CoreLocal{RTP: netip.AddrPortFrom(realm.advertise, even), RTCP: netip.AddrPortFrom(realm.advertise, even+1), SSRC: ssrc, CName: c.cname, Keys: newKeys()}
	t := &term{owner: c, w: w, number: spec.Stream}
	c.s = &coreState{t: t, c: c, rtp: media, rtcp: control}
	t.core = c.s
	t.out = outbound{consent: true, sock: media, stamp: newStamper(ssrc)}
	w.do(func() {
		if c.s.keys[0], err = w.watch(media, sockRef{core: c.s}); err != nil {
			return
		}
		if c.s.keys[1], err = w.watch(control, sockRef{core: c.s, rtcp: true}); err != nil {
			w.unwatch(media, c.s.keys[0])
			return
		}
		t.begin()
	})
	if err != nil {
		realm.release(media, control, even)
		return nil, err
	}
	return c, nil
}

// begin starts t on its worker.
func (t *term) begin() {
	t.since = t.w.now
	t.in.heard = t.w.now
	t.w.join(t)
}

func (a *Access) place() *worker {
	if a == nil {
		return nil
	}
	return a.w
}

func (c *Core) place() *worker {
	if c == nil {
		return nil
	}
	return c.w
}

// place picks that of near, or the one that pick finds.
func (e *Engine) place(near Neighbour) (*worker, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	var w *worker
	if near != nil {
		w = near.place()
	}
	if w == nil {
		w = e.pick()
	}
	e.placed[w]++
	return w, nil
}

func (e *Engine) unplace(w *worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.placed[w]--
}

// gone forgets a closed termination.
func (e *Engine) gone(w *worker, a *Access, c *Core) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.accesses, a)
	delete(e.coreSet, c)
	e.placed[w]--
}

// identity fills in what the spec left to us: a random SSRC (RFC 3550 §8.1) and a short-term CNAME (RFC 7022 §4.2).
func identity(ssrc *uint32, cname *string) {
	for *ssrc == 0 {
		*ssrc = random32()
	}
	if *cname == "" {
		var b [12]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		*cname = base64.StdEncoding.EncodeToString(b[:])
	}
}

func random32() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}

// newStamper starts a stream at random numbers (RFC 3550 §5.1); the sequence in its lower half (RFC 3711 §3.3.1).
func newStamper(ssrc uint32) *stamp.Stamper {
	return stamp.New(stamp.Config{SSRC: ssrc, Seq: uint16(random32()) & 0x7fff, TS: random32()})
}
