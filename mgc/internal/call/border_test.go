package call

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/emergency"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/trust"
)

func ims(c *Config) {
	c.Trust = trust.Profile{Asserts: true, Host: "mgc.example", AccessInfo: "IEEE-802.11;network-provided"}
	c.Emergency = emergency.Policy{Mode: emergency.Redirect, Numbers: []string{"112"}, Text: "Use the phone"}
}

func uri(t *testing.T, value string) string {
	t.Helper()
	a, err := headers.ParseAddress(value)
	if err != nil {
		t.Fatal(err)
	}
	return a.URI
}

// TestREG26_MO16_SubscriptionCrossesWithoutState: SUBSCRIBE makes a dialog of which this instance keeps nothing; NOTIFY and refresh find
// their way by our sealed Contacts, through another instance too.
func TestREG26_MO16_SubscriptionCrossesWithoutState(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a", ims), p.instance("b", ims)
	m := request("SUBSCRIBE", "")
	m.Add("Event", "reg")
	m.Add("Expires", "600")
	x := a.alone(callcore.LegAccess, m, "fa")
	out := a.expectOut(callcore.LegCore, "SUBSCRIBE")
	if out.msg.Get("Event") != "reg" || out.msg.Get("P-Asserted-Identity") != "<sip:alice@x.example>" || !strings.Contains(out.msg.Get("P-Charging-Vector"), "icid-value") {
		t.Errorf("towards the core: %+v", out.msg.Fields)
	}
	coreContact := uri(t, out.msg.Get("Contact"))
	out.respond(200, "", headers.Field{Name: "Contact", Value: "<sip:scscf.example:6060>"}, headers.Field{Name: "Expires", Value: "600"},
		headers.Field{Name: "Record-Route", Value: "<sip:p2.example;lr>"}, headers.Field{Name: "Record-Route", Value: "<sip:p1.example;lr>"})
	resp := x.expect(200)
	webContact := uri(t, resp.Get("Contact"))
	if resp.Has("Record-Route") || !strings.Contains(webContact, "@ws.example:8080;transport=ws") || strings.Contains(webContact, "scscf") || resp.Get("Expires") != "600" {
		t.Errorf("towards the browser: %+v", resp.Fields)
	}

	n := request("NOTIFY", "")
	n.RequestURI = coreContact
	n.Set("To", "<sip:alice@x.example>;tag=f1")
	n.Set("Contact", "<sip:scscf.example:6060>")
	n.Add("Event", "reg")
	y := b.ask(callcore.LegCore, n, "")
	got := b.expectOut(callcore.LegAccess, "NOTIFY")
	if got.flow != "fa" || got.msg.RequestURI != uri(t, m.Get("Contact")) || got.msg.Get("Event") != "reg" {
		t.Errorf("NOTIFY to %s over %q: %+v", got.msg.RequestURI, got.flow, got.msg.Fields)
	}
	got.respond(200, "")
	y.expect(200)

	r := request("SUBSCRIBE", "")
	r.RequestURI = webContact
	r.Set("To", "<sip:alice@x.example>;tag=peer")
	z := b.ask(callcore.LegAccess, r, "fa")
	again := b.expectOut(callcore.LegCore, "SUBSCRIBE")
	if again.msg.RequestURI != "sip:scscf.example:6060" || !slices.Equal(again.msg.Values("Route"), []string{"<sip:p1.example;lr>", "<sip:p2.example;lr>"}) {
		t.Errorf("refresh to %s by %v", again.msg.RequestURI, again.msg.Values("Route"))
	}
	again.respond(481, "")
	z.expect(481)

	b.ask(callcore.LegAccess, r, "fb").expect(403) // another browser with the stolen token
	b.bind.set("alice", "")
	b.ask(callcore.LegCore, n, "").expect(430)
}

// TestMO03_MO06_CallOfABrowser: identity, charging vector and access network of a call, the ICID for all its requests.
func TestMO03_MO06_CallOfABrowser(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1", ims)
	m := request("INVITE", browserSDP)
	m.Add("P-Charging-Vector", "icid-value=forged")
	m.Add("P-Access-Network-Info", "forged")
	x := i.ask(callcore.LegAccess, m, "fa")
	out := i.expectOut(callcore.LegCore, "INVITE")
	if got := out.msg.Values("P-Asserted-Identity"); !slices.Equal(got, []string{"<sip:alice@x.example>", "<tel:+49a>"}) {
		t.Errorf("P-Asserted-Identity %q", got)
	}
	icid := out.msg.Get("P-Charging-Vector")
	if !strings.Contains(icid, i.Keys()[0]) || strings.Contains(icid, "forged") || out.msg.Get("P-Access-Network-Info") != "IEEE-802.11;network-provided" {
		t.Errorf("charging %q, access %q", icid, out.msg.Values("P-Access-Network-Info"))
	}
	out.respond(200, coreSDP(1, "sendrecv"))
	if ack := i.expectOut(callcore.LegCore, "ACK"); ack.msg.Has("P-Charging-Vector") {
		t.Error("ACK with a charging vector")
	}
	x.expect(200)
	i.Release("test")
	if bye := i.expectOut(callcore.LegCore, "BYE"); bye.msg.Get("P-Charging-Vector") != icid {
		t.Errorf("BYE with %q", bye.msg.Get("P-Charging-Vector"))
	} else {
		bye.respond(200, "")
	}
}

// TestMT02_CallOfTheCore: the identity of the browser in answers is the one that was called.
func TestMT02_CallOfTheCore(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1", ims)
	m := request("INVITE", coreSDP(1, "sendrecv"))
	m.Add("Route", "<sip:path-bob@mgc.example:5070;lr>")
	m.Add("P-Called-Party-ID", "<sip:bob@x.example>")
	m.Add("P-Charging-Vector", "icid-value=core")
	x := i.ask(callcore.LegCore, m, "")
	out := i.expectOut(callcore.LegAccess, "INVITE")
	if out.msg.Has("P-Charging-Vector") || out.msg.Get("P-Called-Party-ID") == "" {
		t.Errorf("towards the browser: %+v", out.msg.Fields)
	}
	out.respond(180, "")
	if r := x.expect(180); r.Get("P-Asserted-Identity") != "<sip:bob@x.example>" {
		t.Errorf("180 with %q", r.Get("P-Asserted-Identity"))
	}
	out.respond(486, "")
	x.expect(486)
}

// TestEMG01_EMG02_MO01_EmergencyIsScreenedFirst: before registration and identity are looked at.
func TestEMG01_EMG02_MO01_EmergencyIsScreenedFirst(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1", ims)
	for _, target := range []string{"sip:112@x.example", "urn:service:sos.fire"} {
		m := request("INVITE", browserSDP)
		m.RequestURI = target
		r := i.ask(callcore.LegAccess, m, "unknown-flow").expect(380)
		if r.Get("Content-Type") != emergency.ContentType || !strings.Contains(string(r.Body), "<type>emergency</type>") || r.Get("P-Asserted-Identity") != "<sip:mgc.example:5070>" {
			t.Errorf("%+v\n%s", r.Fields, r.Body)
		}
	}
	m := request("MESSAGE", "")
	m.RequestURI = "sip:112@x.example"
	i.alone(callcore.LegAccess, m, "fa").expect(380)
	if n := count(t, i.deps.Metrics.emergencies); n != 3 {
		t.Errorf("counted %v", n)
	}
}

// TestEMG03_EMG04_IQ19_RoutedToTheECSCF: also beyond the limit of calls and of the media gateways, and without a registration where that is allowed.
func TestEMG03_EMG04_IQ19_RoutedToTheECSCF(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1", ims, func(c *Config) {
		c.Emergency = emergency.Policy{Mode: emergency.Route, ECSCF: "sip:ecscf.example", Numbers: []string{"112"}, Anonymous: true}
		c.MaxCalls, c.MaxPerUser = 1, 1
	})
	i.establish()
	for _, flow := range []string{"fa", "nobody"} {
		m := request("INVITE", browserSDP)
		m.RequestURI = "sip:112@x.example"
		x := i.ask(callcore.LegAccess, m, flow)
		out := i.expectOut(callcore.LegCore, "INVITE")
		if out.msg.RequestURI != "urn:service:sos" || !slices.Equal(out.msg.Values("Route"), []string{"<sip:ecscf.example;lr>"}) {
			t.Errorf("to %s by %v", out.msg.RequestURI, out.msg.Values("Route"))
		}
		if asserted := out.msg.Has("P-Asserted-Identity"); asserted != (flow == "fa") {
			t.Errorf("flow %s: P-Asserted-Identity %v", flow, asserted)
		}
		out.respond(486, "")
		x.expect(486)
		if needs := i.mgw.picks(); needs[0].Emergency || !needs[len(needs)-1].Emergency {
			t.Errorf("media gateways asked for: %+v", needs)
		}
	}
	i.cfg.Emergency.Anonymous = false
	m := request("INVITE", browserSDP)
	m.RequestURI = "sip:112@x.example"
	i.ask(callcore.LegAccess, m, "nobody").expect(403)
}
