package registrar

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// ask sends a REGISTER of alice from the address, changed by the test.
func (f *fixture) ask(flow, from string, change func(*headers.Msg)) headers.Msg {
	f.t.Helper()
	m := headers.Msg{Method: "REGISTER", RequestURI: "sip:x.example"}
	for _, h := range [][2]string{{"Via", "SIP/2.0/WS a.invalid;branch=z9hG4bK1"}, {"From", "<sip:alice@x.example>;tag=1"}, {"To", "<sip:alice@x.example>"},
		{"Call-ID", "r1"}, {"CSeq", "1 REGISTER"}, {"Max-Forwards", "70"}, {"Expires", "600"},
		{"Contact", `<sip:alice@df7jal23ls0d.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1`}} {
		m.Add(h[0], h[1])
	}
	change(&m)
	t := &tx{}
	f.OnRegister(t, m, siptransport.Flow{ID: flow, Transport: "WS", Edge: siptransport.EdgeAccess, Remote: netip.AddrPortFrom(netip.MustParseAddr(from), 9)})
	if len(t.got) != 1 {
		f.t.Fatalf("%d answers", len(t.got))
	}
	return t.got[0]
}

func asIs(*headers.Msg) {}

// TestREG01_OtherAnswersPassUnchanged: whatever the core says reaches the browser, and makes no binding.
func TestREG01_OtherAnswersPassUnchanged(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		for _, status := range []int{401, 403, 404, 407, 423, 500, 503, 600} {
			f.answer = func(req *headers.Msg) Outcome {
				m := headers.NewResponse(req, status, "As The Core Says")
				m.Add("WWW-Authenticate", `Digest realm="x", nonce="n2"`)
				m.Add("Min-Expires", "60")
				return Outcome{Msg: m}
			}
			resp := f.ask(fmt.Sprint("f", status), fmt.Sprintf("192.0.2.%d", status%200), asIs)
			if resp.Status != status || resp.Reason != "As The Core Says" || resp.Get("WWW-Authenticate") == "" || resp.Get("Min-Expires") != "60" || resp.Has("Flow-Timer") {
				t.Errorf("%d: %+v", status, resp)
			}
		}
		if len(f.All()) != 0 {
			t.Errorf("%d bindings", len(f.All()))
		}
	})
}

// TestREG20_InstanceAndRegID: two flows of one browser are two bindings; without reg-id there is no outbound; the browser's own parameters reach
// the core untouched.
func TestREG20_InstanceAndRegID(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		second := func(m *headers.Msg) {
			m.Set("Contact", `<sip:alice@second.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=2;+g.3gpp.icsi-ref="urn%3Aurn-7"`)
		}
		f.ask("f1", "192.0.2.1", asIs)
		resp := f.ask("f2", "192.0.2.1", second)
		if len(f.OfFlow("f1")) != 1 || len(f.OfFlow("f2")) != 1 || len(f.All()) != 2 || resp.Get("Flow-Timer") != "60" {
			t.Errorf("%d and %d bindings, Flow-Timer %q", len(f.OfFlow("f1")), len(f.OfFlow("f2")), resp.Get("Flow-Timer"))
		}
		if got := f.sent[1].Get("Contact"); got != `<sip:alice@second.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=2;+g.3gpp.icsi-ref="urn%3Aurn-7"` {
			t.Errorf("Contact reaches the core as %s", got)
		}
		f.OnFlowClosed(siptransport.Flow{ID: "f1"})
		if len(f.OfFlow("f2")) != 1 || len(f.told(&f.lost)) != 1 {
			t.Error("the loss of one flow took the other along")
		}
		f.ask("f3", "192.0.2.1", func(m *headers.Msg) {
			m.Set("To", "<sip:bob@x.example>")
			m.Set("Contact", "<sip:bob@plain.invalid;transport=ws>")
		})
		path, err := headers.ParseAddress(f.sent[2].Get("Path"))
		if err != nil {
			t.Fatal(err)
		}
		if u, err := headers.ParseURI(path.URI); err != nil || u.Params.Has("ob") || !u.Params.Has("lr") {
			t.Errorf("Path without outbound is %s", path.URI)
		}
	})
}

// TestREG22_R3608_EveryAnswerReplaces: Service-Route, identities and expiry are those of the last 200.
func TestREG22_R3608_EveryAnswerReplaces(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.ask("f1", "192.0.2.1", asIs)
		f.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 200, "")
			m.Add("Contact", req.Get("Contact")+";expires=90")
			m.Add("Service-Route", "<sip:a.example;lr>, <sip:b.example;lr>")
			m.Add("P-Associated-URI", "<tel:+49123>, <sip:alice@x.example>, <sip:al@x.example>")
			m.Add("P-Charging-Function-Addresses", "ccf=1")
			return Outcome{Msg: m}
		}
		resp := f.ask("f1", "192.0.2.1", asIs)
		b := f.OfFlow("f1")[0]
		if !slices.Equal(b.ServiceRoute, []string{"<sip:a.example;lr>", "<sip:b.example;lr>"}) || !slices.Equal(b.Identities, []string{"sip:alice@x.example", "tel:+49123", "sip:al@x.example"}) {
			t.Errorf("%+v", b)
		}
		if left := time.Until(b.Expires); left != 90*time.Second {
			t.Errorf("expires in %s", left)
		}
		if resp.Has("P-Charging-Function-Addresses") || resp.Get("P-Associated-URI") == "" || resp.Has("Service-Route") {
			t.Errorf("answer %+v", resp)
		}
	})
}

// TestREG24_InvalidHostOfTheContact: the host that a browser makes up (RFC 7118 §5) is never resolved or rewritten, and is where it is called.
func TestREG24_InvalidHostOfTheContact(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		resp := f.ask("f1", "192.0.2.1", asIs)
		contact := `<sip:alice@df7jal23ls0d.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1`
		if got := f.sent[0].Get("Contact"); got != contact {
			t.Errorf("reaches the core as %s", got)
		}
		if resp.Status != 200 || resp.Get("Contact") != contact+";expires=600" {
			t.Errorf("reaches the browser as %s", resp.Get("Contact"))
		}
		if b, err := f.ByPathToken(pathToken(t, &f.sent[0])); err != nil || b.Contact != "sip:alice@df7jal23ls0d.invalid;transport=ws" {
			t.Errorf("called at %s, %v", b.Contact, err)
		}
		// A reload makes up another host; the instance is the same, and so is the binding.
		f.ask("f2", "192.0.2.1", func(m *headers.Msg) {
			m.Set("Contact", `<sip:alice@other.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1`)
		})
		if b, err := f.ByPathToken(pathToken(t, &f.sent[0])); err != nil || b.Contact != "sip:alice@other.invalid;transport=ws" || b.FlowID != "f2" {
			t.Errorf("after a reload called at %s over %s, %v", b.Contact, b.FlowID, err)
		}
	})
}

// TestREG27_WaysToDeregister: a contact of the browser's own, all of its connection, or what the core no longer lists.
func TestREG27_WaysToDeregister(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.ask("f1", "192.0.2.1", asIs)
		f.ask("f1", "192.0.2.1", func(m *headers.Msg) { m.Del("Contact") }) // a query changes nothing
		if len(f.All()) != 1 {
			t.Fatal("a query ended the binding")
		}
		f.ask("f1", "192.0.2.1", func(m *headers.Msg) { m.Set("Contact", "*"); m.Set("Expires", "0") })
		if len(f.All()) != 0 || len(f.told(&f.gone)) != 1 {
			t.Error("Contact: * left a binding")
		}
		f.ask("f1", "192.0.2.1", asIs)
		f.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 200, "")
			m.Add("Contact", "<sip:another@device.example>;expires=600")
			return Outcome{Msg: m}
		}
		f.ask("f1", "192.0.2.1", asIs)
		if len(f.All()) != 0 || len(f.told(&f.gone)) != 1 {
			t.Error("a contact that the core does not list is kept")
		}
	})
}

// TestREG32_RateOfOneAddress: what is over the limit is refused before it costs the core anything; others are not held back; time heals.
func TestREG32_RateOfOneAddress(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) { // 8 at once, 1 a second
		limited := func(from string, n int) (out int) {
			for range n {
				if resp := f.ask("f1", from, asIs); resp.Status == 503 && resp.Get("Retry-After") != "" && headers.ToTag(&resp) != "" {
					out++
				}
			}
			return out
		}
		if n := limited("192.0.2.1", 20); n != 12 || len(f.sent) != 8 {
			t.Errorf("%d of 20 limited, %d reached the core", n, len(f.sent))
		}
		if n := limited("2001:db8::1", 8); n != 0 {
			t.Errorf("another address: %d limited", n)
		}
		time.Sleep(3 * time.Second) // the bubble's clock
		if n := limited("192.0.2.1", 5); n != 2 {
			t.Errorf("after 3 s: %d of 5 limited", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		f.Registrar.mu.Lock()
		defer f.Registrar.mu.Unlock()
		if len(f.rates) != 0 {
			t.Errorf("%d idle addresses are remembered", len(f.rates))
		}
	})
}

// TestREG32_BindingsOfTheInstance are bounded; a known one may be renewed.
func TestREG32_BindingsOfTheInstance(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.cfg.MaxTotal = 1
		f.ask("f1", "192.0.2.1", asIs)
		other := func(m *headers.Msg) { m.Set("To", "<sip:bob@x.example>") }
		if resp := f.ask("f2", "192.0.2.1", other); resp.Status != 503 || len(f.All()) != 1 {
			t.Errorf("beyond the bound: %d", resp.Status)
		}
		if resp := f.ask("f1", "192.0.2.1", asIs); resp.Status != 200 {
			t.Errorf("renewal: %d", resp.Status)
		}
	})
}

// TestBadRegisters never reach the core.
func TestBadRegisters(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		for name, c := range map[string]struct {
			change func(*headers.Msg)
			status int
		}{
			"malformed To":      {func(m *headers.Msg) { m.Set("To", "<<>") }, 400},
			"two contacts":      {func(m *headers.Msg) { m.Add("Contact", "<sip:b@b.invalid>") }, 400},
			"malformed contact": {func(m *headers.Msg) { m.Set("Contact", "<<>") }, 400},
			"all, not removed":  {func(m *headers.Msg) { m.Set("Contact", "*") }, 400},
			"all and another": {func(m *headers.Msg) {
				m.Set("Contact", "*")
				m.Add("Contact", "<sip:b@b.invalid>")
				m.Set("Expires", "0")
			}, 400},
			"too many hops": {func(m *headers.Msg) { m.Set("Max-Forwards", "0") }, 483},
		} {
			if resp := f.ask("f1", "192.0.2.1", c.change); resp.Status != c.status {
				t.Errorf("%s: %d, want %d", name, resp.Status, c.status)
			}
		}
		if len(f.sent) != 0 {
			t.Errorf("%d reached the core", len(f.sent))
		}
		f.deps.Send = func(headers.Msg, func(Outcome)) error { return errors.New("no route") }
		if resp := f.ask("f1", "192.0.2.1", asIs); resp.Status != 503 || resp.Get("Retry-After") == "" {
			t.Errorf("core not reachable: %d", resp.Status)
		}
	})
}
