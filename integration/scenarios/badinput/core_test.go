package badinput

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

const (
	coreAddr     = "127.0.0.1" // the next hop's address, which may send requests
	strangerAddr = "127.0.0.2"
)

func udpReason(r string) string {
	return fmt.Sprintf(`isthmus_mgc_sip_refused_total{transport="UDP",reason="%s"}`, r)
}

func tcpReason(r string) string {
	return fmt.Sprintf(`isthmus_mgc_sip_refused_total{transport="TCP",reason="%s"}`, r)
}

func coreSide(t *testing.T, b *bed) {
	t.Run("strangers over UDP", func(t *testing.T) { strangersUDP(t, b) })
	t.Run("strangers over TCP", func(t *testing.T) { strangersTCP(t, b) })
	t.Run("requests of the core", func(t *testing.T) { wrongRequests(t, b) })
	t.Run("no SIP", func(t *testing.T) { coreGarbage(t, b) })
	t.Run("streams", func(t *testing.T) { badStreams(t, b) })
	t.Run("Iq and operators", func(t *testing.T) { otherPorts(t, b) })
}

// peer is a socket on the core side.
type peer struct {
	*net.UDPConn
	mgc string
}

func (b *bed) peer(t *testing.T, address string) *peer {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(address)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &peer{c, b.At(scenario.PortCore)}
}

// compose makes a correct request of the peer to the gateway.
func (p *peer) compose(b *bed, method string) *message {
	m := coreRequest(b, method)
	return m.set("Via", "SIP/2.0/UDP "+p.LocalAddr().String()+";branch=z9hG4bK"+unique()).set("Contact", "<sip:core@"+p.LocalAddr().String()+">")
}

// coreRequest is a request from outside of the gateway to the gateway itself.
func coreRequest(b *bed, method string) *message {
	return compose(method, "sip:"+b.At(scenario.PortCore), "sip:somebody@"+domain, "TCP "+coreAddr)
}

func (p *peer) send(t *testing.T, what string) {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp4", p.mgc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteToUDP([]byte(what), to); err != nil {
		t.Fatal(err)
	}
}

// final waits for the final response to m; status 0 when there is none.
func (p *peer) final(m *message, within time.Duration) reply {
	_ = p.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, 1<<16)
	for {
		n, err := p.Read(buf)
		if err != nil {
			return reply{}
		}
		if finalTo(m)(string(buf[:n])) {
			return parseReply(string(buf[:n]))
		}
	}
}

// ask sends a request and returns its final response, acknowledged when it refuses an INVITE.
func (p *peer) ask(t *testing.T, m *message) reply {
	t.Helper()
	p.send(t, m.String())
	r := p.final(m, deadline)
	if m.method() == "INVITE" && r.status >= 300 {
		p.send(t, ackOf(m, r).String())
	}
	return r
}

// strangersUDP: who is no configured or resolved core gets 403, at most ten per second in all over UDP, and is counted each
// time; what is malformed besides gets nothing.
func strangersUDP(t *testing.T, b *bed) {
	p := b.peer(t, strangerAddr)
	for _, method := range []string{"OPTIONS", "MESSAGE", "BYE", "REGISTER", "INVITE"} {
		b.counts(t, "mgc", udpReason("stranger"), 1, func() {
			if r := p.ask(t, p.compose(b, method)); r.status != 403 {
				t.Errorf("%s answered %d %s, want 403", method, r.status, r.reason)
			}
		})
	}
	const many = 300
	answers := 0
	b.counts(t, "mgc", udpReason("stranger"), many, func() {
		for i := range many {
			m := p.compose(b, "OPTIONS")
			p.send(t, m.String())
			if i%20 == 19 { // the socket's buffer shall not overflow
				_ = p.SetReadDeadline(time.Now().Add(time.Millisecond))
				for buf := make([]byte, 4096); ; answers++ {
					if _, err := p.Read(buf); err != nil {
						break
					}
				}
			}
		}
	})
	for p.final(p.compose(b, "NONE"), 100*time.Millisecond).status != 0 {
		answers++
	}
	if answers > 100 {
		t.Errorf("%d answers to %d requests of a stranger: that reflects floods", answers, many)
	}
	b.counts(t, "mgc", udpReason("stranger"), 1, func() {
		m := p.compose(b, "OPTIONS").add("From", "<sip:second@"+domain+">;tag=1")
		p.send(t, m.String())
		if r := p.final(m, 200*time.Millisecond); r.status != 0 {
			t.Errorf("malformed request of a stranger answered %d", r.status)
		}
	})
	// In a dialog of others he is a stranger all the same.
	carol := b.register(t, "carol", nil)
	call := carol.call(t, target, tone.NewSine(callerHz, level))
	d := dialogOf(t, carol)
	bye := p.compose(b, "BYE").set("To", d.local).set("From", d.remote).set("Call-ID", d.callID)
	bye.start = "BYE " + strings.Replace(d.target, b.At(scenario.PortWS), b.At(scenario.PortCore), 1) + " SIP/2.0"
	eventually(t, deadline, func() string { // the allowance of this second may be spent
		p.send(t, bye.set("Via", "SIP/2.0/UDP "+p.LocalAddr().String()+";branch=z9hG4bK"+unique()).String())
		if r := p.final(bye, 300*time.Millisecond); r.status != 403 {
			return fmt.Sprintf("BYE of a stranger answered %d", r.status)
		}
		return ""
	})
	hears(t, call)
}

// strangersTCP get their 403 and lose the connection.
func strangersTCP(t *testing.T, b *bed) {
	for _, method := range []string{"OPTIONS", "INVITE"} {
		c := b.dialCore(t, strangerAddr)
		b.counts(t, "mgc", tcpReason("stranger"), 1, func() {
			if _, err := io.WriteString(c, coreRequest(b, method).String()); err != nil {
				t.Fatal(err)
			}
			all, _ := io.ReadAll(c) // to the end of the connection
			if !strings.HasPrefix(string(all), "SIP/2.0 403 ") {
				t.Errorf("%s answered %q, want 403 and the end", method, all)
			}
		})
	}
}

// dialCore connects from the address.
func (b *bed) dialCore(t *testing.T, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp4", b.At(scenario.PortCore))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * deadline))
	return c
}

// wrongRequests come from the core's address and make no sense.
func wrongRequests(t *testing.T, b *bed) {
	p := b.peer(t, coreAddr)
	carol := b.register(t, "carol", nil)
	path := b.pathOf(t, "carol")
	gone := func() string { // the token of a WebSocket that is gone
		br := b.newBrowser(t, "erin", nil)
		b.mustRegister(t, br)
		token := b.pathOf(t, "erin")
		br.Close()
		back := b.register(t, "bob", nil) // ordered after the close, hence it has been noticed
		_ = back
		return token
	}()
	in := func(method, uri string) *message {
		m := p.compose(b, method).set("To", "<"+uri+">")
		m.start = method + " " + uri + " SIP/2.0"
		return m
	}
	at := "@" + b.At(scenario.PortCore)
	route := func(m *message, token string) *message { return m.add("Route", "<sip:"+token+at+";lr>") }
	any := "sip:carol@" + domain
	tagged := func(m *message, tag string) *message { return m.set("To", m.get("To")+";tag="+tag) }
	forged := path[:len(path)-4] + "aaaa"
	for name, tc := range map[string]struct {
		m      *message
		want   int
		metric string
	}{
		"unknown dialog":             {tagged(in("BYE", any), "nobody"), 481, refusedRequests},
		"unknown dialog, INVITE":     {tagged(in("INVITE", any), "nobody").sdp("v=0\r\n"), 481, refusedRequests},
		"forged target":              {tagged(in("BYE", "sip:"+strings.Repeat("a", len(path))+at), "x"), 403, refusedRequests},
		"forged Route":               {route(in("INVITE", any), forged).sdp("v=0\r\n"), 403, refusedBy("forged_token")},
		"forged Route, MESSAGE":      {route(in("MESSAGE", any), forged), 403, refusedBy("forged_token")},
		"Path token as a dialog":     {tagged(in("BYE", "sip:"+path+at), path), 403, refusedRequests},
		"flow that is gone":          {route(in("INVITE", any), gone).sdp("v=0\r\n"), 430, refusedBy("flow_gone")},
		"flow that is gone, MESSAGE": {route(in("MESSAGE", any), gone), 430, refusedBy("flow_gone")},
		"no Route":                   {in("INVITE", any).sdp("v=0\r\n"), 404, refusedBy("no_route")},
		"REGISTER":                   {in("REGISTER", "sip:"+domain), 405, refusedBy("method")},
		"unknown method":             {route(in("BREW", any), path), 405, refusedBy("method")},
		"extension":                  {route(in("INVITE", any), path).sdp("v=0\r\n").set("Require", "precondition"), 420, `isthmus_mgc_calls_ended_total{cause="refused"}`},
		"no description":             {route(in("INVITE", any), path).sdp("nonsense"), 488, `isthmus_mgc_calls_ended_total{cause="media"}`},
		"last hop":                   {route(in("INVITE", any), path).sdp("v=0\r\n").set("Max-Forwards", "0"), 483, `isthmus_mgc_calls_ended_total{cause="refused"}`},
		"malformed":                  {in("INVITE", any).add("CSeq", "2 INVITE"), 400, udpReason("malformed")},
		"version":                    {func() *message { m := in("INVITE", any); m.start = "INVITE " + any + " SIP/3.0"; return m }(), 505, udpReason("malformed")},
	} {
		t.Run(name, func(t *testing.T) {
			b.counts(t, "mgc", tc.metric, 1, func() {
				if r := p.ask(t, tc.m); r.status != tc.want {
					t.Errorf("answered %d %s, want %d", r.status, r.reason, tc.want)
				}
			})
		})
	}
	t.Run("stray CANCEL", func(t *testing.T) {
		if r := p.ask(t, in("CANCEL", any)); r.status != 481 {
			t.Errorf("answered %d %s, want 481", r.status, r.reason)
		}
	})
	t.Run("stray ACK", func(t *testing.T) {
		b.counts(t, "mgc", refusedBy("stray_ack"), 1, func() { p.send(t, tagged(in("ACK", any), "nobody").String()) })
	})
	t.Run("stray response", func(t *testing.T) {
		m := in("INVITE", any)
		m.start = "SIP/2.0 200 OK"
		b.counts(t, "mgc", "isthmus_mgc_sip_responses_unmatched_total", 1, func() { p.send(t, m.String()) })
	})
	t.Run("Via of a victim", func(t *testing.T) { // the answer must not go where the sender wishes (RFC 3261 §18.2.1)
		victim := b.peer(t, "127.0.0.3")
		m := in("OPTIONS", "sip:"+b.At(scenario.PortCore)).set("Via", "SIP/2.0/UDP "+victim.LocalAddr().String()+";received=127.0.0.3;maddr=127.0.0.3;rport=9;branch=z9hG4bK"+unique())
		p.send(t, m.String())
		if r := victim.final(m, 300*time.Millisecond); r.status != 0 {
			t.Errorf("somebody else got the answer %d", r.status)
		}
	})
	_ = carol
}

// pathOf is the token in the Path that the demo core holds for a user.
func (b *bed) pathOf(t *testing.T, user string) string {
	t.Helper()
	s, err := b.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Registrations {
		if r.User == user && len(r.Path) > 0 {
			token, _, _ := strings.Cut(strings.TrimPrefix(strings.Trim(r.Path[len(r.Path)-1], "<>"), "sip:"), "@")
			return token
		}
	}
	t.Fatalf("the demo core has no Path of %s", user)
	return ""
}

// coreGarbage are datagrams that are no SIP, from the core's address.
func coreGarbage(t *testing.T, b *bed) {
	p := b.peer(t, coreAddr)
	noise := make([]byte, 1400)
	for i := range noise {
		noise[i] = byte(rand.IntN(256))
	}
	for name, what := range map[string]string{
		"noise": string(noise), "one byte": "x", "start line alone": "OPTIONS sip:x SIP/2.0\r\n", "HTTP": "GET / HTTP/1.1\r\n\r\n",
		"STUN": "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl", "largest datagram": strings.Repeat("A", 65_507),
		"large header": coreRequest(b, "OPTIONS").set("Subject", strings.Repeat("s", 60_000)).del("Via").String(),
		"cut message":  p.compose(b, "OPTIONS").del("CSeq").String()[:100],
	} {
		t.Run(name, func(t *testing.T) {
			b.counts(t, "mgc", udpReason("unanswerable"), 1, func() { p.send(t, what) })
		})
	}
	for name, what := range map[string]string{"nothing": "", "keep-alive": "\r\n\r\n", "zeros": "\x00\x00\x00\x00"} { // RFC 5626 §4.4, NAT keep-alives: no fault
		p.send(t, what)
		if r := p.ask(t, p.compose(b, "OPTIONS")); r.status != 200 {
			t.Errorf("after %s: %d %s", name, r.status, r.reason)
		}
	}
	big := p.compose(b, "OPTIONS").set("Content-Type", "text/plain")
	big.body = strings.Repeat("b", 60_000)
	if r := p.ask(t, big); r.status != 200 {
		t.Errorf("a large but correct datagram: %d %s", r.status, r.reason)
	}
}

// badStreams break the framing of TCP (RFC 3261 §18.3).
func badStreams(t *testing.T, b *bed) {
	good := func() string { return coreRequest(b, "OPTIONS").String() }
	for name, tc := range map[string]struct {
		send   string
		want   string // how the answer begins; "": none
		metric string // "": none
	}{
		"no length":       {strings.Replace(good(), "Content-Length: 0\r\n", "", 1), "SIP/2.0 400 Missing Content-Length", tcpReason("malformed")},
		"two lengths":     {strings.Replace(good(), "Content-Length: 0\r\n", "Content-Length: 0\r\nl: 4\r\n", 1), "SIP/2.0 400 Multiple Content-Length", tcpReason("malformed")},
		"negative length": {strings.Replace(good(), "Content-Length: 0\r\n", "Content-Length: -4\r\n", 1), "SIP/2.0 400 Malformed Content-Length", tcpReason("malformed")},
		"huge length":     {strings.Replace(good(), "Content-Length: 0\r\n", "Content-Length: 100000000\r\n", 1), "SIP/2.0 400 Content-Length Does Not Match Body", tcpReason("oversize")},
		"endless line":    {"OPTIONS sip:x SIP/2.0\r\nSubject: " + strings.Repeat("s", 70_000), "", tcpReason("oversize")},
		"noise":           {strings.Repeat("\xff\x00\x1b[31m", 20_000), "", tcpReason("oversize")},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.dialCore(t, coreAddr)
			b.counts(t, "mgc", tc.metric, 1, func() {
				_, _ = io.WriteString(c, tc.send) // may be closed before all is out
				all, _ := io.ReadAll(c)
				if !strings.HasPrefix(string(all), tc.want) || tc.want == "" && len(all) > 0 {
					t.Errorf("answered %q, want %q and the end", all, tc.want)
				}
			})
		})
	}
	t.Run("half a message", func(t *testing.T) {
		c := b.dialCore(t, coreAddr)
		_, _ = io.WriteString(c, good()[:50])
		_ = c.(*net.TCPConn).CloseWrite()
		if err := ended(c, deadline); err != nil {
			t.Error(err)
		}
	})
	t.Run("twenty malformed", func(t *testing.T) {
		c := b.dialCore(t, coreAddr)
		b.counts(t, "mgc", tcpReason("malformed"), 20, func() {
			for range 25 {
				_, _ = io.WriteString(c, coreRequest(b, "OPTIONS").add("CSeq", "2 OPTIONS").String())
			}
			if err := ended(c, deadline); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("two in one segment", func(t *testing.T) { // no fault
		c := b.dialCore(t, coreAddr)
		if _, err := io.WriteString(c, "\r\n\r\n"+good()+good()); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		buf := make([]byte, 4096)
		for strings.Count(all.String(), "SIP/2.0 200 OK") < 2 {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("%v after %q", err, all.String())
			}
			all.Write(buf[:n])
		}
	})
}

// otherPorts sends garbage to the control link, the admin services and the metrics of both daemons: only the connection ends.
func otherPorts(t *testing.T, b *bed) {
	for name, what := range map[string]string{
		"noise": strings.Repeat("\xff\x00\x1b[31m", 1000), "SIP": coreRequest(b, "OPTIONS").String(),
		"HTTP/2 of nonsense": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 200), "TLS": "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00" + strings.Repeat("x", 100),
	} {
		for _, port := range []int{scenario.PortIq, scenario.PortAdmin, scenario.PortHTTP, scenario.PortGWIq, scenario.PortGWAdmin, scenario.PortGWHTTP} {
			c := dialTCP(t, b.At(port))
			_, _ = io.WriteString(c, what) // may be closed already
			_ = c.(*net.TCPConn).CloseWrite()
			if err := ended(c, 2*deadline); err != nil {
				t.Errorf("%s to port %d: %v", name, port, err)
			}
		}
	}
	if h := b.held(t); h.calls == 0 || h.contexts == 0 {
		t.Errorf("after it the daemons hold %+v", h)
	}
}
