package registrar

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/mgc/internal/turncred"
)

// fixture is a registrar whose core answers with what the test says.
type fixture struct {
	*Registrar
	t      *testing.T
	sent   []headers.Msg
	answer func(req *headers.Msg) Outcome

	mu                      sync.Mutex // the mirror's goroutine tells, too
	lost, back, gone, moved []string
	routes                  []string
}

type tx struct{ got []headers.Msg }

func (t *tx) Respond(m headers.Msg) error { t.got = append(t.got, m); return nil }

func (f *fixture) note(list *[]string, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, text)
}

// told takes what the callbacks were told, after all goroutines have come to rest.
func (f *fixture) told(list *[]string) []string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := *list
	*list = nil
	return out
}

// newFixture makes an instance of the pool that shares the store.
func newFixture(t *testing.T, s store.Store, name string) *fixture {
	t.Helper()
	sealer, err := flowtoken.New([]flowtoken.Key{{ID: 1}})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, answer: granted}
	f.Registrar, err = New(t.Context(), Config{Instance: name, PathHost: "mgc.example:5070", MaxPerAOR: 2, Burst: 8, RatePerIP: 1}, Deps{
		Store: s, Sealer: sealer, Metrics: prometheus.NewRegistry(), Log: zap.NewNop(),
		Send: func(req headers.Msg, deliver func(Outcome)) error {
			f.sent = append(f.sent, req)
			deliver(f.answer(&req))
			return nil
		},
		OnFlowLost: func(id string) { f.note(&f.lost, id) },
		OnFlowBack: func(id string) { f.note(&f.back, id) },
		OnGone:     func(id string) { f.note(&f.gone, id) },
		Offer:      func(resp *headers.Msg, aor string) { resp.Set(turncred.Header, "for "+aor) },
		OnMoved:    func(id, owner string) { f.note(&f.moved, id+" "+owner) },
		OnRoutes:   func(routes []string) { f.note(&f.routes, strings.Join(routes, ",")) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// granted is a 200 of a core that repeats the contact with the expiry asked for.
func granted(req *headers.Msg) Outcome {
	m := headers.NewResponse(req, 200, "")
	exp, _ := headers.Expires(req)
	if exp > 0 {
		m.Add("Contact", req.Get("Contact")+fmt.Sprintf(";expires=%d", exp))
	}
	m.Add("Service-Route", "<sip:orig@core.example;lr>")
	m.Add("P-Associated-URI", "<sip:alice@x.example>, <tel:+4912345>")
	m.Add("P-Charging-Vector", "icid-value=1")
	m.Add(turncred.Header, "of a core that is none of ours")
	return Outcome{Msg: m}
}

func (f *fixture) register(flow string, expires int, instance string) headers.Msg {
	m := headers.Msg{Method: "REGISTER", RequestURI: "sip:x.example"}
	for _, h := range [][2]string{{"Via", "SIP/2.0/WS a.invalid;branch=z9hG4bK1"}, {"From", "<sip:alice@x.example>;tag=1"}, {"To", "<sip:alice@x.example>"},
		{"Call-ID", "r1"}, {"CSeq", "1 REGISTER"}, {"Max-Forwards", "70"}, {"Expires", fmt.Sprint(expires)}, {"Authorization", `Digest username="alice", nonce="n"`},
		{"P-Visited-Network-ID", "evil"}, {"Contact", `<sip:alice@` + flow + `.invalid;transport=ws>;+sip.instance="` + instance + `";reg-id=1`}} {
		m.Add(h[0], h[1])
	}
	t := &tx{}
	f.OnRegister(t, m, siptransport.Flow{ID: flow, Transport: "WS", Edge: siptransport.EdgeAccess, Remote: netip.MustParseAddrPort("192.0.2.1:9")})
	if len(t.got) != 1 {
		panic(fmt.Sprintf("%d answers", len(t.got)))
	}
	return t.got[0]
}

func pathToken(t *testing.T, m *headers.Msg) string {
	t.Helper()
	a, err := headers.ParseAddress(m.Get("Path"))
	if err != nil {
		t.Fatalf("Path %q: %v", m.Get("Path"), err)
	}
	u, err := headers.ParseURI(a.URI)
	if err != nil || !u.Params.Has("lr") || !u.Params.Has("ob") || headers.HostPort(u.Host, u.Port) != "mgc.example:5070" {
		t.Fatalf("Path %q: %v", m.Get("Path"), err)
	}
	return u.User
}

// inPool runs the test in a bubble with a store.
func inPool(t *testing.T, body func(t *testing.T, s *store.Memory)) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		defer s.Close()
		body(t, s)
	})
}

// run runs the test in a bubble, so that the end of the registrar's goroutines is checked and its clock is the test's.
func run(t *testing.T, body func(t *testing.T, f *fixture)) {
	inPool(t, func(t *testing.T, s *store.Memory) {
		f := newFixture(t, s, "m1")
		body(t, f)
		f.Close()
	})
}

func TestREG01_REG14_REG15_DigestPassesAndPathIsAdded(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		resp := f.register("f1", 600, "<urn:uuid:1>")
		out := f.sent[0]
		if out.Get("Authorization") != `Digest username="alice", nonce="n"` || out.Get("Max-Forwards") != "69" || out.Has("Via") || out.Has("P-Visited-Network-ID") {
			t.Errorf("relayed %+v", out)
		}
		if !headers.HasToken(&out, "Require", "path") {
			t.Error("Require: path is missing")
		}
		b, err := f.ByPathToken(pathToken(t, &out))
		if err != nil || b.FlowID != "f1" || b.AOR != "sip:alice@x.example" {
			t.Errorf("binding %+v: %v", b, err)
		}
		if resp.Status != 200 || resp.Get("Flow-Timer") == "" || resp.Has("P-Charging-Vector") || resp.Has("Via") {
			t.Errorf("answer %+v", resp)
		}
	})
}

func TestREG14_ForgedTokenIsRefused(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.register("f1", 600, "<urn:uuid:1>")
		token := pathToken(t, &f.sent[0])
		last := "a"
		if strings.HasSuffix(token, last) {
			last = "b"
		}
		if _, err := f.ByPathToken("b" + token[1:len(token)-1] + last); !errors.Is(err, flowtoken.ErrForged) {
			t.Errorf("got %v", err)
		}
	})
}

func TestREG15_CoreWithoutPath(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 420, "")
			m.Add("Unsupported", "path")
			return Outcome{Msg: m}
		}
		if resp := f.register("f1", 600, "<urn:uuid:1>"); resp.Status != 500 || len(f.All()) != 0 {
			t.Errorf("%d, %d bindings", resp.Status, len(f.All()))
		}
	})
}

func TestREG01_ChallengeMakesNoBinding(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 401, "")
			m.Add("WWW-Authenticate", `Digest realm="x", nonce="n2"`)
			return Outcome{Msg: m}
		}
		resp := f.register("f1", 600, "<urn:uuid:1>")
		if resp.Status != 401 || resp.Get("WWW-Authenticate") == "" || len(f.OfFlow("f1")) != 0 {
			t.Errorf("%+v, %d bindings", resp, len(f.OfFlow("f1")))
		}
	})
}

func TestREG22_R3608_ServiceRouteAndIdentitiesAreKept(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.register("f1", 600, "<urn:uuid:1>")
		b := f.OfFlow("f1")
		if len(b) != 1 || len(b[0].ServiceRoute) != 1 || b[0].ServiceRoute[0] != "<sip:orig@core.example;lr>" || len(b[0].Identities) != 2 {
			t.Errorf("%+v", b)
		}
	})
}

func TestREG20_REG28_NewConnectionReplacesTheFlow(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.register("f1", 600, "<urn:uuid:1>")
		id := f.OfFlow("f1")[0].ID
		f.OnFlowClosed(siptransport.Flow{ID: "f1"})
		if b, ok := f.ByID(id); !ok || b.FlowID != "" || len(f.told(&f.lost)) != 1 {
			t.Errorf("after the loss: %+v %v, or not told", b, ok)
		}
		f.register("f2", 600, "<urn:uuid:1>")
		if b, ok := f.ByID(id); !ok || b.FlowID != "f2" || len(f.All()) != 1 || len(f.told(&f.back)) != 1 {
			t.Errorf("after the return: %+v %v, or not told", b, ok)
		}
	})
}

func TestREG27_DeregistrationAndExpiry(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.register("f1", 600, "<urn:uuid:1>")
		f.register("f1", 0, "<urn:uuid:1>")
		if gone := f.told(&f.gone); len(f.All()) != 0 || len(gone) != 1 {
			t.Errorf("%d bindings, gone %v", len(f.All()), gone)
		}
		f.register("f1", 60, "<urn:uuid:1>")
		time.Sleep(62 * time.Second) // the bubble's clock
		if gone := f.told(&f.gone); len(f.All()) != 0 || len(gone) != 1 {
			t.Errorf("after the expiry: %d bindings, gone %v", len(f.All()), gone)
		}
	})
}

func TestREG32_LimitsPerAddressAndAOR(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		for i := range 3 {
			resp := f.register("f1", 600, fmt.Sprintf("<urn:uuid:%d>", i))
			if want := map[bool]int{true: 200, false: 503}[i < 2]; resp.Status != want {
				t.Errorf("binding %d: %d", i, resp.Status)
			}
		}
		limited := 0
		for range 10 {
			if resp := f.register("f1", 600, "<urn:uuid:1>"); resp.Status == 503 && resp.Get("Retry-After") != "" {
				limited++
			}
		}
		if limited != 5 {
			t.Errorf("%d of 10 were limited, want 5", limited)
		}
	})
}

func TestREG21_UnreachableCore(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.answer = func(*headers.Msg) Outcome { return Outcome{} }
		if resp := f.register("f1", 600, "<urn:uuid:1>"); resp.Status != 503 {
			t.Errorf("%d", resp.Status)
		}
		f.answer = func(*headers.Msg) Outcome { return Outcome{Timeout: true} }
		if resp := f.register("f1", 600, "<urn:uuid:1>"); resp.Status != 504 {
			t.Errorf("%d", resp.Status)
		}
	})
}

// TURN credentials are for who has registered, and for nobody else: not with a challenge or a refusal, nor with the end of a binding.
func TestARC09_CredentialsOnlyWithAnAcceptedRegistration(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		if m := f.register("f1", 600, "<urn:uuid:1>"); m.Get(turncred.Header) != "for sip:alice@x.example" {
			t.Errorf("registered: %q", m.Get(turncred.Header))
		}
		if m := f.register("f1", 0, "<urn:uuid:1>"); m.Status != 200 || m.Has(turncred.Header) {
			t.Errorf("signed out: %d %q", m.Status, m.Get(turncred.Header))
		}
		for _, status := range []int{401, 403, 503} {
			f.answer = func(req *headers.Msg) Outcome {
				m := headers.NewResponse(req, status, "")
				m.Add(turncred.Header, "of the core")
				return Outcome{Msg: m}
			}
			if m := f.register("f1", 600, "<urn:uuid:1>"); m.Status < 300 || m.Has(turncred.Header) {
				t.Errorf("%d: %d %q", status, m.Status, m.Get(turncred.Header))
			}
		}
	})
}
