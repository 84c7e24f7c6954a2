package registrar

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// ob reports whether the Path of the last REGISTER sent says outbound.
func (f *fixture) ob() bool {
	f.t.Helper()
	path, err := headers.ParseAddress(f.sent[len(f.sent)-1].Get("Path"))
	if err != nil {
		f.t.Fatal(err)
	}
	u, err := headers.ParseURI(path.URI)
	if err != nil || !u.Params.Has("lr") {
		f.t.Fatalf("Path %s, %v", path.URI, err)
	}
	return u.Params.Has("ob")
}

// TestR5626_1_OutboundOfTheFirstHop: our Path says ob when the browser is at the other end of the connection and names a flow by reg-id;
// what comes through a proxy before us has no flow of ours, and a browser that insists on one is told so.
func TestR5626_1_OutboundOfTheFirstHop(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		behindProxy := func(m *headers.Msg) { m.Set("Via", "SIP/2.0/WS p.example;branch=z9hG4bK2, "+m.Get("Via")) }
		insists := func(m *headers.Msg) { m.Set("Require", "outbound") }
		for name, c := range map[string]struct {
			change []func(*headers.Msg)
			status int
			ob     bool
		}{
			"first hop":                     {nil, 200, true},
			"first hop, insists":            {[]func(*headers.Msg){insists}, 200, true},
			"no reg-id":                     {[]func(*headers.Msg){func(m *headers.Msg) { m.Set("Contact", "<sip:alice@a.invalid;transport=ws>") }}, 200, false},
			"behind a proxy":                {[]func(*headers.Msg){behindProxy}, 200, false},
			"behind a proxy, insists":       {[]func(*headers.Msg){behindProxy, insists}, 439, false},
			"two lines of Via, and insists": {[]func(*headers.Msg){insists, func(m *headers.Msg) { m.Add("Via", "SIP/2.0/WS x.invalid;branch=z9hG4bK3") }}, 439, false},
		} {
			sent := len(f.sent)
			resp := f.ask("f1", "192.0.2.1", func(m *headers.Msg) {
				for _, change := range c.change {
					change(m)
				}
			})
			switch {
			case resp.Status != c.status:
				t.Errorf("%s: %d, want %d", name, resp.Status, c.status)
			case resp.Status == 439 && (len(f.sent) != sent || headers.ToTag(&resp) == ""):
				t.Errorf("%s: %+v, %d reached the core", name, resp, len(f.sent)-sent)
			case resp.Status == 200 && f.ob() != c.ob:
				t.Errorf("%s: ob is %v", name, !c.ob)
			}
		}
	})
}

// TestR5626_4_FlowTimer: only a browser that the core has accepted learns how long a silent flow lasts.
func TestR5626_4_FlowTimer(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.cfg.FlowTimer = 90 * time.Second
		if resp := f.ask("f1", "192.0.2.1", asIs); resp.Get("Flow-Timer") != "90" {
			t.Errorf("Flow-Timer %q", resp.Get("Flow-Timer"))
		}
		f.answer = func(req *headers.Msg) Outcome { return Outcome{Msg: headers.NewResponse(req, 403, "")} }
		if resp := f.ask("f1", "192.0.2.1", asIs); resp.Has("Flow-Timer") {
			t.Errorf("403 with Flow-Timer %q", resp.Get("Flow-Timer"))
		}
	})
}

// TestMT08_NewestFlowOfAnInstance: a browser that comes back over a new connection, while the old one has not been found dead yet, is called
// over the new one by the Path of either registration; the end of the old one then changes nothing (RFC 5626 §5.3).
func TestMT08_NewestFlowOfAnInstance(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.register("f1", 600, "<urn:uuid:1>")
		f.register("f2", 600, "<urn:uuid:1>")
		newest := func(when string) {
			t.Helper()
			for n := range f.sent {
				if b, err := f.ByPathToken(pathToken(t, &f.sent[n])); err != nil || b.FlowID != "f2" || b.Contact != "sip:alice@f2.invalid;transport=ws" {
					t.Errorf("%s: by Path %d over %q at %s, %v", when, n, b.FlowID, b.Contact, err)
				}
			}
			if len(f.OfFlow("f1")) != 0 || len(f.OfFlow("f2")) != 1 {
				t.Errorf("%s: %d bindings over the old flow, %d over the new one", when, len(f.OfFlow("f1")), len(f.OfFlow("f2")))
			}
		}
		newest("both open")
		f.OnFlowClosed(siptransport.Flow{ID: "f1"})
		newest("old one closed")
		if lost := f.told(&f.lost); len(lost) != 0 {
			t.Errorf("told of the loss of %v", lost)
		}
		f.register("f3", 600, "<urn:uuid:2>") // another device of the same user is another flow
		if b, err := f.ByPathToken(pathToken(t, &f.sent[2])); err != nil || b.FlowID != "f3" {
			t.Errorf("the other device is called over %q, %v", b.FlowID, err)
		}
		f.OnFlowClosed(siptransport.Flow{ID: "f2"})
		if b, err := f.ByPathToken(pathToken(t, &f.sent[0])); err != nil || b.FlowID != "" { // the caller gets 430
			t.Errorf("without a flow called over %q, %v", b.FlowID, err)
		}
	})
}
