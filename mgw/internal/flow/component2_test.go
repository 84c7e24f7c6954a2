package flow

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	pionice "github.com/pion/ice/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// twoSockets is a WebRTC client without rtcp-mux: two components with one set of credentials, each with a socket and a DTLS association of its own.
type twoSockets struct{ rtp, rtcp *browser }

func newTwoSockets(t *testing.T, ufrag string, controlling bool) twoSockets {
	t.Helper()
	var p twoSockets
	for _, b := range []**browser{&p.rtp, &p.rtcp} {
		*b = newBrowserOver(t, pionice.NetworkTypeUDP4, pionice.WithLocalCredentials(ufrag, strings.Repeat("p", 22)))
		(*b).accept = !controlling
	}
	p.rtcp.cert, p.rtcp.print = p.rtp.cert, p.rtp.print
	return p
}

func (p twoSockets) remote(controlled bool) AccessRemote {
	r := p.rtp.remote(RoleServer)
	r.Controlling = !controlled
	r.Candidates = p.rtp.candidates()
	for _, c := range p.rtcp.candidates() {
		c.Component = 2
		r.Candidates = append(r.Candidates, c)
	}
	return r
}

// ofComponent is what concerns one component.
func ofComponent(l AccessLocal, n uint32) AccessLocal {
	l.Candidates = slices.DeleteFunc(slices.Clone(l.Candidates), func(c Candidate) bool { return c.Component != n })
	return l
}

func withRTCP(c *Config) {
	c.Access[0].RTCP = true
	c.Timers.RTCP = 100 * time.Millisecond
}

// connect connects both components.
func (p twoSockets) connect(t *testing.T, l AccessLocal) {
	t.Helper()
	for i, b := range []*browser{p.rtp, p.rtcp} {
		b.connect(ofComponent(l, uint32(i+1)))
	}
}

func (p twoSockets) secure(t *testing.T, l AccessLocal) {
	t.Helper()
	for _, b := range []*browser{p.rtp, p.rtcp} {
		if err := b.secure(l, true); err != nil {
			t.Fatal(err)
		}
	}
}

// newCallWithoutMux is a call with a client that has two components, both connected.
func newCallWithoutMux(t *testing.T, full bool) (*call, twoSockets) {
	t.Helper()
	spec := relaySpec()
	x := &call{bed: newBed(t, withRTCP)}
	var err error
	if x.a, err = x.e.NewAccess(AccessSpec{ID: "a1", Realm: "access", Full: full, Component2: true}); err != nil {
		t.Fatal(err)
	}
	x.joinCore(t, "c1", spec)
	p := newTwoSockets(t, "user1", !full)
	x.b = p.rtp
	l := x.a.Local()
	if len(ofComponent(l, 1).Candidates) != 1 || len(ofComponent(l, 2).Candidates) != 1 || ofComponent(l, 2).Candidates[0].Priority != ofComponent(l, 1).Candidates[0].Priority-1 ||
		ofComponent(l, 2).Candidates[0].Port == ofComponent(l, 1).Candidates[0].Port {
		t.Fatalf("candidates %+v", l.Candidates)
	}
	if err := x.a.SetRemote(p.remote(!full)); err != nil {
		t.Fatal(err)
	}
	p.connect(t, l)
	p.secure(t, l)
	x.ev.wait(t, x.a, DTLSConnected, 1)
	x.exchange(5, 1)
	return x, p
}

// nextReport waits for a report of ours at b.
func nextReport(t *testing.T, b *browser, want uint32) (info rtcp.Info) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case m := <-b.media:
			if !rtp.IsRTCP(m) {
				continue
			}
			plain, err := b.rx.OpenRTCP(m)
			if err != nil {
				t.Fatal(err)
			}
			if rtcp.Parse(plain, 0xbb, false, &info) == nil && info.Sender == want {
				return info
			}
		case <-limit:
			t.Fatal("no report")
		}
	}
}

// TestR8858_ClientWithoutMux: RTP and RTCP of a client without rtcp-mux have each a component with candidates, checks and a DTLS association of their
// own, with lite and with full ICE; a restart concerns both. When the client turns out to multiplex, the second component goes.
func TestR8858_ClientWithoutMux(t *testing.T) {
	for name, full := range map[string]bool{"lite": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			x, p := newCallWithoutMux(t, full)
			info := nextReport(t, p.rtcp, x.a.Local().SSRC)
			loss := func(b *browser, lost byte) {
				rr := lossReport(0xbb, x.a.Local().SSRC, lost)
				put32(rr[24:], uint32(info.NTP>>16))
				prot, err := b.tx.ProtectRTCP(rr)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.conn.Write(prot); err != nil {
					t.Fatal(err)
				}
			}
			loss(p.rtcp, 64)
			eventually(t, "the report of 25 % loss", func() bool { return x.a.Stats().RemoteLossPermille == 250 })
			for len(p.rtp.media) > 0 {
				if m := <-p.rtp.media; rtp.IsRTCP(m) {
					t.Error("RTCP among the media")
				}
			}
			// Media on component 2 goes nowhere.
			prot, err := p.rtcp.tx.ProtectRTP(append(make([]byte, 0, 300), packet(8, 0xbb, 9, 9, make([]byte, 160))...))
			if err == nil {
				_, err = p.rtcp.conn.Write(prot)
			}
			if err != nil {
				t.Fatal(err)
			}
			x.exchange(3, 10)

			// A restart: new credentials for both.
			next := newTwoSockets(t, "user2", !full)
			for i, b := range []*browser{next.rtp, next.rtcp} {
				old := []*browser{p.rtp, p.rtcp}[i]
				b.inherit(old)
			}
			r := next.remote(!full)
			r.Role = 0
			if err := x.a.SetRemote(r); err != nil {
				t.Fatal(err)
			}
			next.connect(t, x.a.Local())
			x.ev.wait(t, x.a, ICEConnected, 2)
			x.b = next.rtp
			x.exchange(3, 20)
			info = nextReport(t, next.rtcp, x.a.Local().SSRC)
			loss(next.rtcp, 128)
			eventually(t, "the report of 50 % loss", func() bool { return x.a.Stats().RemoteLossPermille == 500 })
			if _, again := x.ev.find(x.a, DTLSConnected, 2); again {
				t.Error("the second association is told as one of the media")
			}

			// It multiplexes after all; taken back, the second component is what it was, without checks and handshake.
			mux := r
			mux.Mux = true
			if err := x.a.SetRemote(mux); err != nil {
				t.Fatal(err)
			}
			if n := len(ofComponent(x.a.Local(), 2).Candidates); n != 0 {
				t.Errorf("%d candidates of component 2", n)
			}
			nextReport(t, next.rtp, x.a.Local().SSRC)
			if err := x.a.SetRemote(r); err != nil {
				t.Fatal(err)
			}
			if n := len(ofComponent(x.a.Local(), 2).Candidates); n != 1 {
				t.Errorf("%d candidates of component 2 after the rollback", n)
			}
			info = nextReport(t, next.rtcp, x.a.Local().SSRC)
			loss(next.rtcp, 64)
			eventually(t, "the report of 25 % loss", func() bool { return x.a.Stats().RemoteLossPermille == 250 })
			x.exchange(3, 30)

			// It multiplexes, and that stays.
			if err := x.a.SetRemote(mux); err != nil {
				t.Fatal(err)
			}
			x.a.GiveUpComponent2()
			eventually(t, "the second component is gone", func() bool { return x.a.sock.component2.mux.Agents() == 0 })
			nextReport(t, next.rtp, x.a.Local().SSRC)
			x.exchange(3, 40)
			if err := x.a.SetRemote(r); !errors.Is(err, errGivenUp) {
				t.Errorf("the second component is asked for again: %v", err)
			}
			x.a.GiveUpComponent2() // nothing is left
			x.exchange(3, 50)
		})
	}
}

// TestR8445_3_RestartIsTakenBackForBothComponentsOrNone: when a refused offer with new credentials is taken back, the components go on with one set of credentials:
// those before, or, when one of them has a pair of the restart by then, new ones (RFC 8839 §5.4).
func TestR8445_3_RestartIsTakenBackForBothComponentsOrNone(t *testing.T) {
	for name, which := range map[string]int{"none has a pair": 0, "RTP has a pair": 1, "RTCP has a pair": 2} {
		t.Run(name, func(t *testing.T) {
			x, p := newCallWithoutMux(t, false)
			before, theirs := x.a.Local(), p.remote(true)
			theirs.Role = 0
			next := newTwoSockets(t, "user2", true)
			r := next.remote(true)
			r.Role, r.Fingerprints = 0, nil
			if err := x.a.SetRemote(r); err != nil {
				t.Fatal(err)
			}
			components := []*Access{x.a, x.a.component2}
			if which != 0 {
				[]*browser{next.rtp, next.rtcp}[which-1].connect(ofComponent(x.a.Local(), uint32(which)))
				eventually(t, "a pair of the restart", func() bool { return components[which-1].inUse.Load() == 2 })
			}
			if err := x.a.SetRemote(theirs); err != nil {
				t.Fatal(err)
			}
			var local [2]string
			for i, c := range components {
				c.mu.Lock()
				g := c.gens[len(c.gens)-1]
				local[i] = g.agent.Ufrag() + " " + g.agent.Pwd()
				if g.ufrag != theirs.Ufrag || g.pwd != theirs.Pwd {
					t.Errorf("component %d expects the checks of %s", i+1, g.ufrag)
				}
				if n := c.newest.Load(); n != g.n {
					t.Errorf("component %d listens to generation %d, the newest is %d", i+1, n, g.n)
				}
				c.mu.Unlock()
			}
			if local[0] != local[1] {
				t.Errorf("the components have credentials %q", local)
			}
			if back := x.a.Local().Ufrag == before.Ufrag; back != (which == 0) {
				t.Errorf("the credentials are those before: %v", back)
			}
			// The next restart is one for both again.
			last := newTwoSockets(t, "user3", true)
			for i, b := range []*browser{last.rtp, last.rtcp} {
				old := []*browser{p.rtp, p.rtcp}[i]
				b.print, b.cert, b.tx, b.rx = old.print, old.cert, old.tx, old.rx
			}
			r = last.remote(true)
			r.Role = 0
			if err := x.a.SetRemote(r); err != nil {
				t.Fatal(err)
			}
			last.connect(t, x.a.Local())
			for i, c := range components {
				eventually(t, "a pair of the last restart", func() bool {
					c.mu.Lock()
					defer c.mu.Unlock()
					return len(c.gens) == 1 && c.inUse.Load() == c.made
				})
				if c.sock.mux.Agents() != 1 {
					t.Errorf("component %d has %d agents", i+1, c.sock.mux.Agents())
				}
			}
			x.b = last.rtp
			x.exchange(3, 20)
			nextReport(t, last.rtcp, x.a.Local().SSRC)
		})
	}
}

// TestR8858_FailureOfTheSecondComponent: a component whose association fails is the stream's failure, told with its name; there is no call without RTCP.
func TestR8858_FailureOfTheSecondComponent(t *testing.T) {
	b := newBed(t, func(c *Config) {
		withRTCP(c)
		c.Timers.DTLS = 300 * time.Millisecond
	})
	a, err := b.e.NewAccess(AccessSpec{ID: "a1", Realm: "access", Component2: true})
	if err != nil {
		t.Fatal(err)
	}
	b.configure(a, Settings{})
	p := newTwoSockets(t, "user1", true)
	if err := a.SetRemote(p.remote(true)); err != nil {
		t.Fatal(err)
	}
	p.connect(t, a.Local())
	if err := p.rtp.secure(a.Local(), true); err != nil { // and component 2 never begins
		t.Fatal(err)
	}
	if e := b.ev.wait(t, a, DTLSFailed, 1); !strings.HasPrefix(e.Reason, "component 2 (RTCP): ") {
		t.Errorf("reason %q", e.Reason)
	}
}

// TestR8858_RealmWithoutPortsForIt: the termination is refused by name and leaves nothing.
func TestR8858_RealmWithoutPortsForIt(t *testing.T) {
	b := newBed(t, nil)
	if _, err := b.e.NewAccess(AccessSpec{ID: "a1", Realm: "access", Component2: true}); !errors.Is(err, ErrNoComponent) {
		t.Errorf("%v", err)
	}
}

// TestR8858_MediaOnTheSecondComponentIsNotOpened: media by the keys of component 2 goes nowhere, and moves no state of theirs.
func TestR8858_MediaOnTheSecondComponentIsNotOpened(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	a := &Access{w: r.w, id: "a", parent: r.a.access.a}
	second := &term{w: r.w, owner: r.a.access.a, out: outbound{secure: true, consent: true, sock: r.a.out.sock, stamp: newStamper(1)}}
	second.access = &accessState{t: second, a: a, component2: true}
	second.in.rx = r.a.in.rx
	prot, err := r.peerTx.ProtectRTP(r.fill(make([]byte, bufferSize), 8))
	if err != nil {
		t.Fatal(err)
	}
	if out := onlyOut(second.access.rtp(1, bytes.Clone(prot))); out != nil || second.in.drops[gate.PayloadType] != 1 || r.a.in.packets != 0 {
		t.Errorf("%d octets leave, dropped %v", len(out), second.in.drops.Map())
	}
	if _, err := second.in.rx.OpenRTP(prot); err != nil {
		t.Errorf("it was opened before: %v", err)
	}
}

// TestR7675_ConsentOfTheSecondComponent: it ends after the time that is set for the termination, as that of the first does, and reports wait for its
// return; the termination's media goes on.
func TestR7675_ConsentOfTheSecondComponent(t *testing.T) {
	for name, limit := range map[string]time.Duration{"set": 5 * time.Second, "default": 0} {
		t.Run(name, func(t *testing.T) {
			access, core := relaySettings()
			access.ConsentAfter = limit
			r := newRig(t, srtp.AES128GCM, access, core)
			first := r.a.access
			a := &Access{w: r.w, id: "a", parent: first.a}
			a.newest.Store(1)
			second := &term{w: r.w, owner: first.a, out: outbound{secure: true, consent: true, sock: r.a.out.sock, stamp: newStamper(1)}}
			second.access = &accessState{t: second, a: a, component2: true, sock: &accessSock{sock: r.a.out.sock, paths: make(map[netip.AddrPort]*path), component: 2}}
			a.s = second.access
			second.access.check(1, 1, ice.Check{From: browserAddr, Nominated: true})
			if limit == 0 {
				limit = defaultConsent
			}
			second.sweep(1 + int64(limit))
			if !second.out.consent {
				t.Error("lost early")
			}
			second.sweep(2 + int64(limit))
			if second.out.consent || !r.a.out.consent {
				t.Errorf("after %v without a check: RTCP %v, media %v", limit, second.out.consent, r.a.out.consent)
			}
			second.access.check(3+int64(limit), 1, checkFrom(browserAddr))
			if !second.out.consent {
				t.Error("a check does not restore it")
			}
		})
	}
}

// TestR8858_ComponentPutAside: while an action that has the client multiplex may be undone, the second component is neither told of nor left behind by a call that ends.
func TestR8858_ComponentPutAside(t *testing.T) {
	x, p := newCallWithoutMux(t, false)
	s := relaySpec().access
	s.Armed |= ICEFailed.Bit()
	x.configure(x.a, s)
	fails := func(c *Access) { x.a.w.do(func() { c.s.t.emit(Event{Kind: ICEFailed, Reason: "test"}) }) }
	c := x.a.component2
	fails(c)
	x.ev.wait(t, x.a, ICEFailed, 1)
	r := p.remote(true)
	r.Role, r.Mux = 0, true
	if err := x.a.SetRemote(r); err != nil {
		t.Fatal(err)
	}
	fails(c)
	if e, told := x.ev.find(x.a, ICEFailed, 2); told {
		t.Errorf("told of a component that is put aside: %+v", e)
	}
	x.a.Close()
	x.a.GiveUpComponent2()
	if n := x.a.sock.component2.mux.Agents(); n != 0 {
		t.Errorf("%d agents are left", n)
	}
}
