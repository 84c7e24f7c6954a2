package flow

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// Access is a termination towards a browser: ICE, lite or full, DTLS-SRTP, rtcp-mux. Its methods are safe from any goroutine but that of
// Config.Events.
type Access struct {
	e     *Engine
	w     *worker
	sock  *accessSock
	s     *accessState // owned by the worker
	id    string
	full  bool // full ICE
	ssrc  uint32
	cname string
	// locals are our candidates, the default one first.
	locals []Candidate
	cert   tls.Certificate
	print  Fingerprint

	newest atomic.Uint64                                // generation of the newest credentials
	inUse  atomic.Uint64                                // generation whose pair is selected, 0: none; written by the worker
	hints  atomic.Pointer[map[netip.AddrPort]Candidate] // candidates of the peer, to name pairs by

	// A termination whose RTCP has a component of its own has a second Access for that, whose parent it is.
	parent     *Access
	component2 *Access // guarded by mu
	aside      *Access // component2 while it is given up, and may come back; guarded by mu
	gaveUp     bool    // component2 is no more, for good; guarded by mu

	wg sync.WaitGroup // handshakes and retirements

	mu     sync.Mutex // guards all below; never taken by the worker
	gens   []generation
	made   uint64 // generations so far
	peer   association
	run    *handshake
	former *handshake // the association in service until run has ended; nil: none
	closed bool
	ended  chan struct{} // closed when final holds
	final  Stats
}

// generation is one set of local ICE credentials and the peer's that they are used with.
type generation struct {
	n          uint64
	agent      *ice.Agent
	ufrag, pwd string // the peer's; empty before Start
}

// ID is that of the spec.
func (a *Access) ID() string { return a.id }

// Local is what the peer must be told; after an ICE restart the new credentials.
func (a *Access) Local() AccessLocal {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.gens[len(a.gens)-1]
	candidates := slices.Clone(a.locals)
	if a.component2 != nil {
		candidates = append(candidates, a.component2.locals...)
	}
	return AccessLocal{
		Ufrag: g.agent.Ufrag(), Pwd: g.agent.Pwd(), Candidates: candidates,
		Fingerprints: []Fingerprint{a.print}, SSRC: a.ssrc, CName: a.cname,
	}
}

// SetRemote takes the peer's half; it may be called again. Errors: ErrBadRemote, ErrClosed.
func (a *Access) SetRemote(r AccessRemote) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("%s: %w", a.id, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return fmt.Errorf("%s: %w", a.id, ErrClosed)
	}
	if !r.Mux {
		a.regainComponent2()
	}
	a.remember(r.Candidates)
	if r.Ufrag != "" {
		if err := a.setCredentials(&r); err != nil {
			return fmt.Errorf("%s: %w", a.id, err)
		}
	}
	a.setPeer(r)
	return a.tellComponent2(r)
}

// check refuses what cannot work before anything changes.
func (r *AccessRemote) check() error {
	switch {
	case (r.Ufrag == "") != (r.Pwd == ""):
		return fmt.Errorf("%w: ufrag without pwd or the reverse", ErrBadRemote)
	case r.Ufrag != "" && (!iceText(r.Ufrag, 4) || !iceText(r.Pwd, 22)):
		return fmt.Errorf("%w: ICE credentials", ErrBadRemote) // RFC 8839 §5.4
	case r.Role > RoleClient:
		return fmt.Errorf("%w: DTLS role", ErrBadRemote)
	}
	if len(r.Fingerprints) > 0 && !slices.ContainsFunc(r.Fingerprints, func(f Fingerprint) bool { return dtls.Fingerprint(f).Valid() }) {
		return fmt.Errorf("%w: no fingerprint with an accepted hash", ErrBadRemote)
	}
	return nil
}

// iceText reports whether s is ice-chars, as many at least (RFC 8839 §5.4).
// DEVIATES RFC 8839 §5.1: "-", "_" and "=" pass too, as some stacks send base64url or padded values.
func iceText(s string, least int) bool {
	if len(s) < least || len(s) > 256 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '-', c == '_', c == '=':
		default:
			return false
		}
	}
	return true
}

// remember keeps the peer's candidates, at most 64, to tell their type and foundation in events.
func (a *Access) remember(cs []Candidate) {
	if len(cs) == 0 {
		return
	}
	m := make(map[netip.AddrPort]Candidate)
	for _, c := range cs[:min(len(cs), 64)] {
		if ip, err := netip.ParseAddr(c.Address); err == nil && strings.EqualFold(c.Transport, "udp") {
			m[netip.AddrPortFrom(ip.Unmap(), c.Port)] = c
		}
	}
	a.hints.Store(&m)
}

// setCredentials starts the newest generation with the peer's credentials, or a new one if they are an ICE restart. Caller holds mu.
func (a *Access) setCredentials(r *AccessRemote) error {
	g := &a.gens[len(a.gens)-1]
	if g.agent.Started() {
		if g.ufrag == r.Ufrag && g.pwd == r.Pwd {
			g.agent.AddCandidates(a.remotes(r.Candidates))
			return nil
		}
		if a.parent != nil || a.revert(r) { // the parent has made the generation for both, or taken it back
			return nil
		}
		a.newGeneration()
		g = &a.gens[len(a.gens)-1]
	}
	g.ufrag, g.pwd = r.Ufrag, r.Pwd
	if a.full {
		return a.startFull(g.agent, r)
	}
	return g.agent.Start(r.Ufrag, r.Pwd)
}

// newGeneration makes fresh local credentials beside the present ones. Caller holds mu.
func (a *Access) newGeneration() {
	agent := a.generation("", "")
	if a.component2 != nil {
		a.component2.mu.Lock()
		defer a.component2.mu.Unlock()
		a.component2.generation(agent.Ufrag(), agent.Pwd())
	}
}

// generation is newGeneration with given credentials; empty: fresh ones. Caller holds mu.
func (a *Access) generation(ufrag, pwd string) *ice.Agent {
	n := a.made + 1
	agent := ice.NewAgent(ice.Config{Mux: a.sock.mux, Local: a.localPriority, Ufrag: ufrag, Pwd: pwd, Checked: func(c ice.Check) {
		a.post(func() { a.s.check(a.w.now, n, c) })
	}})
	// Of restarts in a row these matter: the one in use, the last, whose nomination may be on its way to us, and the newest.
	kept := a.gens[:0]
	inUse := a.inUse.Load()
	for i, g := range a.gens {
		if g.n == inUse || inUse == 0 && i == 0 || i == len(a.gens)-1 {
			kept = append(kept, g)
		} else {
			g.agent.Close()
		}
	}
	clear(a.gens[len(kept):])
	a.gens, a.made = append(kept, generation{n: n, agent: agent}), n
	a.newest.Store(n)
	a.post(a.s.restarted)
	return agent
}

// RestartICE makes new local credentials ahead of an offer of ours; the old pair stays in use until the peer nominates with the new ones.
// SetRemote with the peer's new credentials completes it. It does nothing while credentials wait for the peer's. Errors: ErrClosed.
func (a *Access) RestartICE() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return fmt.Errorf("%s: %w", a.id, ErrClosed)
	}
	if !a.gens[len(a.gens)-1].agent.Started() {
		return nil
	}
	a.newGeneration()
	return nil
}

// retire ends the generations before n, which has a nominated pair. Called by the worker; the work is done elsewhere.
func (a *Access) retire(n uint64) {
	a.wg.Go(func() {
		a.mu.Lock()
		var old []*ice.Agent
		a.gens = slices.DeleteFunc(a.gens, func(g generation) bool {
			if g.n < n {
				old = append(old, g.agent)
			}
			return g.n < n
		})
		a.mu.Unlock()
		for _, g := range old {
			g.Close()
		}
	})
}

// sendDTLS sends to the peer's present address; from pion's goroutines.
func (a *Access) sendDTLS(b []byte) error {
	to := a.s.peer.Load()
	if to == nil {
		return udpio.ErrClosed
	}
	return a.sock.sendControl(b, *to)
}

// post queues f for the worker; it is dropped when the termination has ended by then.
func (a *Access) post(f func()) {
	a.w.post(func() {
		if !a.s.t.closed {
			f()
		}
	})
}

// pair describes the selected pair; called by the worker.
func (a *Access) pair(remote netip.AddrPort, priority uint32) Pair {
	if st := a.s.sock.streams[remote]; st != nil {
		return Pair{Local: a.localFor(st.Remote.Addr(), "tcp"), Remote: Candidate{
			Foundation: "prflx", Component: 1, Transport: "tcp", Priority: priority,
			Address: st.Remote.Addr().String(), Port: st.Remote.Port(), Type: "prflx", TCPType: "active",
		}}
	}
	if m := a.hints.Load(); m != nil {
		if c, ok := (*m)[remote]; ok {
			return Pair{Local: a.localFor(remote.Addr(), "udp"), Remote: c}
		}
	}
	return Pair{Local: a.localFor(remote.Addr(), "udp"), Remote: Candidate{
		Foundation: "prflx", Component: 1, Transport: "udp", Priority: priority, Address: remote.Addr().String(), Port: remote.Port(), Type: "prflx",
	}}
}

// localFor is our candidate of a transport that a remote address pairs with.
func (a *Access) localFor(remote netip.Addr, transport string) Candidate {
	for _, c := range a.locals {
		if ip, err := netip.ParseAddr(c.Address); c.Transport == transport && err == nil && ip.Is6() == remote.Is6() {
			return c
		}
	}
	return Candidate{}
}

// Configure replaces the settings. Errors: ErrBadSettings, ErrClosed; then the settings before stay.
func (a *Access) Configure(s Settings) error { return configure(a.w, a.s.t, s) }

// Play plays signals in the place of those that are playing. Errors: ErrNoCodec, ErrBusy, ErrClosed; then those go on.
func (a *Access) Play(s Signals) error { return play(a.w, a.s.t, s) }

// Stats reads the counters.
func (a *Access) Stats() Stats {
	var s Stats
	if a.w.alive(a.s.t, func() { s = a.s.t.stats() }) {
		return s
	}
	<-a.ended
	return a.final
}

// Close ends the termination, waits until its goroutines are gone and returns the final counters. Idempotent; later calls return the same.
func (a *Access) Close() Stats {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		<-a.ended
		return a.final
	}
	a.closed = true
	seconds := []*Access{a.component2, a.aside}
	a.mu.Unlock()
	final := a.shut()
	for _, c := range seconds {
		if c != nil {
			c.shut()
		}
	}
	a.e.gone(a.w, a, nil)
	a.final = final
	close(a.ended)
	return final
}

// shut ends what a has of its own and waits for it.
func (a *Access) shut() Stats {
	a.mu.Lock()
	a.closed = true
	runs, gens := []*handshake{a.run, a.former}, slices.Clone(a.gens) // a retirement may still change the original
	a.mu.Unlock()

	var final Stats
	a.w.do(func() {
		final = a.s.t.stats()
		a.s.t.close()
	})
	for _, run := range runs {
		if run != nil {
			run.stop() // close_notify still finds the peer's address
		}
	}
	for _, g := range gens {
		g.agent.Close()
	}
	a.wg.Wait()
	return final
}
