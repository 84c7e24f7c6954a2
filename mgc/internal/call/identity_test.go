package call

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// refused checks an answer that never reached a call: status, a To tag (RFC 3261 §8.2.6.2), nothing sent, nothing kept.
func (i *instance) refused(x *tx, status int) headers.Msg {
	i.t.Helper()
	m := x.expect(status)
	if headers.ToTag(&m) == "" {
		i.t.Errorf("%d without To tag: %s", status, m.Get("To"))
	}
	if status == 503 && m.Get("Retry-After") == "" {
		i.t.Error("503 without Retry-After")
	}
	i.mu.Lock()
	left := len(i.invites)
	i.mu.Unlock()
	if left != 0 {
		i.t.Errorf("%d pending INVITEs remembered after the refusal", left)
	}
	return m
}

// TestTS24229_5_2_6_3_NobodyCallsAsSomebodyElse: the identity rules for requests from browsers.
func TestTS24229_5_2_6_3_NobodyCallsAsSomebodyElse(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	cases := map[string]struct {
		flow   string
		change func(*headers.Msg)
		status int
	}{
		"flow without registration":     {"fx", func(*headers.Msg) {}, 403},
		"no flow":                       {"", func(*headers.Msg) {}, 403},
		"identity of another":           {"fb", func(*headers.Msg) {}, 403},
		"unknown identity":              {"fa", func(m *headers.Msg) { m.Set("From", "<sip:mallory@x.example>;tag=1") }, 403},
		"preferred identity of another": {"fa", func(m *headers.Msg) { m.Add("P-Preferred-Identity", "<sip:bob@x.example>") }, 403},
		"second preferred identity":     {"fa", func(m *headers.Msg) { m.Add("P-Preferred-Identity", "<tel:+49a>, <sip:bob@x.example>") }, 403},
		"asserted identity of another":  {"fa", func(m *headers.Msg) { m.Add("P-Asserted-Identity", "<sip:bob@x.example>") }, 403},
		"malformed preferred identity":  {"fa", func(m *headers.Msg) { m.Add("P-Preferred-Identity", "<<>") }, 403},
		"malformed From":                {"fa", func(m *headers.Msg) { m.Set("From", "<<>;tag=1") }, 400},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			m := request("INVITE", browserSDP)
			c.change(&m)
			i.refused(i.ask(callcore.LegAccess, m, c.flow), c.status)
			msg := request("MESSAGE", "")
			c.change(&msg)
			x := i.tx(msg)
			i.OnStandalone(callcore.LegAccess, x, msg, c.flow)
			i.refused(x, c.status)
		})
	}
	if n := len(p.records()) + len(i.Keys()) + len(i.sip.out) + len(i.mgw.kindsSeen()); n != 0 {
		t.Errorf("refused requests left %d traces", n)
	}
	m := request("INVITE", browserSDP)
	m.Add("P-Preferred-Identity", "<tel:+49a>") // implicitly registered: allowed
	x := i.ask(callcore.LegAccess, m, "fa")
	i.expectOut(callcore.LegCore, "INVITE").respond(486, "")
	x.expect(486)
	i.gone()
}

// TestForgedAndUnknownDialogs: 403 for what pretends to be ours, 481 for what names no dialog of ours.
func TestForgedAndUnknownDialogs(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	bye := func(uri, tag string) headers.Msg {
		m := r.in(callcore.LegAccess, "BYE", "")
		if uri != "" {
			m.RequestURI = uri
		}
		if tag != "" {
			m.Set("To", "<sip:carol@x.example>;tag="+tag)
		}
		return m
	}
	good := r.in(callcore.LegAccess, "BYE", "").RequestURI
	user, _, _ := strings.Cut(strings.TrimPrefix(good, "sip:"), "@")
	flipped := "sip:" + flip(user) + "@ws.example:8080"
	coreToken := seal(p.sealer, r.key, callcore.LegCore)
	stranger := seal(p.sealer, newKey(), callcore.LegAccess)
	cases := map[string]struct {
		m      headers.Msg
		status int
	}{
		"tampered token":            {bye(flipped, ""), 403},
		"truncated token":           {bye("sip:"+user[:len(user)-4]+"@ws.example:8080", ""), 403},
		"token of the other leg":    {bye("sip:"+coreToken+"@ws.example:8080", ""), 403},
		"plain name at our address": {bye("sip:carol@ws.example:8080", ""), 403},
		"foreign URI and tag":       {bye("sip:carol@elsewhere.example", "zz"), 481},
		"genuine token, no call":    {bye("sip:"+stranger+"@ws.example:8080", ""), 481},
		"tag of the other leg":      {bye("sip:carol@elsewhere.example", coreToken), 481},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { i.refused(i.ask(callcore.LegAccess, c.m, "fa"), c.status) })
	}
	i.refused(i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fb"), 403) // bob's connection
	i.refused(i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INVITE", browserSDP), "fx"), 403)
	i.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fb") // nobody to answer to
	i.OnAck(callcore.LegAccess, bye(flipped, ""), "fa")
	if n := count(t, i.deps.Metrics.refused); n != float64(len(cases)+4) {
		t.Errorf("%v refusals counted, want %d", n, len(cases)+4)
	}
	if len(i.Keys()) != 1 {
		t.Fatal("the call did not survive")
	}
	// The dialog is found by the To tag too, when the Request-URI was rewritten on the way.
	byTag := r.in(callcore.LegAccess, "BYE", "")
	byTag.RequestURI = "sip:rewritten@elsewhere.example"
	i.ask(callcore.LegAccess, byTag, "fa").expect(200)
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	i.gone()
}

// flip changes one character in the middle.
func flip(s string) string {
	c := byte('a')
	if s[len(s)/2] == c {
		c = 'b'
	}
	return s[:len(s)/2] + string(c) + s[len(s)/2+1:]
}

// TestR5626_2_R5626_3_WhoIsCalled: requests from the core find the browser by our Path, or by our Contact.
func TestR5626_2_R5626_3_WhoIsCalled(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	i.bind.set("bob", "") // his WebSocket is gone
	for name, c := range map[string]struct {
		route, uri string
		status     int
	}{
		"no route and no URI of ours": {"", "sip:carol@x.example", 404},
		"route without user":          {"<sip:mgc.example:5070;lr>", "sip:carol@x.example", 404},
		"forged Path":                 {"<sip:mallory@mgc.example:5070;lr>", "sip:carol@x.example", 403},
		"forged Request-URI":          {"", "sip:mallory@mgc.example:5070", 403},
		"binding has ended":           {"<sip:path-dave@mgc.example:5070;lr>", "sip:carol@x.example", 430},
		"flow is dead":                {"<sip:path-bob@mgc.example:5070;lr>", "sip:carol@x.example", 430},
	} {
		t.Run(name, func(t *testing.T) {
			m := request("INVITE", coreSDP(1, "sendrecv"))
			m.RequestURI = c.uri
			if c.route != "" {
				m.Add("Route", c.route)
			}
			i.refused(i.ask(callcore.LegCore, m, ""), c.status)
			m.Method = "MESSAGE"
			x := i.tx(m)
			i.OnStandalone(callcore.LegCore, x, m, "")
			i.refused(x, c.status)
		})
	}
	m := request("INVITE", coreSDP(1, "sendrecv"))
	m.RequestURI = "sip:path-alice@mgc.example:5070"
	x := i.ask(callcore.LegCore, m, "")
	i.expectOut(callcore.LegAccess, "INVITE").respond(603, "")
	x.expect(603)
	i.refused(i.ask(callcore.LegCore, request("BYE", ""), ""), 481) // no To tag
	i.gone()
}
