package ice

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// network is agents that send to each other without a kernel, in a time of its own.
type network struct {
	t     *testing.T
	pool  bufpool.Pool
	now   int64
	ends  map[netip.AddrPort]*end
	queue []flight
	sent  []flight
	drop  func(flight) bool // nil: nothing is lost
}

type flight struct {
	from, to netip.AddrPort
	b        []byte
	at       int64
}

// end is one agent of a network.
type end struct {
	*Agent
	n      *network
	addr   netip.AddrPort
	mux    *Mux
	checks []Check
	full   bool
	lost   bool
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, now: 1e9, ends: map[netip.AddrPort]*end{}}
}

func (n *network) end(addr string, full bool) *end {
	e := &end{n: n, addr: netip.MustParseAddrPort(addr), full: full}
	e.mux = NewMux(e.addr, func(b []byte, to netip.AddrPort) error {
		f := flight{e.addr, to, bytes.Clone(b), n.now}
		n.sent = append(n.sent, f)
		if n.drop == nil || !n.drop(f) {
			n.queue = append(n.queue, f)
		}
		return nil
	}, &n.pool)
	e.mux.UseClock(func() int64 { return n.now })
	e.Agent = NewAgent(Config{Mux: e.mux, Checked: func(c Check) { e.checks = append(e.checks, c) }})
	n.ends[e.addr] = e
	n.t.Cleanup(func() {
		e.Close()
		if e.mux.Agents() != 0 || e.mux.Asked() != 0 || n.pool.Out() != 0 {
			n.t.Errorf("%s leaves %d agents, %d requests, %d buffers", e.addr, e.mux.Agents(), e.mux.Asked(), n.pool.Out())
		}
	})
	return e
}

// meet starts e towards p.
func (e *end) meet(p *end, controlling bool, known ...string) {
	e.n.t.Helper()
	peer := Peer{Ufrag: p.Ufrag(), Pwd: p.Pwd(), Controlling: controlling}
	for i, k := range known {
		peer.Candidates = append(peer.Candidates, Remote{netip.MustParseAddrPort(k), uint32(Priority - i<<8)})
	}
	start := func() error { return e.Start(p.Ufrag(), p.Pwd()) }
	if e.full {
		start = func() error { return e.StartFull(peer) }
	}
	if err := start(); err != nil {
		e.n.t.Fatal(err)
	}
}

// run lets time pass, in steps as a worker ticks.
func (n *network) run(d time.Duration) {
	for until := n.now + int64(d); n.now < until; n.now += int64(200 * time.Millisecond) {
		n.settle()
		for _, e := range n.ends {
			e.Tick(n.now, e.lost)
		}
		n.settle()
	}
}

func (n *network) settle() {
	for i := 0; len(n.queue) > 0; i++ {
		if i > 10000 {
			n.t.Fatal("a storm of checks")
		}
		f := n.queue[0]
		n.queue = n.queue[1:]
		if e := n.ends[f.to]; e != nil {
			e.mux.Deliver(f.b, f.from)
		}
	}
}

// pair is what e has selected.
func (e *end) pair() netip.AddrPort { return e.selected }

// requests are the checks that e has sent.
func (e *end) requests() (out []flight) {
	for _, f := range e.n.sent {
		if f.from == e.addr && f.b[0] == 0 && f.b[1] == 1 {
			out = append(out, f)
		}
	}
	return out
}

func (f flight) has(t stun.AttrType) bool {
	m := &stun.Message{Raw: f.b}
	return m.Decode() == nil && m.Contains(t)
}

const (
	addrA = "192.0.2.1:7430"
	addrB = "192.0.2.2:40000"
)

// TestIQ24_R8445_1_FullAgentConnects: towards a full peer in either role, a lite one, one that has told no candidates and one that has told useless
// ones, a pair is selected at both ends; only the controlling one nominates.
func TestIQ24_R8445_1_FullAgentConnects(t *testing.T) {
	for name, c := range map[string]struct {
		peerFull, controlling bool
		known                 []string
	}{
		"controlling, full peer":             {true, true, []string{addrB}},
		"controlled, full peer":              {true, false, []string{addrB}},
		"controlling, lite peer":             {false, true, []string{addrB}},
		"controlling, peer-reflexive":        {true, true, nil},
		"controlled, peer-reflexive":         {true, false, nil},
		"controlling, dead candidates first": {true, true, []string{"198.51.100.1:1", "198.51.100.2:2", addrB}},
		"lite peer, dead candidates first":   {false, true, []string{"198.51.100.1:1", "198.51.100.2:2", addrB}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			a, b := n.end(addrA, true), n.end(addrB, c.peerFull)
			b.meet(a, !c.controlling, addrA)
			a.meet(b, c.controlling, c.known...)
			n.run(2 * time.Second)
			if a.pair() != b.addr || b.pair() != a.addr {
				t.Fatalf("selected %v and %v", a.pair(), b.pair())
			}
			for _, e := range []*end{a, b} {
				for _, f := range e.requests() {
					if f.has(stun.AttrUseCandidate) && (e == a) != c.controlling {
						t.Error("the controlled agent nominates")
					}
				}
			}
			if i := slices.IndexFunc(a.checks, func(c Check) bool { return c.Nominated }); i < 0 || a.checks[i].From != b.addr {
				t.Errorf("reported %+v", a.checks)
			}
		})
	}
}

// TestR8445_2_RoleConflictIsRepaired: two agents that believe to be in one role end in two, by their tie-breakers (RFC 8445 §7.3.1.1), and connect.
func TestR8445_2_RoleConflictIsRepaired(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		for _, larger := range []bool{true, false} {
			n := newNetwork(t)
			a, b := n.end(addrA, true), n.end(addrB, true)
			n.drop = func(flight) bool { return true } // until the tie-breakers are set
			a.meet(b, controlling, addrB)
			b.meet(a, controlling, addrA)
			a.Agent.full.tie, b.Agent.full.tie = 5, 5
			if larger {
				a.Agent.full.tie = 6
			} else {
				b.Agent.full.tie = 6
			}
			n.drop = nil
			n.run(3 * time.Second)
			if a.pair() != b.addr || b.pair() != a.addr || a.Controlling() == b.Controlling() {
				t.Errorf("both controlling %v, larger %v: selected %v %v, controlling %v %v", controlling, larger, a.pair(), b.pair(), a.Controlling(), b.Controlling())
			}
			if a.Controlling() != larger {
				t.Errorf("both controlling %v: the larger tie-breaker does not control", controlling)
			}
		}
	}
}

// TestR8863_ScheduleOfAFullAgent: a pair that nobody answers is checked seven times over 31.5 s and fails after 39.5 s, no sooner; a check of the
// peer's revives it.
func TestR8863_ScheduleOfAFullAgent(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(addrA, true), n.end(addrB, true)
	dead := true
	n.drop = func(flight) bool { return dead }
	start := n.now
	a.meet(b, true, addrB)
	n.run(39 * time.Second)
	var at []int64
	for _, f := range a.requests() {
		at = append(at, (f.at-start)/1e6)
	}
	want := []int64{0, 500, 1500, 3500, 7500, 15500, 31500}
	if len(at) != len(want) {
		t.Fatalf("sent at %v ms", at)
	}
	for i := range want {
		if at[i] < want[i] || at[i] > want[i]+900 { // Tick comes every 200 ms, and each delay moves those after it
			t.Errorf("sent at %v ms, want %v", at, want)
		}
	}
	if s := a.Agent.full.pairs[0].state; s != inProgress {
		t.Errorf("state %d after 39 s", s)
	}
	n.run(3 * time.Second)
	if s := a.Agent.full.pairs[0].state; s != failed || a.mux.Asked() != 0 {
		t.Errorf("state %d after 42 s, %d requests", s, a.mux.Asked())
	}
	dead = false
	b.meet(a, false, addrA)
	n.run(2 * time.Second)
	if a.pair() != b.addr || b.pair() != a.addr {
		t.Error("the peer's check does not revive the pair")
	}
}

// TestR8445_1_ChecksArePaced: many candidates cause no burst: about one check per 50 ms, and no candidate beyond the bound is ever sent to.
func TestR8445_1_ChecksArePaced(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(addrA, true), n.end(addrB, true)
	var many []string
	for i := range 40 {
		many = append(many, netip.AddrPortFrom(netip.MustParseAddr("198.51.100.9"), uint16(1000+i)).String())
	}
	a.meet(b, true, many...)
	seen := map[netip.AddrPort]bool{}
	for range 50 {
		before := len(a.requests())
		n.run(200 * time.Millisecond)
		if sent := len(a.requests()) - before; sent > 8 {
			t.Fatalf("%d checks in 200 ms", sent)
		}
	}
	for _, f := range a.requests() {
		seen[f.to] = true
	}
	if len(seen) != MaxCandidates {
		t.Errorf("%d addresses were sent to, want %d", len(seen), MaxCandidates)
	}
}

// TestR7675_IQ27_FullAgentAsksForConsent: once a pair is selected, a request of its own kind every 4 to 6 s, each with a new transaction, in either
// role; its answers are reported. When consent is lost none is sent; the peer's next check brings it back.
func TestR7675_IQ27_FullAgentAsksForConsent(t *testing.T) {
	for _, controlling := range []bool{true, false} {
		n := newNetwork(t)
		a, b := n.end(addrA, true), n.end(addrB, true)
		a.meet(b, controlling, addrB)
		b.meet(a, !controlling, addrA)
		n.run(time.Second)
		before := len(a.requests())
		answers := len(a.checks)
		n.run(5 * time.Minute)
		asked := a.requests()[before:]
		if len(asked) < 50 || len(asked) > 76 {
			t.Errorf("%d requests in 300 s", len(asked))
		}
		ids := map[string]bool{}
		for i, f := range asked {
			ids[string(f.b[8:20])] = true
			if i == 0 {
				continue
			}
			if gap := time.Duration(f.at - asked[i-1].at); gap < 4*time.Second || gap > 6200*time.Millisecond {
				t.Errorf("%v between requests", gap)
			}
		}
		if len(ids) != len(asked) {
			t.Error("a transaction is used twice")
		}
		answered := 0
		for _, c := range a.checks[answers:] {
			if c.Answered && c.Nominated && c.From == b.addr {
				answered++
			}
		}
		if answered != len(asked) {
			t.Errorf("%d answers to %d requests", answered, len(asked))
		}
		// The peer's answers are lost, then its consent is.
		n.drop = func(flight) bool { return true }
		a.lost = true
		before = len(a.requests())
		n.run(time.Minute)
		if k := len(a.requests()) - before; k != 0 {
			t.Errorf("%d requests without consent", k)
		}
		n.drop, a.checks = nil, nil
		n.run(10 * time.Second) // the peer asks for ours
		if !slices.ContainsFunc(a.checks, func(c Check) bool { return c.Answered && c.From == b.addr }) {
			t.Error("consent does not come back")
		}
	}
}

// Without consent a check of ours that is under way is sent again when the peer checks, not replaced: its answer may be on its way.
func TestTheCheckForLostConsentIsNotReplaced(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(addrA, true), n.end(addrB, true)
	a.meet(b, false, addrB)
	b.meet(a, true, addrA)
	n.run(time.Second)
	n.drop = func(flight) bool { return true }
	a.lost = true
	n.run(time.Second)
	before := len(a.requests())
	for range 5 {
		a.mux.Deliver(request(t, a.Ufrag()+":"+b.Ufrag(), a.Pwd(), false), b.addr)
		n.run(100 * time.Millisecond)
	}
	ids := map[string]bool{}
	asked := a.requests()[before:]
	for _, f := range asked {
		ids[string(f.b[8:20])] = true
	}
	if len(ids) != 1 || len(asked) < 2 {
		t.Errorf("%d requests in %d transactions", len(asked), len(ids))
	}
}

// TestR8445_1_NominationsOfTheOldKindAreTaken: a peer of RFC 5245 nominates with every check. The best pair counts at once; a worse one when the
// peer has left the selected one.
func TestR8445_1_NominationsOfTheOldKindAreTaken(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(addrA, true), n.end(addrB, true)
	other := netip.MustParseAddrPort("192.0.2.3:40001") // b's other address
	a.meet(b, false, addrB, other.String())
	use := func(from netip.AddrPort) {
		a.mux.Deliver(request(t, a.Ufrag()+":"+b.Ufrag(), a.Pwd(), true), from)
	}
	for _, p := range a.Agent.full.pairs { // nobody answers here
		a.end(p, succeeded)
		p.valid = true
	}
	use(other)
	if a.pair() != other {
		t.Fatalf("selected %v", a.pair())
	}
	use(b.addr)
	if a.pair() != b.addr {
		t.Error("a better pair does not count at once")
	}
	for range 5 {
		use(other)
		use(b.addr)
	}
	again := request(t, a.Ufrag()+":"+b.Ufrag(), a.Pwd(), true)
	for range 3 { // its answer was lost
		a.mux.Deliver(bytes.Clone(again), other)
	}
	if a.pair() != b.addr {
		t.Error("a repeated check counts as a second nomination")
	}
	use(b.addr)
	if a.pair() != b.addr {
		t.Error("a worse pair of a row of checks is taken")
	}
	use(other)
	use(other)
	if a.pair() != other {
		t.Error("the pair that the peer has moved to is not taken")
	}
}

// TestR8445_2_ResponsesAreVerified: an answer counts only with the peer's password, for a request of ours that is under way, from where that went.
func TestR8445_2_ResponsesAreVerified(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(addrA, true), n.end(addrB, true)
	n.drop = func(flight) bool { return true }
	a.meet(b, true, addrB)
	ask := &stun.Message{Raw: a.requests()[0].b}
	if err := ask.Decode(); err != nil {
		t.Fatal(err)
	}
	if err := stun.NewShortTermIntegrity(b.Pwd()).Check(ask); err != nil || ask.Contains(stun.AttrUseCandidate) {
		t.Errorf("request %v: %v", ask, err)
	}
	respond := func(id stun.Setter, pwd string, from netip.AddrPort) {
		m, err := stun.Build(id, stun.BindingSuccess, &stun.XORMappedAddress{IP: a.addr.Addr().AsSlice(), Port: 7430}, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		a.mux.Deliver(m.Raw, from)
	}
	id := stun.NewTransactionIDSetter(ask.TransactionID)
	respond(id, a.Pwd(), b.addr)
	respond(stun.TransactionID, b.Pwd(), b.addr)
	if p := a.Agent.full.pairs[0]; p.valid || p.state != inProgress || len(a.checks) != 0 {
		t.Fatal("a forged answer counts")
	}
	respond(id, b.Pwd(), netip.MustParseAddrPort("192.0.2.77:1"))
	if p := a.Agent.full.pairs[0]; p.valid || p.state != failed {
		t.Fatal("an answer from elsewhere makes the pair valid (RFC 8445 §7.2.5.2.1)")
	}
	a.AddCandidates([]Remote{{b.addr, Priority}}) // checked again by order
	n.drop = nil
	b.meet(a, false)
	n.run(2 * time.Second)
	if a.pair() != b.addr {
		t.Error("no check by order")
	}
}

// TestR8840_CandidatesThatComeLaterAreChecked: a pair is found once its candidate has come.
func TestR8840_CandidatesThatComeLaterAreChecked(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(addrA, true), n.end(addrB, false)
	b.meet(a, false)
	a.meet(b, true)
	n.run(5 * time.Second)
	if len(a.requests()) != 0 {
		t.Fatal("checks without a candidate")
	}
	a.AddCandidates([]Remote{{b.addr, Priority}})
	n.run(time.Second)
	if a.pair() != b.addr || b.pair() != a.addr {
		t.Errorf("selected %v and %v", a.pair(), b.pair())
	}
}

// TestR8840_CandidatesBeyondTheFirstDescriptionAreChecked: who trickles repeats all candidates so far; the last of them is checked though as many as a
// description may have came before it, and what does not fit the checklist is left.
func TestR8840_CandidatesBeyondTheFirstDescriptionAreChecked(t *testing.T) {
	n := newNetwork(t)
	a, b := n.end(addrA, true), n.end(addrB, false)
	b.meet(a, false)
	a.meet(b, true)
	var list []Remote
	for i := range 2 * maxPairs {
		c := Remote{netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 4000), Priority}
		if i == maxPairs-1 {
			c.Addr = b.addr
		}
		list = append(list, c)
		a.AddCandidates(list)
	}
	n.run(10 * time.Second)
	if a.pair() != b.addr {
		t.Errorf("selected %v", a.pair())
	}
	if got := len(a.Agent.full.pairs); got != maxPairs {
		t.Errorf("%d pairs, want %d", got, maxPairs)
	}
}
