package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	pionice "github.com/pion/ice/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// fullSpec is a call over full ICE.
type fullSpec struct {
	controlling bool // our role
	lite        bool // the peer's agent
	tell        bool // the peer's candidates are told
	config      func(*Config)
}

// candidates are those of the browser's agent.
func (b *browser) candidates() (out []Candidate) {
	b.t.Helper()
	cs, err := b.agent.GetLocalCandidates()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range cs {
		out = append(out, Candidate{
			Foundation: c.Foundation(), Component: 1, Transport: "udp", Priority: c.Priority(), Address: c.Address(), Port: uint16(c.Port()), Type: c.Type().String(),
		})
	}
	return out
}

// peer makes the browser of the spec.
func (f fullSpec) peer(t *testing.T) *browser {
	t.Helper()
	b := newBrowserOver(t, pionice.NetworkTypeUDP4, pionice.WithICELite(f.lite))
	b.accept = f.controlling
	return b
}

func (f fullSpec) remote(b *browser, role Role) AccessRemote {
	r := b.remote(role)
	r.Controlling = f.controlling
	if f.tell {
		r.Candidates = b.candidates()
	}
	return r
}

// newFullCall connects both peers of a relayed call over full ICE.
func newFullCall(t *testing.T, f fullSpec) *call {
	t.Helper()
	spec := relaySpec()
	x := &call{bed: newBed(t, f.config)}
	var err error
	if x.a, err = x.e.NewAccess(AccessSpec{ID: "a1", Realm: "access", Full: true}); err != nil {
		t.Fatal(err)
	}
	x.joinCore(t, "c1", spec)
	x.b = f.peer(t)
	if err := x.a.SetRemote(f.remote(x.b, RoleServer)); err != nil {
		t.Fatal(err)
	}
	x.b.connect(x.a.Local())
	if err := x.b.secure(x.a.Local(), true); err != nil {
		t.Fatal("browser DTLS: ", err)
	}
	x.ev.wait(t, x.a, DTLSConnected, 1)
	return x
}

// TestIQ24_IQ26_R8445_1_FullICEWithPion: calls over full ICE with pion's full and lite agents, in either role, with and without their candidates; the
// peer-reflexive address is told when no candidate has it (IQ-26), and only then.
func TestIQ24_IQ26_R8445_1_FullICEWithPion(t *testing.T) {
	for _, f := range []fullSpec{
		{controlling: true, tell: true},
		{controlling: false, tell: true},
		{controlling: true},
		{controlling: false},
		{controlling: true, lite: true, tell: true},
	} {
		t.Run(fmt.Sprintf("controlling=%v lite=%v told=%v", f.controlling, f.lite, f.tell), func(t *testing.T) {
			x := newFullCall(t, f)
			x.exchange(5, 1)
			pair := x.ev.wait(t, x.a, ICEConnected, 1).Pair
			if want := map[bool]string{true: "host", false: "prflx"}[f.tell]; pair.Remote.Type != want || pair.Remote.Address != "127.0.0.1" {
				t.Errorf("selected %+v", pair)
			}
			found, prflx := x.ev.find(x.a, PeerReflexive, 1)
			if prflx == f.tell || prflx && found.Pair.Remote != pair.Remote {
				t.Errorf("peer-reflexive %v: %+v", prflx, found)
			}
			if d := x.a.Stats().Dropped; len(d) != 0 {
				t.Errorf("dropped %v", d)
			}
		})
	}
}

// TestR8445_3_FullAgentMakesBeforeItBreaks: the pair of the old credentials carries media, and is consented to, until the new ones have theirs; no
// packet is lost, and the DTLS association goes on. The role stays.
func TestR8445_3_FullAgentMakesBeforeItBreaks(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		f := fullSpec{controlling: controlling, tell: true}
		x := newFullCall(t, f)
		var seq uint16
		x.pump(20, &seq, x.b, x.b)
		next := f.peer(t)
		next.inherit(x.b)
		if err := x.a.SetRemote(f.remote(next, 0)); err != nil {
			t.Fatal(err)
		}
		x.moves(next, &seq)
	}
}

// TestIQ26_R8840_AdditionalCheckByOrder: a candidate that comes by a later SetRemote with the same credentials is checked, and no restart.
func TestIQ26_R8840_AdditionalCheckByOrder(t *testing.T) {
	f := fullSpec{controlling: true, lite: true} // a lite peer does not check: nothing happens before it is told
	b := newBed(t, nil)
	a, err := b.e.NewAccess(AccessSpec{ID: "a1", Realm: "access", Full: true})
	if err != nil {
		t.Fatal(err)
	}
	b.configure(a, Settings{})
	p := f.peer(t)
	if err := a.SetRemote(f.remote(p, RoleServer)); err != nil {
		t.Fatal(err)
	}
	before := a.Local()
	f.tell = true
	if err := a.SetRemote(f.remote(p, RoleServer)); err != nil {
		t.Fatal(err)
	}
	p.connect(a.Local())
	b.ev.wait(t, a, ICEConnected, 1)
	if a.Local().Ufrag != before.Ufrag || a.sock.mux.Agents() != 1 {
		t.Error("a later candidate is a restart")
	}
}

// TestR7675_FullAgentNeedsAnswers: checks of the peer are no consent to a full agent, only answers to its own are; without them sending stops after
// 30 s, and an answer resumes it.
func TestR7675_FullAgentNeedsAnswers(t *testing.T) {
	access, core := relaySettings()
	access.Armed = AllEvents
	r := newRig(t, srtp.AES128GCM, access, core)
	var got []EventKind
	r.w.cfg.Events = func(e Event) { got = append(got, e.Kind) }
	s, buf := r.a.access, make([]byte, bufferSize)
	s.a.full = true
	passes := func(now int64) bool { return r.c.core.media(now, sipAddr, r.fill(buf, 8)) != nil }
	limit := int64(defaultConsent)
	now := int64(1)
	for range 20 {
		now += limit / 6
		s.check(now, 1, ice.Check{From: browserAddr, Nominated: true, Answered: true})
		s.sweep(now)
	}
	if !passes(now) || len(got) != 0 {
		t.Fatalf("events %v", got)
	}
	for range 7 {
		now += limit / 6
		s.check(now, 1, ice.Check{From: browserAddr, Nominated: true})
		s.sweep(now)
	}
	if passes(now) || !slices.Equal(got, []EventKind{ConsentLost}) {
		t.Errorf("sent without answers; events %v", got)
	}
	s.check(now, 1, ice.Check{From: browserAddr, Nominated: true})
	if passes(now) {
		t.Error("a check of the peer is consent")
	}
	s.check(now, 1, ice.Check{From: browserAddr, Nominated: true, Answered: true})
	if !passes(now) || !slices.Equal(got, []EventKind{ConsentLost, ICEConnected}) {
		t.Errorf("an answer does not resume; events %v", got)
	}
}

// TestR8863_FullAgentWaitsForThePeersChecks: without any pair to check, failure comes 40 s after the start, no sooner.
func TestR8863_FullAgentWaitsForThePeersChecks(t *testing.T) {
	access, core := relaySettings()
	access.Armed = AllEvents
	r := newRig(t, srtp.AES128GCM, access, core)
	var got []Event
	r.w.cfg.Events = func(e Event) { got = append(got, e) }
	s := r.a.access
	s.a.full, s.selected, s.iceDone = true, netip.AddrPort{}, false
	s.iceFrom = 0
	mux := ice.NewMux(browserAddr, func([]byte, netip.AddrPort) error { return nil }, testPool)
	agent := ice.NewAgent(ice.Config{Mux: mux, Checked: func(ice.Check) {}})
	defer agent.Close()
	s.checking(1, agent)
	limit := int64(r.w.cfg.Timers.ICE)
	s.sweep(limit)
	if len(got) != 0 {
		t.Fatalf("events %v", got)
	}
	s.sweep(limit + 2)
	if len(got) != 1 || got[0].Kind != ICEFailed || got[0].Reason == "" {
		t.Errorf("events %v", got)
	}
	agent.Close()
	s.sweep(limit + 3)
	if len(s.agents) != 0 {
		t.Error("a closed agent is ticked")
	}
}

// TestIQ24_R8839_1_OddCandidatesAreNotChecked: only unicast UDP addresses of a family that we have are sent to; names, other components and transports, and
// what would make us speak to ourselves, are not.
func TestIQ24_R8839_1_OddCandidatesAreNotChecked(t *testing.T) {
	a := &Access{full: true, locals: []Candidate{{Transport: "udp", Address: "192.0.2.1"}}}
	good := Candidate{Component: 1, Transport: "UDP", Priority: 5, Address: "198.51.100.7", Port: 4000, Type: "srflx"}
	cs := []Candidate{good}
	for _, odd := range []func(*Candidate){
		func(c *Candidate) { c.Address = "7c1f3a52.local" },
		func(c *Candidate) { c.Address = "2001:db8::1" },
		func(c *Candidate) { c.Address = "127.0.0.1" },
		func(c *Candidate) { c.Address = "224.0.0.251" },
		func(c *Candidate) { c.Address = "169.254.169.254" },
		func(c *Candidate) { c.Address = "0.0.0.0" },
		func(c *Candidate) { c.Address = "255.255.255.255" },
		func(c *Candidate) { c.Address = "240.0.0.2" },
		func(c *Candidate) { c.Transport = "tcp" },
		func(c *Candidate) { c.Component = 2 },
		func(c *Candidate) { c.Port = 0 },
		func(c *Candidate) { c.Priority = 0 },
	} {
		c := good
		odd(&c)
		cs = append(cs, c)
	}
	if got := a.remotes(cs); len(got) != 1 || got[0].Addr != netip.MustParseAddrPort("198.51.100.7:4000") {
		t.Errorf("checks %v", got)
	}
	a.locals[0].Address = "127.0.0.1"
	if got := a.remotes(cs); len(got) != 2 {
		t.Errorf("a gateway on loopback checks %v", got)
	}
}
