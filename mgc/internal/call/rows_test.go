package call

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// TestMO02_R3608_ServiceRouteReplacesTheBrowsers: whatever Route a browser sends, its requests leave by the Service-Route of its registration,
// in that order (TS 24.229 §5.2.6.3.3, RFC 3608 §6.1).
func TestMO02_R3608_ServiceRouteReplacesTheBrowsers(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	stored := []string{"<sip:orig@a.core.example;lr>", "<sip:b.core.example;lr>"}
	i.bind.mu.Lock()
	b := i.bind.byID["alice"]
	b.ServiceRoute = stored
	i.bind.byID["alice"] = b
	i.bind.mu.Unlock()
	for name, routes := range map[string][]string{
		"none": nil, "ours only": {"<sip:ws.example:8080;transport=ws;lr>"}, "right": append([]string{"<sip:ws.example:8080;lr>"}, stored...),
		"wrong order": {stored[1], stored[0]}, "one missing": stored[:1], "one more": append(slices.Clone(stored), "<sip:evil.example;lr>"), "wrong": {"<sip:evil.example;lr>"},
	} {
		for _, method := range []string{"INVITE", "MESSAGE"} {
			m := request(method, map[string]string{"INVITE": browserSDP, "MESSAGE": "hello"}[method])
			for _, r := range routes {
				m.Add("Route", r)
			}
			x := i.tx(m)
			if method == "INVITE" {
				i.OnRequest(callcore.LegAccess, x, m.Clone(), "fa")
			} else {
				i.OnStandalone(callcore.LegAccess, x, m.Clone(), "fa")
			}
			out := i.expectOut(callcore.LegCore, method)
			if got := out.msg.Values("Route"); !slices.Equal(got, stored) {
				t.Errorf("%s, %s leaves by %v", name, method, got)
			}
			out.respond(486, "")
			x.expect(486)
		}
	}
	i.gone()
}

// TestR6442_R3840_R3841_LocationAndPreferencesCross: in calls and outside of them, both ways.
func TestR6442_R3840_R3841_LocationAndPreferencesCross(t *testing.T) {
	fields := []headers.Field{
		{Name: "Geolocation", Value: "<https://lis.example/1>"}, {Name: "Geolocation-Routing", Value: "yes"}, {Name: "Geolocation-Error", Value: `100;code="Cannot Process Location"`},
		{Name: "Accept-Contact", Value: `*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"`}, {Name: "Reject-Contact", Value: "*;automata"},
		{Name: "Request-Disposition", Value: "no-fork"},
	}
	check := func(what string, m *headers.Msg) {
		t.Helper()
		for _, f := range fields {
			if m.Get(f.Name) != f.Value {
				t.Errorf("%s with %s %q, want %q", what, f.Name, m.Get(f.Name), f.Value)
			}
		}
	}
	p := newPool(t)
	i := p.instance("m1", ims)
	m := request("INVITE", browserSDP)
	m.Fields = append(m.Fields, fields...)
	x := i.ask(callcore.LegAccess, m, "fa")
	out := i.expectOut(callcore.LegCore, "INVITE")
	check("INVITE of the browser", &out.msg)
	out.respond(424, "", fields[2])
	if r := x.expect(424); r.Get("Geolocation-Error") != fields[2].Value {
		t.Errorf("refusal %+v", r.Fields)
	}
	m = request("INVITE", coreSDP(1, "sendrecv"))
	m.Fields = append(m.Fields, fields...)
	m.Add("Route", "<sip:path-bob@mgc.example:5070;lr>")
	x = i.ask(callcore.LegCore, m, "")
	out = i.expectOut(callcore.LegAccess, "INVITE")
	check("INVITE of the core", &out.msg)
	out.respond(486, "")
	x.expect(486)
	m = request("MESSAGE", "hello")
	m.Fields = append(m.Fields, fields...)
	x = i.alone(callcore.LegAccess, m, "fa")
	out = i.expectOut(callcore.LegCore, "MESSAGE")
	check("MESSAGE", &out.msg)
	out.respond(200, "")
	x.expect(200)
	i.gone()
}

// TestMT09_IdentityServicesAreTransparent: the browser sees who calls (OIP) unless that is withheld (OIR), and who has answered it (TIP)
// unless that is withheld (TIR); its own wish for privacy reaches the core with its identity (TS 24.607, TS 24.608).
func TestMT09_IdentityServicesAreTransparent(t *testing.T) {
	field := func(n, v string) headers.Field { return headers.Field{Name: n, Value: v} }
	caller, callee := `"Carol" <sip:carol@x.example>`, "<tel:+4988>"
	for _, private := range []bool{false, true} {
		privacy := map[bool]string{false: "none", true: "id"}[private]
		shown := func(value string) string {
			if private {
				return ""
			}
			return value
		}
		p := newPool(t)
		i := p.instance("m1", ims)
		m := request("INVITE", coreSDP(1, "sendrecv")) // OIP, OIR
		m.Fields = append(m.Fields, field("Route", "<sip:path-bob@mgc.example:5070;lr>"), field("P-Asserted-Identity", caller), field("Privacy", privacy))
		m.Set("From", "<sip:anonymous@anonymous.invalid>;tag=f1")
		x := i.ask(callcore.LegCore, m, "")
		out := i.expectOut(callcore.LegAccess, "INVITE")
		if got := out.msg.Get("P-Asserted-Identity"); got != shown(caller) || out.msg.Get("Privacy") != privacy || !strings.HasPrefix(out.msg.Get("From"), "<sip:anonymous@anonymous.invalid>") {
			t.Errorf("Privacy %s: the browser is called by %q: %+v", privacy, got, out.msg.Fields)
		}
		out.respond(180, "", field("Privacy", privacy)) // TIR of the browser
		if r := x.expect(180); r.Get("Privacy") != privacy || r.Get("P-Asserted-Identity") != "<sip:bob@x.example>" {
			t.Errorf("Privacy %s of the browser becomes %+v", privacy, r.Fields)
		}
		out.respond(486, "")
		x.expect(486)

		m = request("INVITE", browserSDP) // OIR of the browser
		m.Add("Privacy", privacy)
		x = i.ask(callcore.LegAccess, m, "fa")
		out = i.expectOut(callcore.LegCore, "INVITE")
		if out.msg.Get("Privacy") != privacy || out.msg.Get("P-Asserted-Identity") != "<sip:alice@x.example>" {
			t.Errorf("Privacy %s of the browser becomes %+v", privacy, out.msg.Fields)
		}
		out.respond(180, "", field("P-Asserted-Identity", callee), field("Privacy", privacy)) // TIP, TIR
		if r := x.expect(180); r.Get("P-Asserted-Identity") != shown(callee) || r.Get("Privacy") != privacy {
			t.Errorf("Privacy %s: the browser is connected to %+v", privacy, r.Fields)
		}
		out.respond(486, "")
		x.expect(486)
		i.gone()
	}
}

// TestR7118_4_TransportOfOurURIs: what we make for browsers says transport=ws, over TLS too; transport=wss of older libraries is taken
// (RFC 7118 §5.2.2).
func TestR7118_4_TransportOfOurURIs(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	ours := func(what string, m *headers.Msg) string {
		t.Helper()
		u := uri(t, m.Get("Contact"))
		if !strings.HasSuffix(u, "@ws.example:8080;transport=ws") {
			t.Errorf("%s with Contact %s", what, u)
		}
		return u
	}
	i.bind.mu.Lock()
	b := i.bind.byID["bob"]
	b.Contact = "sip:bob@df7.invalid;transport=wss" // as he registered it
	i.bind.byID["bob"] = b
	i.bind.mu.Unlock()
	m := request("INVITE", coreSDP(1, "sendrecv"))
	m.Add("Route", "<sip:path-bob@mgc.example:5070;lr>")
	x := i.ask(callcore.LegCore, m, "")
	out := i.expectOut(callcore.LegAccess, "INVITE")
	if out.msg.RequestURI != b.Contact || out.flow != "fb" {
		t.Errorf("called at %s over %q", out.msg.RequestURI, out.flow)
	}
	ours("INVITE", &out.msg)
	out.respond(486, "")
	x.expect(486)

	r := i.establish()
	ours("200", &r.answer)
	info := r.in(callcore.LegAccess, "INFO", "")
	info.RequestURI = strings.Replace(info.RequestURI, "transport=ws", "transport=wss", 1)
	x = i.ask(callcore.LegAccess, info, "fa")
	i.expectOut(callcore.LegCore, "INFO").respond(200, "")
	x.expect(200)
	i.hangUp(r)

	s := request("SUBSCRIBE", "")
	s.Set("Contact", "<sip:alice@df7.invalid;transport=wss>")
	s.Add("Event", "dialog")
	x = i.alone(callcore.LegAccess, s, "fa")
	out = i.expectOut(callcore.LegCore, "SUBSCRIBE")
	out.respond(200, "", headers.Field{Name: "Contact", Value: "<sip:peer@10.0.0.7:5060>"})
	resp := x.expect(200)
	ours("200 to SUBSCRIBE", &resp)
}

// TestR5393_MaxBreadthOutsideADialog: 0 is nobody; anything else passes whole, as one target is called.
func TestR5393_MaxBreadthOutsideADialog(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	m := request("MESSAGE", "hello")
	m.Add("Max-Breadth", "0")
	i.refused(i.alone(callcore.LegAccess, m, "fa"), 440)
	m.Set("Max-Breadth", "7")
	x := i.alone(callcore.LegAccess, m, "fa")
	out := i.expectOut(callcore.LegCore, "MESSAGE")
	if got := out.msg.Get("Max-Breadth"); got != "7" {
		t.Errorf("passes as %q", got)
	}
	out.respond(200, "")
	x.expect(200)
}
