package ice

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	local = netip.MustParseAddrPort("127.0.0.1:7430")
	peer  = netip.MustParseAddrPort("192.0.2.1:50000")
)

// bench is a Mux whose responses are kept.
type bench struct {
	t      *testing.T
	pool   bufpool.Pool
	mux    *Mux
	sent   chan sent
	checks chan Check
}

type sent struct {
	b  []byte
	to netip.AddrPort
}

func newBench(t *testing.T) *bench {
	t.Helper()
	x := &bench{t: t, sent: make(chan sent, 100), checks: make(chan Check, 100)}
	x.mux = NewMux(local, func(b []byte, to netip.AddrPort) error {
		x.sent <- sent{bytes.Clone(b), to}
		return nil
	}, &x.pool)
	t.Cleanup(func() {
		if x.mux.Agents() != 0 || x.pool.Out() != 0 {
			t.Errorf("left: %d agents, %d buffers", x.mux.Agents(), x.pool.Out())
		}
	})
	return x
}

func (x *bench) agent() *Agent {
	x.t.Helper()
	a := NewAgent(Config{Mux: x.mux, Checked: func(c Check) { x.checks <- c }})
	x.t.Cleanup(a.Close)
	return a
}

const (
	peerUfrag = "peer"
	peerPwd   = "0123456789012345678901"
)

// request builds a check as a controlling peer sends it.
func request(t testing.TB, user, pwd string, nominate bool) []byte {
	t.Helper()
	set := []stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(user)}
	if nominate {
		set = append(set, stun.RawAttribute{Type: stun.AttrUseCandidate})
	}
	set = append(set,
		stun.RawAttribute{Type: stun.AttrICEControlling, Length: 8, Value: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: []byte{110, 0, 1, 255}},
		stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	m, err := stun.Build(set...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func (x *bench) next() (sent, Check) {
	x.t.Helper()
	limit := time.After(wait.Limit)
	var s sent
	var c Check
	select {
	case c = <-x.checks:
	case <-limit:
		x.t.Fatal("no check reported")
	}
	select {
	case s = <-x.sent:
	case <-limit:
		x.t.Fatal("no response")
	}
	return s, c
}

func TestR8445_1_IQ23_LiteAnswersAndLearnsFromAuthenticatedChecks(t *testing.T) {
	x := newBench(t)
	a := x.agent()
	user := a.Ufrag() + ":" + peerUfrag
	// Checks before the answer wait and are served after Start.
	if v := x.mux.Deliver(request(t, user, a.Pwd(), false), peer); v != Delivered {
		t.Fatalf("early check: %v", v)
	}
	if err := a.Start(peerUfrag, peerPwd); err != nil {
		t.Fatal(err)
	}
	s, c := x.next()
	if c.From != peer || c.Nominated {
		t.Errorf("check %+v", c)
	}
	if s.to != peer {
		t.Errorf("response to %v", s.to)
	}
	m := &stun.Message{Raw: s.b}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	if err := stun.NewShortTermIntegrity(a.Pwd()).Check(m); err != nil {
		t.Errorf("response: %v", err)
	}
	x.mux.Deliver(request(t, user, a.Pwd(), true), peer)
	if _, c := x.next(); !c.Nominated {
		t.Error("nomination not seen with its own check")
	}
	// The latest nomination wins (RFC 8445 §8.1.1).
	other := netip.MustParseAddrPort("192.0.2.2:1")
	x.mux.Deliver(request(t, user, a.Pwd(), true), other)
	if _, c := x.next(); !c.Nominated || c.From != other {
		t.Errorf("second nomination: %+v", c)
	}
	x.mux.Deliver(request(t, user, a.Pwd(), false), peer)
	if _, c := x.next(); c.Nominated || c.From != peer {
		t.Errorf("check of the old pair: %+v", c)
	}
}

func TestR8445_2_UnauthenticatedChecksTeachNothing(t *testing.T) {
	x := newBench(t)
	a := x.agent()
	if err := a.Start(peerUfrag, peerPwd); err != nil {
		t.Fatal(err)
	}
	user := a.Ufrag() + ":" + peerUfrag
	for name, b := range map[string][]byte{
		"wrong password":     request(t, user, "wrongwrongwrongwrongwrong", true),
		"wrong remote ufrag": request(t, a.Ufrag()+":evil", a.Pwd(), true),
	} {
		if v := x.mux.Deliver(b, peer); v != Delivered {
			t.Fatalf("%s: %v", name, v)
		}
	}
	// A good check afterwards is the first to be reported: the agent works in order.
	good := netip.MustParseAddrPort("192.0.2.9:9")
	x.mux.Deliver(request(t, user, a.Pwd(), false), good)
	if _, c := x.next(); c.From != good || c.Nominated {
		t.Errorf("learnt %+v", c)
	}
	if v := x.mux.Deliver(request(t, "nobody:"+peerUfrag, a.Pwd(), true), peer); v != NoSuchUser {
		t.Errorf("foreign ufrag: %v", v)
	}
}

func TestUfragDecidesNotAddress(t *testing.T) {
	x := newBench(t)
	a, b := x.agent(), x.agent()
	for _, g := range []*Agent{a, b} {
		if err := g.Start(peerUfrag, peerPwd); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range []*Agent{a, b, a} { // both behind one remote address, as a gateway with one port is
		x.mux.Deliver(request(t, g.Ufrag()+":"+peerUfrag, g.Pwd(), true), peer)
		s, _ := x.next()
		m := &stun.Message{Raw: s.b}
		if err := m.Decode(); err != nil {
			t.Fatal(err)
		}
		if err := stun.NewShortTermIntegrity(g.Pwd()).Check(m); err != nil {
			t.Errorf("answered by the wrong agent: %v", err)
		}
	}
}

func TestR8445_2_PathsAndQueueAreBounded(t *testing.T) {
	x := newBench(t)
	a := x.agent()
	user := a.Ufrag() + ":" + peerUfrag
	req := request(t, user, a.Pwd(), false)
	taken := 0
	for range early + 10 {
		if x.mux.Deliver(req, peer) == Delivered {
			taken++
		}
	}
	if taken != early {
		t.Errorf("queued %d, want %d", taken, early)
	}
	if err := a.Start(peerUfrag, peerPwd); err != nil {
		t.Fatal(err)
	}
	for range early {
		x.next()
	}
	for i := range maxPaths - 1 {
		x.mux.Deliver(req, netip.AddrPortFrom(peer.Addr(), uint16(i+1)))
		x.next()
	}
	if v := x.mux.Deliver(req, netip.AddrPortFrom(peer.Addr(), 60000)); v != Full {
		t.Errorf("path beyond the bound: %v", v)
	}
	if v := x.mux.Deliver(req, peer); v != Delivered {
		t.Errorf("known path: %v", v)
	}
	x.next()
}

func TestCloseIsCleanAtAnyTime(t *testing.T) {
	x := newBench(t)
	for _, start := range []bool{false, true} {
		a := x.agent()
		if start {
			if err := a.Start(peerUfrag, peerPwd); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		req := request(t, a.Ufrag()+":"+peerUfrag, a.Pwd(), true)
		wg.Go(func() {
			for range 50 {
				x.mux.Deliver(req, peer)
			}
		})
		a.Close()
		wg.Wait()
		a.Close()
		if v := x.mux.Deliver(req, peer); v != NoSuchUser {
			t.Errorf("after close: %v", v)
		}
	}
	for len(x.checks) > 0 {
		<-x.checks
	}
}

func TestLocalUfrag(t *testing.T) {
	good := request(t, "abcd:efgh", peerPwd, false)
	if u, ok := LocalUfrag(good); !ok || string(u) != "abcd" {
		t.Errorf("%q %v", u, ok)
	}
	for name, b := range map[string][]byte{
		"empty":         nil,
		"header only":   good[:20],
		"no colon":      request(t, "abcdefgh", peerPwd, false),
		"empty local":   request(t, ":efgh", peerPwd, false),
		"too long":      request(t, strings.Repeat("a", 300)+":b", peerPwd, false),
		"cut":           good[:30],
		"no attributes": append([]byte{0, 1, 0, 0}, good[4:20]...),
	} {
		if u, ok := LocalUfrag(b); ok {
			t.Errorf("%s: %q", name, u)
		}
	}
	if n := testing.AllocsPerRun(100, func() { LocalUfrag(good) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzLocalUfrag(f *testing.F) {
	f.Add([]byte{0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 5, 'a', 'b', ':', 'c', 'd', 0, 0, 0})
	f.Add([]byte{0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0xff, 0xff})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, ok := LocalUfrag(b)
		if ok && (len(u) == 0 || len(u) > maxUfrag || bytes.IndexByte(u, ':') >= 0 || !bytes.Contains(b, append(bytes.Clone(u), ':'))) {
			t.Errorf("%q of %x", u, b)
		}
	})
}
