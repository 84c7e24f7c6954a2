package call

import (
	"slices"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// alone brings a request outside a dialog to the manager.
func (i *instance) alone(leg callcore.Leg, req headers.Msg, flow string) *tx {
	x := i.tx(req)
	i.OnStandalone(leg, x, req.Clone(), flow)
	return x
}

// dressed is a request with fields of both trust domains, as a hostile peer would fill them in.
func dressed(method string) headers.Msg {
	m := request(method, "")
	m.Set("Content-Type", "text/plain")
	m.Body = []byte("hello")
	for _, f := range [][2]string{{"P-Charging-Vector", "icid-value=1"}, {"P-Charging-Function-Addresses", "ccf=1"}, {"P-Visited-Network-ID", "evil"},
		{"P-Asserted-Identity", "<sip:alice@x.example>"}, {"Path", "<sip:evil@evil.example;lr>"}, {"Service-Route", "<sip:evil.example;lr>"},
		{"Record-Route", "<sip:evil.example;lr>"}, {"Proxy-Require", "sec-agree"}, {"Security-Client", "tls"}, {"Security-Verify", "tls"},
		{"Supported", "100rel"}, {"User-Agent", "ua"}, {"Allow", "INVITE"}, {"Subject", "greeting"}, {"Accept-Language", "de"}} {
		m.Add(f[0], f[1])
	}
	return m
}

// TestRFC3428_StandaloneFromBrowser: MESSAGE, OPTIONS, INFO and PUBLISH go out by the Service-Route, without what a browser must not assert.
func TestRFC3428_StandaloneFromBrowser(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	for _, method := range relayed {
		m := dressed(method)
		m.Add("Route", "<sip:evil.example;lr>")
		x := i.alone(callcore.LegAccess, m, "fa")
		out := i.expectOut(callcore.LegCore, method)
		if out.flow != "" || out.msg.RequestURI != "sip:carol@x.example" || !slices.Equal(out.msg.Values("Route"), []string{"<sip:orig@core.example;lr>"}) {
			t.Errorf("%s to %s over %q by %v", method, out.msg.RequestURI, out.flow, out.msg.Values("Route"))
		}
		checkCrossing(t, method, &out.msg)
		out.respond(100, "")
		out.respond(202, "", headers.Field{Name: "P-Charging-Vector", Value: "icid-value=1"}, headers.Field{Name: "Server", Value: "core"},
			headers.Field{Name: "SIP-ETag", Value: "e1"})
		resp := x.expect(202)
		if resp.Has("P-Charging-Vector") || resp.Has("Server") || resp.Get("SIP-ETag") != "e1" || resp.Get("Call-ID") != "c1" || headers.ToTag(&resp) != "peer" {
			t.Errorf("answer to %s: %+v", method, resp)
		}
		if via := resp.Values("Via"); len(via) != 1 || via[0] != m.Get("Via") {
			t.Errorf("answer to %s with Via %v", method, via)
		}
	}
}

// TestRFC3428_StandaloneFromCore: the same towards the browser, over its connection and to its Contact.
func TestRFC3428_StandaloneFromCore(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	for _, method := range relayed {
		m := dressed(method)
		m.Add("Route", "<sip:path-bob@mgc.example:5070;lr>")
		x := i.alone(callcore.LegCore, m, "")
		out := i.expectOut(callcore.LegAccess, method)
		if out.flow != "fb" || out.msg.RequestURI != "sip:bob@df7.invalid;transport=ws" || out.msg.Has("Route") {
			t.Errorf("%s to %s over %q by %v", method, out.msg.RequestURI, out.flow, out.msg.Values("Route"))
		}
		checkCrossing(t, method, &out.msg)
		out.respond(486, "")
		x.expect(486)
	}
}

// perHop are fields that must not cross.
var perHop = []string{
	"Via", "Record-Route", "Proxy-Require", "Require", "Supported", "Path", "Service-Route", "P-Charging-Vector", "P-Charging-Function-Addresses",
	"P-Visited-Network-ID", "Security-Client", "Security-Verify", "Security-Server", "User-Agent", "Server", "Allow",
}

// checkCrossing checks the fields of a relayed request.
func checkCrossing(t *testing.T, method string, m *headers.Msg) {
	t.Helper()
	for _, name := range perHop {
		if m.Has(name) {
			t.Errorf("%s: %s crosses", method, name)
		}
	}
	want := map[string]string{"Max-Forwards": "69", "Subject": "greeting", "Accept-Language": "de", "Content-Type": "text/plain",
		"From": `"Alice" <sip:alice@x.example>;tag=f1`, "To": "<sip:carol@x.example>", "Call-ID": "c1", "CSeq": "1 " + method}
	for name, v := range want {
		if m.Get(name) != v {
			t.Errorf("%s: %s is %q, want %q", method, name, m.Get(name), v)
		}
	}
	if string(m.Body) != "hello" {
		t.Errorf("%s: body %q", method, m.Body)
	}
}

// TestStandaloneRefusals: what is not relayed, and why.
func TestStandaloneRefusals(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	for _, method := range []string{"FOO", "REGISTER"} {
		if m := i.refusedAlone(request(method, ""), 405); m.Get("Allow") == "" {
			t.Errorf("405 to %s without Allow", method)
		}
	}
	for _, method := range []string{"BYE", "UPDATE", "PRACK"} { // they belong to a dialog
		i.refusedAlone(request(method, ""), 481)
	}
	m := request("MESSAGE", "")
	m.Add("Require", "foo, bar")
	if m := i.refusedAlone(m, 420); !slices.Equal(headers.List(&m, "Unsupported"), []string{"foo", "bar"}) {
		t.Errorf("Unsupported %q", m.Values("Unsupported"))
	}
	m = request("MESSAGE", "")
	m.Set("Max-Forwards", "0")
	i.refusedAlone(m, 483)
	if len(i.sip.out) != 0 {
		t.Error("a refused request was relayed")
	}
}

func (i *instance) refusedAlone(m headers.Msg, status int) headers.Msg {
	i.t.Helper()
	return i.refused(i.alone(callcore.LegAccess, m, "fa"), status)
}

// TestRFC3261_11_OptionsForTheGateway is answered here, from whoever asks.
func TestRFC3261_11_OptionsForTheGateway(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	for leg, uri := range map[callcore.Leg]string{callcore.LegAccess: "sip:ws.example:8080", callcore.LegCore: "sip:mgc.example:5070"} {
		m := request("OPTIONS", "")
		m.RequestURI = uri
		x := i.alone(leg, m, "fx")
		resp := x.expect(200)
		if resp.Get("Allow") != Allow || resp.Get("Accept") != "application/sdp" || headers.ToTag(&resp) == "" {
			t.Errorf("answer %+v", resp)
		}
	}
	if len(i.sip.out) != 0 {
		t.Error("it was relayed")
	}
}

// TestRFC3261_16_7_RelayWithoutAnswer: the statuses of failed transactions, and what is not passed on.
func TestRFC3261_16_7_RelayWithoutAnswer(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	send := func(leg callcore.Leg) *tx {
		m := request("MESSAGE", "")
		if leg == callcore.LegCore {
			m.Add("Route", "<sip:path-bob@mgc.example:5070;lr>")
		}
		return i.alone(leg, m, map[callcore.Leg]string{callcore.LegAccess: "fa"}[leg])
	}
	x := send(callcore.LegAccess)
	i.expectOut(callcore.LegCore, "MESSAGE").deliver(Outcome{Timeout: true})
	i.refused(x, 408)
	x = send(callcore.LegAccess)
	i.expectOut(callcore.LegCore, "MESSAGE").deliver(Outcome{})
	i.refused(x, 503)
	x = send(callcore.LegAccess)
	out := i.expectOut(callcore.LegCore, "MESSAGE")
	out.respond(200, "")
	x.expect(200)
	out.deliver(Outcome{Msg: headers.Msg{Status: 200}, Retransmission: true})
	if len(x.got) != 0 {
		t.Error("a retransmission was passed on")
	}
	i.sip.fail.Store(true)
	i.refused(send(callcore.LegAccess), 503)
	i.refused(send(callcore.LegCore), 430) // RFC 5626 §5.3.1: the registrar may try another flow
}
