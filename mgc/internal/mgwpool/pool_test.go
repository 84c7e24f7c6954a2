package mgwpool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestCodecsOfTheWholePool: a codec is used once every node in service has it.
func TestCodecsOfTheWholePool(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		codecs := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := b.Codecs([]string{"opus", "AMR-WB", "PCMA"}); !slices.Equal(got, want) {
				t.Errorf("codecs %q, want %q", got, want)
			}
		}
		codecs("opus", "AMR-WB", "PCMA") // no node: nothing is ruled out
		a.register(t, "g1", "1")
		codecs("opus")
		wide := restart("g2", "1")
		wide.Capabilities.Codecs = append(wide.Capabilities.Codecs, &iqv1.Codec{Name: "amr-wb"})
		if code := b.send(t, wide); code != 0 {
			t.Fatalf("refused: %d", code)
		}
		codecs("opus")
		for range 4 { // g1 is silent and expires
			time.Sleep(5 * time.Second)
			a.beat(t, "g2", "1", 0)
		}
		a.takeLost()
		b.takeLost()
		codecs("opus", "AMR-WB")
	})
}

// TestEmergencyCallsFitWhereAllDrains: an older gateway that drains, and is all there is, takes emergency calls: they need no more of it than it can do.
func TestEmergencyCallsFitWhereAllDrains(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		drain := &iqv1.ServiceChangeRequest{MgwId: "g1", BootId: "1", Method: iqv1.ServiceChangeRequest_METHOD_GRACEFUL, Delay: durationpb.New(time.Minute)}
		if code := a.send(t, drain); code != 0 || b.state("g1") != Draining {
			t.Fatalf("%d, %s", code, b.state("g1"))
		}
		need := func() Request {
			return Request{Emergency: true, Codecs: b.Codecs([]string{"opus", "AMR-WB"}), Features: b.Features([]string{"rtcp-xr"})}
		}
		if n, err := b.Pick(need()); err != nil || n.ID != "g1" {
			t.Errorf("%+v: %v", need(), err)
		}
		newer := restart("g2", "1")
		newer.Capabilities.Codecs = append(newer.Capabilities.Codecs, &iqv1.Codec{Name: "AMR-WB"})
		newer.Capabilities.Features = []string{"rtcp-xr"}
		if code := b.send(t, newer); code != 0 || b.state("g2") != InService {
			t.Fatalf("refused: %d", code)
		}
		if r := need(); len(r.Codecs) != 2 || len(r.Features) != 1 {
			t.Errorf("what drains holds back what the others can do: %+v", r)
		}
	})
}

// TestIQ32_SilentNodeExpiresAfterThreeBeats: suspect after two intervals without a report, lost after three, at every instance once.
func TestIQ32_SilentNodeExpiresAfterThreeBeats(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		for n := range 10 {
			time.Sleep(5 * time.Second) // the bubble's clock
			if r := []*member{a, b}[n%2].beat(t, "g1", "1", uint32(n)); r.GetReRegister() || r.GetNext().AsDuration() != 5*time.Second {
				t.Fatalf("beat %d: %v", n, r)
			}
		}
		if n, ok := b.Node("g1"); !ok || n.Load.Contexts != 9 || n.Via != "b" || n.Beats != 11 || n.State != InService {
			t.Errorf("node %+v", n)
		}
		time.Sleep(11 * time.Second)
		if a.state("g1") != Suspect || b.state("g1") != Suspect {
			t.Errorf("after 11 s: %s, %s", a.state("g1"), b.state("g1"))
		}
		if n, err := a.Pick(Request{}); err != nil || n.ID != "g1" {
			t.Errorf("a suspect is better than nothing: %v", err)
		}
		time.Sleep(5 * time.Second)
		for _, m := range []*member{a, b} {
			if got := m.takeLost(); !slices.Equal(got, []string{"g1/1 expired"}) || m.state("g1") != "gone" {
				t.Errorf("%s was told %q, node %s", m.cfg.Instance, got, m.state("g1"))
			}
			if _, err := m.Pick(Request{}); !errors.Is(err, ErrNoGateway) {
				t.Errorf("picked: %v", err)
			}
		}
		if r := a.beat(t, "g1", "1", 0); !r.GetReRegister() {
			t.Error("a forgotten node is not asked to register again")
		}
	})
}

// TestIQ32_RestartLosesTheOldBoot: a new boot_id means that the contexts of the old one are gone; the same boot comes back with them.
func TestIQ32_RestartLosesTheOldBoot(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		b.register(t, "g1", "1")
		r := restart("g1", "1")
		r.Method, r.Capabilities = iqv1.ServiceChangeRequest_METHOD_DISCONNECTED, nil
		if code := a.send(t, r); code != 0 {
			t.Errorf("link came back: %d", code)
		}
		if got := append(a.takeLost(), b.takeLost()...); len(got) != 0 {
			t.Errorf("the same boot counts as lost: %q", got)
		}
		b.register(t, "g1", "2")
		for _, m := range []*member{a, b} {
			if got := m.takeLost(); !slices.Equal(got, []string{"g1/1 restarted"}) {
				t.Errorf("%s was told %q", m.cfg.Instance, got)
			}
			if n, ok := m.Node("g1"); !ok || n.Boot != "2" {
				t.Errorf("%s sees %+v", m.cfg.Instance, n)
			}
		}
		if r := a.beat(t, "g1", "1", 5); !r.GetReRegister() {
			t.Error("a beat of the old boot was taken")
		}
		if n, _ := a.Node("g1"); n.Load.Contexts != 0 {
			t.Error("the load of the old boot was taken")
		}
	})
}

// TestIQ32_GracefulDrains: no new contexts, the present ones stay; ended by a beat or a registration of the same boot.
func TestIQ32_GracefulDrains(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		drain := &iqv1.ServiceChangeRequest{MgwId: "g1", BootId: "1", Method: iqv1.ServiceChangeRequest_METHOD_GRACEFUL, Delay: durationpb.New(time.Minute)}
		if code := a.send(t, drain); code != 0 {
			t.Fatalf("refused: %d", code)
		}
		synctest.Wait()
		if n, _ := b.Node("g1"); n.State != Draining || time.Until(n.DrainBy) != time.Minute {
			t.Errorf("node %+v", n)
		}
		if _, err := b.Pick(Request{}); !errors.Is(err, ErrNoGateway) || !strings.Contains(err.Error(), "draining") {
			t.Errorf("picked: %v", err)
		}
		if _, err := b.Pick(Request{Emergency: true}); err != nil {
			t.Errorf("emergency: %v", err)
		}
		a.Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g1", BootId: "1", Draining: true})
		if a.state("g1") != Draining {
			t.Error("a beat ended the drain")
		}
		a.beat(t, "g1", "1", 0)
		if n, _ := b.Node("g1"); n.State != InService || !n.DrainBy.IsZero() {
			t.Errorf("after the drain: %+v", n)
		}
		a.Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g1", BootId: "1", Draining: true})
		if b.state("g1") != Draining {
			t.Error("a beat cannot begin a drain")
		}
		again := restart("g1", "1")
		again.Capabilities = nil
		if code := a.send(t, again); code != 0 || b.state("g1") != InService {
			t.Errorf("cancel of the drain: %d, %s", code, b.state("g1"))
		}
		if got := append(a.takeLost(), b.takeLost()...); len(got) != 0 {
			t.Errorf("a drain loses nothing: %q", got)
		}
	})
}

func TestIQ32_ForcedLosesAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		if code := a.send(t, &iqv1.ServiceChangeRequest{MgwId: "g1", BootId: "1", Method: iqv1.ServiceChangeRequest_METHOD_FORCED}); code != 0 {
			t.Fatalf("refused: %d", code)
		}
		if got := a.takeLost(); !slices.Equal(got, []string{"g1/1 forced out of service"}) {
			t.Errorf("told %q", got)
		}
		if got := b.takeLost(); len(got) != 1 || b.state("g1") != "gone" {
			t.Errorf("the other instance was told %q, sees %s", got, b.state("g1"))
		}
	})
}

// TestIQ04_RealmsOfARecordSeenFirst: what had failed before an instance knew the record is told it too: calls that it owns may be there.
func TestIQ04_RealmsOfARecordSeenFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		r := restart("g1", "1")
		r.Capabilities.Realms[1].Unavailable = true
		a.send(t, r)
		synctest.Wait()
		for _, m := range []*member{a, b} {
			if got := m.takeLost(); !slices.Equal(got, []string{"g1/1 realm not available core"}) {
				t.Errorf("%s was told %q", m.cfg.Instance, got)
			}
		}
	})
}

// TestIQ32_ProfileVersions: the version is the highest that both sides have, and a gateway of version 1, whose heartbeats tell nothing of realms, serves
// as ever: FORCED without an interface is its end.
func TestIQ32_ProfileVersions(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, _ *member) {
		for offered, want := range map[uint32]uint32{1: 1, 2: 2, 7: 2} {
			r := restart("g1", "1")
			r.Capabilities.ProfileVersion = offered
			if reply, err := a.ServiceChange(t.Context(), r); err != nil || reply.GetError() != nil || reply.GetProfileVersion() != want {
				t.Errorf("version %d: %v, %v; want %d", offered, reply, err, want)
			}
		}
		a.register(t, "g1", "1") // of version 1
		if r := a.beat(t, "g1", "1", 3); r.GetReRegister() || r.GetProfileVersion() != 2 || a.state("g1") != InService {
			t.Errorf("%v, %s", r, a.state("g1"))
		}
		if _, err := a.Pick(Request{AccessRealm: "access", CoreRealm: "core"}); err != nil {
			t.Error(err)
		}
		if code := a.send(t, &iqv1.ServiceChangeRequest{MgwId: "g1", BootId: "1", Method: iqv1.ServiceChangeRequest_METHOD_FORCED}); code != 0 || a.state("g1") != "gone" {
			t.Errorf("code %d, %s", code, a.state("g1"))
		}
	})
}

// TestIQ03_IQ04_InterfaceFailsAndComesBack: one message for all terminations of an interface; every instance ends the calls there once and places none
// in its realms until it serves again. What a lost message would have told, the next heartbeat tells.
func TestIQ03_IQ04_InterfaceFailsAndComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		pick := func(want string) {
			t.Helper()
			synctest.Wait()
			for _, m := range []*member{a, b} {
				_, err := m.Pick(Request{AccessRealm: "access", CoreRealm: "core"})
				if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)) {
					t.Errorf("%s picks: %v, want %q", m.cfg.Instance, err, want)
				}
			}
		}
		lost := func(want ...string) {
			t.Helper()
			for _, m := range []*member{a, b} {
				if got := m.takeLost(); !slices.Equal(got, want) {
					t.Errorf("%s was told %q, want %q", m.cfg.Instance, got, want)
				}
			}
		}
		change := func(m *member, method iqv1.ServiceChangeRequest_Method, realms ...string) gwerr.Code {
			return m.send(t, &iqv1.ServiceChangeRequest{MgwId: "g1", BootId: "1", Method: method, InterfaceId: "eth1", Realms: realms})
		}
		beat := func(m *member, down ...string) {
			m.Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g1", BootId: "1", UnavailableRealms: down})
		}
		const forced, back = iqv1.ServiceChangeRequest_METHOD_FORCED, iqv1.ServiceChangeRequest_METHOD_RESTART
		pick("")
		if code := change(a, forced, "core", "not one of its realms"); code != 0 {
			t.Fatalf("refused: %d", code)
		}
		lost("g1/1 realm not available core")
		pick("1 core realm not available")
		if n, ok := b.Node("g1"); !ok || n.State != InService || !slices.Equal(n.Down, []string{"core"}) {
			t.Errorf("%+v", n)
		}
		change(b, forced, "core") // repeated, to another instance
		beat(a, "core")
		lost()
		if code := change(b, back, "core"); code != 0 {
			t.Fatalf("refused: %d", code)
		}
		lost()
		pick("")
		beat(b, "access", "core")
		lost("g1/1 realm not available access core")
		pick("1 access realm not available")
		beat(a)
		lost()
		pick("")
		// A registration tells it too, and a new boot knows nothing of an older one's failures.
		again := restart("g1", "2")
		again.Capabilities.Realms[0].Unavailable = true
		a.send(t, again)
		lost("g1/1 restarted")
		pick("1 access realm not available")
		a.register(t, "g1", "3")
		lost("g1/2 restarted")
		pick("")
		for _, r := range []*iqv1.ServiceChangeRequest{
			{MgwId: "g1", BootId: "3", Method: forced, InterfaceId: "eth1"},
			{MgwId: "g1", BootId: "3", Method: iqv1.ServiceChangeRequest_METHOD_GRACEFUL, InterfaceId: "eth1", Realms: []string{"core"}},
			{MgwId: "g1", BootId: "2", Method: forced, InterfaceId: "eth1", Realms: []string{"core"}},
		} {
			if code := a.send(t, r); code == 0 {
				t.Errorf("%v was granted", r)
			}
		}
		lost()
		pick("")
	})
}

func TestUnreachableNodeIsSuspectForABeat(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		a.Unreachable("g1")
		a.Unreachable("unknown")
		if a.state("g1") != Suspect || b.state("g1") != InService {
			t.Errorf("%s, %s", a.state("g1"), b.state("g1"))
		}
		a.beat(t, "g1", "1", 0)
		if a.state("g1") != InService {
			t.Error("its own report does not clear it")
		}
	})
}

// TestPicksCountUntilTheReport: an instance does not place more than the node has room for between two reports.
func TestPicksCountUntilTheReport(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		r := restart("g1", "1")
		r.Capabilities.MaxContexts = 10
		a.send(t, r)
		synctest.Wait()
		picked := 0
		for range 20 {
			if _, err := b.Pick(Request{}); err == nil {
				picked++
			}
		}
		if picked != 10 { // 10 - 10/20
			t.Errorf("picked %d times", picked)
		}
		a.beat(t, "g1", "1", 4)
		picked = 0
		for range 20 {
			if _, err := b.Pick(Request{}); err == nil {
				picked++
			}
		}
		if picked != 6 {
			t.Errorf("after the report picked %d times, want 6", picked)
		}
	})
}

// TestStoreOutageKillsNoNode: who still hears the node keeps it and enters it again; who registers is told to come again.
func TestStoreOutageKillsNoNode(t *testing.T) {
	inBubble(t, func(t *testing.T, s *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		s.Fail(fmt.Errorf("%w: test", store.ErrUnavailable))
		for range 6 {
			time.Sleep(5 * time.Second) // the bubble's clock; the record expires meanwhile
			if r := a.beat(t, "g1", "1", 3); r.GetReRegister() {
				t.Error("asked to register while the store is away")
			}
		}
		if n, ok := a.Node("g1"); !ok || n.Load.Contexts != 3 {
			t.Errorf("the instance that hears it sees %+v", n)
		}
		if _, err := a.Pick(Request{}); err != nil {
			t.Error(err)
		}
		if got := a.takeLost(); len(got) != 0 {
			t.Errorf("told %q", got)
		}
		if _, err := a.ServiceChange(t.Context(), restart("g2", "1")); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("registration: %v, want ErrUnavailable", err)
		}
		s.Fail(nil)
		time.Sleep(5 * time.Second)
		a.beat(t, "g1", "1", 4)
		if n, ok := b.Node("g1"); !ok || n.Load.Contexts != 4 {
			t.Errorf("after the outage the other sees %+v, %v", n, ok)
		}
		if got := a.takeLost(); len(got) != 0 {
			t.Errorf("told %q", got)
		}
	})
}

// TestLimboEnds: a node whose record expired in an outage and that falls silent too is lost.
func TestLimboEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, s *store.Memory, a, _ *member) {
		a.register(t, "g1", "1")
		s.Fail(fmt.Errorf("%w: test", store.ErrUnavailable))
		time.Sleep(10 * time.Second) // the bubble's clock
		a.beat(t, "g1", "1", 0)
		time.Sleep(6 * time.Second)
		if _, ok := a.Node("g1"); !ok {
			t.Fatal("lost too early")
		}
		time.Sleep(10 * time.Second)
		if got := a.takeLost(); !slices.Equal(got, []string{"g1/1 expired"}) || a.state("g1") != "gone" {
			t.Errorf("told %q, sees %s", got, a.state("g1"))
		}
	})
}

// TestRegistrationsThatMakeNoSense are refused with a code and a text that names the fault.
func TestRegistrationsThatMakeNoSense(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, _ *member) {
		for name, c := range map[string]struct {
			change func(*iqv1.ServiceChangeRequest)
			code   gwerr.Code
		}{
			"no id":                {func(r *iqv1.ServiceChangeRequest) { r.MgwId = "" }, gwerr.IncorrectIdentifier},
			"id with slash":        {func(r *iqv1.ServiceChangeRequest) { r.MgwId = "a/b" }, gwerr.IncorrectIdentifier},
			"long id":              {func(r *iqv1.ServiceChangeRequest) { r.MgwId = strings.Repeat("a", 65) }, gwerr.IncorrectIdentifier},
			"no boot":              {func(r *iqv1.ServiceChangeRequest) { r.BootId = "" }, gwerr.IncorrectIdentifier},
			"no address":           {func(r *iqv1.ServiceChangeRequest) { r.Address = "" }, gwerr.UnsupportedValue},
			"address without port": {func(r *iqv1.ServiceChangeRequest) { r.Address = "10.0.0.1" }, gwerr.UnsupportedValue},
			"port 0":               {func(r *iqv1.ServiceChangeRequest) { r.Address = "10.0.0.1:0" }, gwerr.UnsupportedValue},
			"port too large":       {func(r *iqv1.ServiceChangeRequest) { r.Address = "10.0.0.1:65536" }, gwerr.UnsupportedValue},
			"no profile":           {func(r *iqv1.ServiceChangeRequest) { r.Capabilities.ProfileVersion = 0 }, gwerr.UnsupportedValue},
			"no realm":             {func(r *iqv1.ServiceChangeRequest) { r.Capabilities.Realms = nil }, gwerr.UnsupportedValue},
			"too many realms":      {func(r *iqv1.ServiceChangeRequest) { r.Capabilities.Realms = make([]*iqv1.Realm, 65) }, gwerr.UnsupportedValue},
			"unknown, no caps":     {func(r *iqv1.ServiceChangeRequest) { r.Capabilities = nil }, gwerr.NotReady},
			"no method":            {func(r *iqv1.ServiceChangeRequest) { r.Method = 0 }, gwerr.SyntaxErrorInActionID},
			"drain of a stranger":  {func(r *iqv1.ServiceChangeRequest) { r.Method = iqv1.ServiceChangeRequest_METHOD_GRACEFUL }, gwerr.NotReady},
			"forced stranger":      {func(r *iqv1.ServiceChangeRequest) { r.Method = iqv1.ServiceChangeRequest_METHOD_FORCED }, gwerr.NotReady},
		} {
			r := restart("g1", "1")
			c.change(r)
			if code := a.send(t, r); code != c.code {
				t.Errorf("%s: %d, want %d", name, code, c.code)
			}
		}
		if r := a.Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "a/b"}); !r.GetReRegister() {
			t.Error("a beat under a bad id was taken")
		}
		synctest.Wait()
		if len(a.Nodes()) != 0 {
			t.Errorf("entered: %+v", a.Nodes())
		}
	})
}

// TestReportsOfSeveralInstances: beats that reach different instances at once do not lose each other.
func TestReportsOfSeveralInstances(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *store.Memory, a, b *member) {
		a.register(t, "g1", "1")
		var wg sync.WaitGroup
		for n := range 20 {
			m := []*member{a, b}[n%2]
			wg.Go(func() {
				if r := m.Heartbeat(context.Background(), &iqv1.HeartbeatRequest{MgwId: "g1", BootId: "1", Contexts: 1}); r.GetReRegister() {
					t.Error("asked to register")
				}
			})
			if n%2 == 1 { // two at a time
				wg.Wait()
			}
		}
		synctest.Wait()
		if n, _ := a.Node("g1"); n.Beats != 21 {
			t.Errorf("%d beats of 21 counted", n.Beats)
		}
	})
}
