package coreedge

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

var nopLog = zap.NewNop()

// TestDualStack: what leaves over a listener carries that listener's name in Via, Contact and Path, IPv6 in brackets; what comes
// back to any of them is for us.
func TestDualStack(t *testing.T) {
	ca := newAuthority(t, "core")
	g := newGateway(t, Config{Listen: append(dual[:len(dual):len(dual)], withTLS[:2]...), TLS: files(t, ca.issue(ours, "sip:gw.test"), ca), Allow: append(local, netip.MustParsePrefix("::1/128"))})
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, transport := range []string{"UDP", "TCP", "TLS"} {
			t.Run(transport+" "+host, func(t *testing.T) {
				p := newPeer(t, transport, net.JoinHostPort(host, "0"), serving(ca.issue(nil, "127.0.0.1", "::1"), ca))
				g.must("sip:" + headers.HostPort(host, p.addr.Port()) + ";transport=" + strings.ToLower(transport))
				m := served(t, p)
				at := ""
				for _, s := range g.sockets {
					if s.transport == transport && s.local.Addr().String() == host {
						at = s.sentBy
					}
				}
				if want := map[string]string{"127.0.0.1": "127.0.0.1:", "::1": "[::1]:"}[host]; !strings.HasPrefix(at, want) {
					t.Fatalf("the listener is %s", at)
				}
				param := map[string]string{"TLS": ";transport=tls"}[transport]
				if !strings.HasPrefix(m.Get("Via"), "SIP/2.0/"+transport+" "+at+";") || m.Get("Contact") != "<sip:token@"+at+param+">" || m.Get("Path") != "<sip:path@"+at+";lr;ob"+param+">" {
					t.Errorf("Via %s, Contact %s, Path %s; the listener is %s", m.Get("Via"), m.Get("Contact"), m.Get("Path"), at)
				}
			})
		}
	}
	for _, s := range g.sockets {
		if s.udp != nil {
			backOver(t, g, s)
		}
	}
}

// backOver sends a request to our address at a UDP socket and looks at both ends of it.
func backOver(t *testing.T, g *gateway, s socket) {
	t.Helper()
	c, err := net.Dial("udp", s.local.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := headers.Msg{Method: "INFO", RequestURI: "sip:token@" + s.sentBy}
	for _, f := range [][2]string{{"Via", "SIP/2.0/UDP " + c.LocalAddr().String() + ";rport;branch=z9hG4bKx"}, {"Route", "<sip:path@" + s.sentBy + ";lr;ob>,<sip:other.test;lr>"},
		{"Max-Forwards", "70"}, {"From", "<sip:a@b>;tag=1"}, {"To", "<sip:c@d>"}, {"Call-ID", siptransport.NewFlowID()}, {"CSeq", "1 INFO"}} {
		m.Add(f[0], f[1])
	}
	raw, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(raw); err != nil {
		t.Fatal(err)
	}
	home := g.names.home.String()
	in := wait.Receive(t, g.in)
	if routes := headers.List(&in, "Route"); in.RequestURI != "sip:token@"+home || routes[0] != "<sip:path@"+home+";lr;ob>" || routes[1] != "<sip:other.test;lr>" {
		t.Errorf("at %s: target %s, Route %v", s.sentBy, in.RequestURI, routes)
	}
	buf := make([]byte, 4096)
	_ = c.SetReadDeadline(time.Now().Add(wait.Limit))
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := headers.Read(buf[:n], headers.Datagram)
	if err != nil || resp.Get("Contact") != "<sip:token@"+s.sentBy+">" {
		t.Errorf("at %s: Contact %s, %v", s.sentBy, resp.Get("Contact"), err)
	}
}

// TestUnspecifiedAddresses: [::] and 0.0.0.0 share a port, each serves its family; [::] alone serves both.
func TestUnspecifiedAddresses(t *testing.T) {
	port := freeports.Port(t)
	four := Listen{"UDP", netip.AddrPortFrom(netip.IPv4Unspecified(), port), fmt.Sprintf("127.0.0.1:%d", port)}
	any6 := Listen{"UDP", netip.AddrPortFrom(netip.IPv6Unspecified(), port), fmt.Sprintf("[::1]:%d", port)}
	peers := map[string]*peer{"127.0.0.1": newPeer(t, "UDP", "127.0.0.1:0", nil), "::1": newPeer(t, "UDP", "[::1]:0", nil)}
	for name, c := range map[string]struct {
		listen []Listen
		via    map[string]string
	}{
		"both":  {[]Listen{four, any6}, map[string]string{"127.0.0.1": four.Advertise, "::1": any6.Advertise}},
		"alone": {[]Listen{any6}, map[string]string{"127.0.0.1": any6.Advertise, "::1": any6.Advertise}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, Config{Listen: c.listen, Allow: append(local, netip.MustParsePrefix("::1/128"))})
			for host, p := range peers {
				g.must("sip:" + p.addr.String())
				if m := served(t, p); !strings.HasPrefix(m.Get("Via"), "SIP/2.0/UDP "+c.via[host]+";") {
					t.Errorf("to %s: Via %s, want %s", host, m.Get("Via"), c.via[host])
				}
			}
		})
	}
}

// TestTCPNextHopIsToldTheTransport: a core that is spoken to over TCP by configuration shall do the same.
func TestTCPNextHopIsToldTheTransport(t *testing.T) {
	p := newPeer(t, "TCP", "127.0.0.1:0", nil)
	g := newGateway(t, Config{Listen: both, NextHop: "sip:" + p.addr.String() + ";transport=tcp"})
	g.must("sip:bob@ims.test")
	if m := served(t, p); !strings.HasSuffix(m.Get("Contact"), ";transport=tcp>") || !strings.HasSuffix(m.Get("Path"), ";lr;ob;transport=tcp>") {
		t.Errorf("Contact %s, Path %s", m.Get("Contact"), m.Get("Path"))
	}
	if uri, ok := g.names.back("sip:token@" + g.names.home.String() + ";transport=tcp"); !ok || uri != "sip:token@"+g.names.home.String() {
		t.Errorf("back: %s", uri)
	}
	if _, ok := g.names.back("sip:token@elsewhere.test:5070"); ok {
		t.Error("a foreign name is taken for ours")
	}
}
