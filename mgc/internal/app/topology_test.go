package app

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// secret stands in every place of the core's messages where its hosts show.
const secret = "scscf7.core-internal"

// leaky is the answer of a core that hides nothing; body is its description.
func leaky(m headers.Msg, body string) headers.Msg {
	for _, f := range [][2]string{{"Record-Route", "<sip:" + secret + ";lr>"}, {"Service-Route", "<sip:orig@" + secret + ";lr>"}, {"Path", "<sip:" + secret + ";lr>"},
		{"Server", "sbc " + secret}, {"User-Agent", "sbc " + secret}, {"Warning", "399 " + secret + `:5060 "as you like"`}, {"P-Charging-Vector", "icid-value=1;icid-generated-at=" + secret},
		{"P-Charging-Function-Addresses", "ccf=" + secret}, {"P-Visited-Network-ID", secret}, {"P-Access-Network-Info", "3GPP-E-UTRAN;cell=" + secret}, {"Security-Server", "tls;host=" + secret}} {
		m.Add(f[0], f[1])
	}
	if body != "" {
		m.Set("Content-Type", "application/sdp")
		m.Body = []byte(strings.Replace(body, "o=- 1 1 IN IP4 127.0.0.1", "o=root 1 1 IN IP4 "+secret, 1))
	}
	return m
}

// TestTopologyIsHidden: nothing of the core's hosts reaches the browser, and nothing of the browser's address the core, in a
// registration, a call of each direction, and their ends.
func TestTopologyIsHidden(t *testing.T) {
	s := newSite(t)
	k := s.core()
	k.dress = func(m headers.Msg) headers.Msg {
		m = leaky(m, "")
		m.Set("Service-Route", "<sip:orig@"+s.addr(1, 5060)+";lr;at="+secret+">") // it must lead to us
		m.Add("Contact", "<sip:alice@"+secret+":5066>;expires=60")                // her desk phone
		return m
	}
	c := s.controller(10)
	s.gateway(c)
	wait.Until(t, "ready", func() bool { return c.ready() == nil })
	home := s.net + "77" // the browser's address
	b := c.browserAt("alice", home)
	h := &hiding{t: t, s: s, k: k, c: c, b: b, home: home}
	m := headers.Msg{Method: "REGISTER", RequestURI: "sip:isthmus.example"}
	m.Add("To", "<sip:alice@isthmus.example>")
	m.Add("Contact", `<sip:alice@df7.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1`)
	m.Add("Expires", "600")
	b.send(m)
	h.browserMust(b.expect("REGISTER", 200))
	path := <-k.path
	h.coreMust(<-k.registered)
	h.originating()
	h.terminating(path)
}

// hiding is the scene of TestTopologyIsHidden.
type hiding struct {
	t    *testing.T
	s    *site
	k    *core
	c    *controller
	b    *browser
	home string // the browser's address
}

// coreMust looks at what the core got.
func (h *hiding) coreMust(m headers.Msg) {
	h.t.Helper()
	if raw, _ := m.Bytes(); strings.Contains(string(raw), h.home) || strings.Contains(string(raw), "EsAw") {
		h.t.Errorf("the core got\n%s", raw)
	}
}

// browserMust looks at what the browser got.
func (h *hiding) browserMust(m headers.Msg) {
	h.t.Helper()
	raw, _ := m.Bytes()
	for _, not := range []string{secret, h.s.addr(1, 5060), "kcall@"} {
		if strings.Contains(string(raw), not) {
			h.t.Errorf("the browser got\n%s", raw)
		}
	}
}

// originating: she calls, and the core answers with all it has.
func (h *hiding) originating() {
	h.t.Helper()
	t, s, k, c, b := h.t, h.s, h.k, h.c, h.b
	invite := headers.Msg{Method: "INVITE", RequestURI: "sip:carol@isthmus.example", Body: fmt.Appendf(nil, strings.ReplaceAll(browserSDP, "127.0.0.1", h.home), "actpass")}
	invite.Add("Contact", "<sip:alice@df7.invalid;transport=ws>")
	invite.Add("Content-Type", "application/sdp")
	b.send(invite)
	out := k.expect("INVITE", 0)
	h.coreMust(out)
	if routes := headers.List(&out, "Route"); len(routes) != 1 || !strings.Contains(routes[0], "orig@") {
		t.Errorf("the browser has no Service-Route and the call leaves by %v", routes)
	}
	if out.Get("Call-ID") == "c-alice" {
		t.Error("the browser's Call-ID reaches the core")
	}
	k.write(leaky(reply(&out, 180, "", "<sip:carol@"+s.addr(1, 5060)+">"), ""), c.coreAddr())
	h.browserMust(b.expect("INVITE", 180))
	k.write(leaky(reply(&out, 486, "", "<sip:carol@"+s.addr(1, 5060)+">"), ""), c.coreAddr())
	k.expect("ACK", 0)
	busy := b.expect("INVITE", 486)
	h.browserMust(busy)
	if w := busy.Get("Warning"); w != `399 isthmus "as you like"` {
		t.Errorf("Warning %s", w)
	}
}

// terminating: she is called, and hung up on.
func (h *hiding) terminating(path string) {
	h.t.Helper()
	t, s, k, c, b := h.t, h.s, h.k, h.c, h.b
	in := leaky(headers.Msg{Method: "INVITE", RequestURI: "sip:alice@df7.invalid;transport=ws"}, coreSDP)
	in.Del("Record-Route")
	for _, f := range [][2]string{{"Record-Route", "<sip:" + s.addr(1, 5060) + ";lr;at=" + secret + ">"}, {"Route", path}, {"Max-Forwards", "70"}, {"From", "<sip:carol@isthmus.example>;tag=" + secret}, {"To", "<sip:alice@isthmus.example>"},
		{"Call-ID", "kcall@" + secret}, {"CSeq", "1 INVITE"}, {"Contact", "<sip:carol@" + s.addr(1, 5060) + ">"}} {
		in.Add(f[0], f[1])
	}
	k.send(c, "i1", in)
	ring := b.expect("INVITE", 0)
	h.browserMust(ring)
	b.write(reply(&ring, 180, "", "<sip:alice@df7.invalid;transport=ws>"))
	h.coreMust(k.expect("INVITE", 180))
	b.write(reply(&ring, 200, fmt.Sprintf(strings.ReplaceAll(browserSDP, "127.0.0.1", h.home), "active"), "<sip:alice@df7.invalid;transport=ws>"))
	answer := k.expect("INVITE", 200)
	h.coreMust(answer)
	h.browserMust(b.expect("ACK", 0))
	target := contact(t, &answer)
	later := func(method, cseq string) headers.Msg {
		m := leaky(headers.Msg{Method: method, RequestURI: target}, "")
		for _, f := range [][2]string{{"Max-Forwards", "70"}, {"From", "<sip:carol@isthmus.example>;tag=" + secret}, {"To", answer.Get("To")}, {"Call-ID", "kcall@" + secret}, {"CSeq", cseq}} {
			m.Add(f[0], f[1])
		}
		return m
	}
	k.send(c, "a1", later("ACK", "1 ACK"))
	k.send(c, "b1", later("BYE", "2 BYE"))
	h.coreMust(k.expect("BYE", 200))
	bye := b.expect("BYE", 0)
	h.browserMust(bye)
	b.write(reply(&bye, 200, "", "<sip:alice@df7.invalid;transport=ws>"))
}

// browserAt is browser with an address of its own.
func (c *controller) browserAt(name, ip string) *browser {
	c.s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	tr := &http.Transport{DialContext: d.DialContext}
	c.s.t.Cleanup(tr.CloseIdleConnections)
	return c.browserOver(name, &websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPClient: &http.Client{Transport: tr}})
}

// TestCoreOverIPv6: the core is at [::1]; it gets our IPv6 address in Via, Contact and Path, and reaches us there.
func TestCoreOverIPv6(t *testing.T) {
	s := newSite(t)
	k := s.coreAt("[::1]:0")
	six := "[::1]:" + fmt.Sprint(freeports.Port(t))
	c := s.controller(10, "--core.next_hop=sip:"+k.addr().String(), "--core.listeners.0.listen="+six, "--core.keepalive.options=1h")
	s.gateway(c)
	wait.Until(t, "ready", func() bool { return c.ready() == nil })
	ping := k.expect("OPTIONS", 0)
	if v := ping.Get("Via"); !strings.HasPrefix(v, "SIP/2.0/UDP "+six+";") {
		t.Errorf("probe by %s", v)
	}
	us := netip.MustParseAddrPort(six)
	k.write(reply(&ping, 200, "", "<sip:"+k.addr().String()+">"), us)
	b := c.browser("alice")
	b.register(600)
	if path := <-k.path; !strings.Contains(path, "@"+six+";lr") {
		t.Errorf("Path %s", path)
	}
	m := headers.Msg{Method: "INVITE", RequestURI: "sip:carol@isthmus.example", Body: fmt.Appendf(nil, browserSDP, "actpass")}
	m.Add("Contact", "<sip:alice@df7.invalid;transport=ws>")
	m.Add("Content-Type", "application/sdp")
	b.send(m)
	invite := k.next("INVITE")
	if v, ct := invite.Get("Via"), contact(t, &invite); !strings.HasPrefix(v, "SIP/2.0/UDP "+six+";") || !strings.HasSuffix(ct, "@"+six) {
		t.Errorf("Via %s, Contact %s", v, ct)
	}
	k.write(reply(&invite, 200, coreSDP, "<sip:carol@"+k.addr().String()+">"), us)
	ack := k.next("ACK")
	if ack.RequestURI != "sip:carol@"+k.addr().String() {
		t.Errorf("ACK to %s", ack.RequestURI)
	}
	answer := b.expect("INVITE", 200)
	own := headers.Msg{Method: "ACK", RequestURI: contact(t, &answer)}
	own.Add("To", answer.Get("To"))
	own.Add("CSeq", strings.Replace(answer.Get("CSeq"), "INVITE", "ACK", 1))
	b.send(own)
	bye := headers.Msg{Method: "BYE", RequestURI: contact(t, &invite)}
	for _, f := range [][2]string{{"Via", "SIP/2.0/UDP " + k.addr().String() + ";rport;branch=z9hG4bKbye"}, {"Max-Forwards", "70"}, {"From", invite.Get("To") + ";tag=peer"}, {"To", invite.Get("From")},
		{"Call-ID", invite.Get("Call-ID")}, {"CSeq", "1 BYE"}} {
		bye.Add(f[0], f[1])
	}
	k.write(bye, us)
	if r := k.next("BYE"); r.Status != 200 {
		t.Errorf("BYE to our IPv6 Contact: %d", r.Status)
	}
	over := b.expect("BYE", 0)
	b.write(reply(&over, 200, "", "<sip:alice@df7.invalid;transport=ws>"))
}

// next waits for a message of a method, or a response to it; others are passed over.
func (k *core) next(method string) headers.Msg {
	k.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case m := <-k.in:
			if m.Method == method || m.Status != 0 && strings.HasSuffix(m.Get("CSeq"), " "+method) {
				return m
			}
		case <-deadline:
			k.t.Fatalf("the core got no %s", method)
		}
	}
}
