package coreedge

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// authority signs certificates of one test.
type authority struct {
	*tlstest.Authority
	t *testing.T
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	return &authority{tlstest.NewAuthority(t, name), t}
}

// issue makes a certificate of a server that names ids; change may be nil.
func (a *authority) issue(change tlstest.Change, ids ...string) tls.Certificate {
	a.t.Helper()
	return a.Issue(a.t, "cn.test", ids, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if change != nil {
			change(c)
		}
	}).Certificate
}

// files writes what an operator would, and returns the configuration for it.
func files(t *testing.T, ours tls.Certificate, ca *authority) TLS {
	t.Helper()
	dir := t.TempDir()
	c := TLS{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), CA: filepath.Join(dir, "ca.crt"), Mutual: true, Look: 10 * time.Millisecond}
	put(t, c, ours)
	tlstest.Put(t, c.CA, ca.PEM())
	return c
}

func put(t *testing.T, c TLS, ours tls.Certificate) {
	t.Helper()
	cert, key := tlstest.Certificate{Certificate: ours}.PEM(t)
	tlstest.Put(t, c.Cert, cert)
	tlstest.Put(t, c.Key, key)
}

// serving is the configuration of a peer that demands a certificate of ca.
func serving(cert tls.Certificate, ca *authority) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
}

// ours marks a certificate for both sides of a connection, as peers with the standard check want it.
func ours(c *x509.Certificate) {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

var withTLS = append([]Listen{{Transport: "TLS", Addr: loopback}, {Transport: "TLS", Addr: six}}, dual...)

// TestR5922_MutualTLSToTheCore: our certificate is shown, the peer's is checked for the domain of the URI by all the forms that
// RFC 5922 §7.1 knows, and by no other.
func TestR5922_MutualTLSToTheCore(t *testing.T) {
	ca, other := newAuthority(t, "core"), newAuthority(t, "other")
	conf := files(t, ca.issue(ours, "sip:gw.test"), ca)
	zone := "core.test. 60 IN A 127.0.0.1\n"
	dns, _ := dnsServer(t, zone)
	for name, c := range map[string]struct {
		cert tls.Certificate
		uri  string // %d: port
		ok   bool
	}{
		"SIP URI":                      {ca.issue(nil, "sip:core.test"), "sip:core.test:%d;transport=tls", true},
		"DNS name, other case":         {ca.issue(nil, "x.test", "CORE.test"), "sip:core.test:%d;transport=tls", true},
		"sips target":                  {ca.issue(nil, "core.test"), "sips:bob@core.test:%d", true},
		"sips over TCP is TLS":         {ca.issue(nil, "core.test"), "sips:core.test:%d;transport=tcp", true},
		"address":                      {ca.issue(nil, "127.0.0.1"), "sips:127.0.0.1:%d", true},
		"another domain":               {ca.issue(nil, "sip:else.test"), "sip:core.test:%d;transport=tls", false},
		"wildcard (§7.2)":              {ca.issue(nil, "*.test"), "sip:core.test:%d;transport=tls", false},
		"SIP URI with a user (§7.1)":   {ca.issue(nil, "sip:bob@core.test"), "sip:core.test:%d;transport=tls", false},
		"SIPS URI (§7.1)":              {ca.issue(nil, "sips:core.test"), "sip:core.test:%d;transport=tls", false},
		"common name only":             {ca.issue(nil), "sip:cn.test:%d;maddr=127.0.0.1;transport=tls", false},
		"name for an address":          {ca.issue(nil, "core.test"), "sips:127.0.0.1:%d", false},
		"authority unknown":            {other.issue(nil, "core.test"), "sip:core.test:%d;transport=tls", false},
		"expired":                      {ca.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "core.test"), "sip:core.test:%d;transport=tls", false},
		"for clients only":             {ca.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "core.test"), "sip:core.test:%d;transport=tls", false},
		"maddr is not what is checked": {ca.issue(nil, "core.test"), "sip:core.test:%d;maddr=127.0.0.1;transport=tls", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, "TLS", "127.0.0.1:0", serving(c.cert, ca))
			g := newGateway(t, Config{Listen: withTLS, DNS: []string{dns}, TLS: conf})
			uri := fmt.Sprintf(c.uri, p.addr.Port())
			r := g.ask(g.message(uri, 1), siptransport.Target{URI: uri})
			if !c.ok {
				if r.Kind != siptx.TransportError || len(p.got) != 0 {
					t.Errorf("%+v, and the peer got %d", r, len(p.got))
				}
				return
			}
			if r.Msg.Status != 200 {
				t.Fatalf("%+v", r)
			}
			m := served(t, p)
			at := g.Local("TLS").String()
			if via, want := m.Get("Via"), "SIP/2.0/TLS "+at+";branch="; !strings.HasPrefix(via, want) {
				t.Errorf("Via %s, want %s...", via, want)
			}
			contact, path := "<sip:token@"+at+";transport=tls>", "<sip:path@"+at+";lr;ob;transport=tls>"
			if strings.HasPrefix(uri, "sips:") { // RFC 3261 §8.1.1.8
				contact, path = "<sips:token@"+at+">", "<sips:path@"+at+";lr;ob>"
			}
			if m.Get("Contact") != contact || m.Get("Path") != path {
				t.Errorf("Contact %s, Path %s", m.Get("Contact"), m.Get("Path"))
			}
			g.must(uri)
			if served(t, p); p.conns.Load() != 1 {
				t.Errorf("%d connections for two requests", p.conns.Load())
			}
		})
	}
}

// TestR5923_ConnectionIsOfItsName: a connection that was checked for one domain carries nothing for another one at the same address.
func TestR5923_ConnectionIsOfItsName(t *testing.T) {
	ca := newAuthority(t, "core")
	p := newPeer(t, "TLS", "127.0.0.1:0", serving(ca.issue(nil, "a.test", "b.test"), ca))
	dns, _ := dnsServer(t, "a.test. 60 IN A 127.0.0.1\nb.test. 60 IN A 127.0.0.1\nc.test. 60 IN A 127.0.0.1\n")
	g := newGateway(t, Config{Listen: withTLS, DNS: []string{dns}, TLS: files(t, ca.issue(ours, "sip:gw.test"), ca)})
	for i, name := range []string{"a", "b", "a"} {
		g.must(fmt.Sprintf("sips:%s.test:%d", name, p.addr.Port()))
		served(t, p)
		if want := []int64{1, 2, 2}[i]; p.conns.Load() != want {
			t.Fatalf("%d connections after %d requests, want %d", p.conns.Load(), i+1, want)
		}
	}
	uri := fmt.Sprintf("sips:c.test:%d", p.addr.Port())
	if r := g.ask(g.message(uri, 1), siptransport.Target{URI: uri}); r.Kind != siptx.TransportError {
		t.Errorf("c.test: %+v", r)
	}
}

// TestNextHopName: an operator may say whose certificate the next hop has.
func TestNextHopName(t *testing.T) {
	ca := newAuthority(t, "core")
	p := newPeer(t, "TLS", "127.0.0.1:0", serving(ca.issue(nil, "sip:ims.test"), ca))
	conf := files(t, ca.issue(ours, "sip:gw.test"), ca)
	conf.NextHopName = "IMS.test"
	g := newGateway(t, Config{Listen: withTLS, NextHop: fmt.Sprintf("sip:127.0.0.1:%d;transport=tls", p.addr.Port()), TLS: conf})
	g.must("sip:bob@somewhere.test")
	served(t, p)
}

// inbound connects to the gateway's TLS listener and sends one request; it returns the status of the answer, 0 when there is none.
func inbound(t *testing.T, to netip.AddrPort, conf *tls.Config) int {
	t.Helper()
	conf = conf.Clone()
	conf.InsecureSkipVerify = true
	c, err := tls.Dial("tcp", to.String(), conf)
	if err != nil {
		return 0
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait.Limit))
	if _, err := c.Write([]byte(strings.ReplaceAll(options(siptransport.NewFlowID()), "SIP/2.0/UDP", "SIP/2.0/TLS"))); err != nil {
		return 0
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return 0 // over TLS 1.3 a refused certificate is told after the handshake
	}
	m, err := headers.Read(buf[:n], headers.Stream)
	if err != nil {
		t.Fatal(err)
	}
	return m.Status
}

// TestPeersThatConnect: who may, and whose requests are taken.
func TestPeersThatConnect(t *testing.T) {
	ca, other := newAuthority(t, "core"), newAuthority(t, "other")
	with := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	good, foreign, none := with(ca.issue(nil, "sip:pbx.test")), with(other.issue(nil, "sip:pbx.test")), &tls.Config{}
	expired := with(ca.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "sip:pbx.test"))
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	for name, c := range map[string]struct {
		change func(*TLS)
		allow  []netip.Prefix
		want   map[*tls.Config]int
	}{
		// The certificate opens the connection, the address admits the request.
		"by address":              {nil, local, map[*tls.Config]int{good: 200, foreign: 0, none: 0, expired: 0, old: 0}},
		"by address, not allowed": {nil, nil, map[*tls.Config]int{good: 403, foreign: 0, none: 0}},
		"not mutual":              {func(c *TLS) { c.Mutual = false }, local, map[*tls.Config]int{good: 200, foreign: 0, none: 200, expired: 0}},
		"without authorities":     {func(c *TLS) { c.Mutual, c.CA = false, "" }, local, map[*tls.Config]int{good: 200, none: 200}},
		// The certificate is enough.
		"by certificate":           {func(c *TLS) { c.Trusted = true }, nil, map[*tls.Config]int{good: 200, foreign: 0, none: 0}},
		"by certificate or not":    {func(c *TLS) { c.Trusted, c.Mutual = true, false }, nil, map[*tls.Config]int{good: 200, none: 403, foreign: 0}},
		"by name":                  {func(c *TLS) { c.Trusted, c.Peers = true, []string{"x.test", "PBX.test"} }, nil, map[*tls.Config]int{good: 200}},
		"by another name":          {func(c *TLS) { c.Trusted, c.Peers = true, []string{"x.test"} }, nil, map[*tls.Config]int{good: 403}},
		"by another name, allowed": {func(c *TLS) { c.Trusted, c.Peers = true, []string{"x.test"} }, local, map[*tls.Config]int{good: 200}},
	} {
		t.Run(name, func(t *testing.T) {
			conf := files(t, ca.issue(nil, "sip:gw.test"), ca)
			if c.change != nil {
				c.change(&conf)
			}
			g := newGateway(t, Config{Listen: withTLS, TLS: conf, Allow: c.allow})
			for peer, want := range c.want {
				if got := inbound(t, g.Local("TLS"), peer); got != want {
					t.Errorf("certificate of %v: %d, want %d", names0(peer), got, want)
				}
			}
		})
	}
}

func names0(c *tls.Config) string {
	if len(c.Certificates) == 0 {
		return "nobody"
	}
	x, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%v by %s until %s, up to TLS %x", x.URIs, x.Issuer.CommonName, x.NotAfter.Format(time.TimeOnly), c.MaxVersion)
}

// TestReloadWithoutRestart: a new certificate and new authorities are for the next connection; those that are open go on.
func TestReloadWithoutRestart(t *testing.T) {
	ca, next := newAuthority(t, "first"), newAuthority(t, "second")
	conf := files(t, ca.issue(ours, "sip:gw.test"), ca)
	g := newGateway(t, Config{Listen: withTLS, TLS: conf, Allow: local})
	p := newPeer(t, "TLS", "127.0.0.1:0", serving(ca.issue(nil, "127.0.0.1"), ca))
	uri := fmt.Sprintf("sips:127.0.0.1:%d", p.addr.Port())
	g.must(uri)
	peer := &tls.Config{Certificates: []tls.Certificate{next.issue(nil, "sip:pbx.test")}}
	if got := inbound(t, g.Local("TLS"), peer); got != 0 {
		t.Fatalf("a certificate of an unknown authority: %d", got)
	}
	put(t, conf, next.issue(ours, "sip:gw.test"))
	tlstest.Put(t, conf.CA, next.PEM())
	wait.Until(t, "the new authority is accepted", func() bool { return inbound(t, g.Local("TLS"), peer) == 200 })
	shown := func() string {
		c, err := tls.Dial("tcp", g.Local("TLS").String(), &tls.Config{InsecureSkipVerify: true, Certificates: peer.Certificates})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Issuer.CommonName
	}
	wait.Until(t, "the new certificate is shown", func() bool { return shown() == "second" })
	g.must(uri) // over the connection that was there
	if p.conns.Load() != 1 {
		t.Errorf("%d connections", p.conns.Load())
	}
	q := newPeer(t, "TLS", "127.0.0.1:0", serving(next.issue(nil, "127.0.0.1"), next))
	g.must(fmt.Sprintf("sips:127.0.0.1:%d", q.addr.Port()))
}

const tlsZone = `
naptr.test.            60 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.naptr.test.
naptr.test.            60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.naptr.test.
_sips._tcp.naptr.test. 60 IN SRV 1 0 5071 a.test.
_sip._udp.naptr.test.  60 IN SRV 1 0 5073 a.test.
srv.test.              60 IN A 192.0.2.9
_sips._tcp.srv.test.   60 IN SRV 1 0 5075 a.test.
_sip._tcp.srv.test.    60 IN SRV 1 0 5074 a.test.
plain.test.            60 IN A 192.0.2.10
plain.test.            60 IN AAAA 2001:db8::10
a.test.                60 IN A 192.0.2.1
`

// TestR3263_TLSResolution: SIPS+D2T, _sips._tcp, and what a SIPS URI rules out.
func TestR3263_TLSResolution(t *testing.T) {
	ca := newAuthority(t, "core")
	dns, _ := dnsServer(t, tlsZone)
	conf := files(t, ca.issue(nil, "sip:gw.test"), ca)
	e, _ := newEdge(t, Config{Listen: withTLS, DNS: []string{dns}, TLS: conf})
	for uri, want := range map[string]string{
		"sip:naptr.test":                "TLS 192.0.2.1:5071, UDP 192.0.2.1:5073",
		"sips:naptr.test":               "TLS 192.0.2.1:5071",
		"sip:naptr.test;transport=tls":  "TLS 192.0.2.1:5071",
		"sips:naptr.test;transport=tcp": "TLS 192.0.2.1:5071",
		"sip:srv.test":                  "TCP 192.0.2.1:5074, TLS 192.0.2.1:5075",
		"sips:srv.test":                 "TLS 192.0.2.1:5075",
		"sips:plain.test":               "TLS 192.0.2.10:5061, TLS [2001:db8::10]:5061",
		"sips:plain.test:5099":          "TLS 192.0.2.10:5099, TLS [2001:db8::10]:5099",
		"sips:192.0.2.5":                "TLS 192.0.2.5:5061",
		"sip:192.0.2.5;transport=TLS":   "TLS 192.0.2.5:5061",
		"sips:[2001:db8::5]":            "TLS [2001:db8::5]:5061",
		"sips:plain.test;transport=udp": "",
	} {
		hops, err := e.Resolve(t.Context(), siptransport.Target{URI: uri})
		if list(hops) != want || (want == "") != (err != nil) {
			t.Errorf("%s: %s, %v; want %s", uri, list(hops), err, want)
		}
		for _, h := range hops {
			u, _ := headers.ParseURI(uri)
			if name := h.Name; h.Transport == "TLS" && name != u.Host || h.Transport != "TLS" && name != "" {
				t.Errorf("%s: %s %s is to name %q", uri, h.Transport, h.Addr, name)
			}
		}
	}
	only, _ := newEdge(t, Config{Listen: both, DNS: []string{dns}})
	if hops, err := only.Resolve(t.Context(), siptransport.Target{URI: "sip:naptr.test"}); err != nil || list(hops) != "UDP 192.0.2.1:5073" {
		t.Errorf("without a TLS listener: %s, %v", list(hops), err)
	}
}

// TestReplyOverTLSGoesToWhoAsked: a response whose connection is gone is brought by a new one, to the host of the Via only.
func TestReplyOverTLSGoesToWhoAsked(t *testing.T) {
	ca := newAuthority(t, "core")
	p := newPeer(t, "TLS", "127.0.0.1:0", serving(ca.issue(nil, "pbx.test"), ca))
	g := newGateway(t, Config{Listen: withTLS, TLS: files(t, ca.issue(ours, "sip:gw.test"), ca)})
	from := siptransport.Flow{ID: "gone", Transport: "TLS", Edge: siptransport.EdgeCore, Remote: netip.MustParseAddrPort("127.0.0.1:40000")}
	for host, ok := range map[string]bool{"pbx.test": true, "evil.test": false} {
		link, err := g.Reply(from, headers.Via{Transport: "TLS", Host: host, Port: p.addr.Port()})
		if err != nil {
			t.Fatal(err)
		}
		req := g.message("sip:x@pbx.test", 1)
		req.Add("Via", "SIP/2.0/TLS "+host+";branch=z9hG4bKx")
		resp := headers.NewResponse(&req, 200, "")
		raw, err := resp.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if err := link.Send(raw); err != nil && ok { // the other connection may have been refused by now
			t.Fatal(err)
		}
		if ok {
			if m := wait.Receive(t, p.got); m.Status != 200 {
				t.Errorf("the peer got %+v", m)
			}
			continue
		}
		wait.Until(t, "the connection is given up", func() bool { _, err := g.flows.Get(link.Flow().ID); return err != nil })
		if len(p.got) != 0 {
			t.Errorf("the peer got what is for %s", host)
		}
	}
}

// TestTLSConfigErrors: what cannot work is said at the start.
func TestTLSConfigErrors(t *testing.T) {
	ca := newAuthority(t, "core")
	good := files(t, ca.issue(nil, "sip:gw.test"), ca)
	without := good
	without.CA = ""
	for name, cfg := range map[string]Config{
		"no files":              {Listen: withTLS},
		"mutual without CA":     {Listen: withTLS, TLS: without},
		"next hop without TLS":  {Listen: both, NextHop: "sip:192.0.2.1;transport=tls"},
		"sips next hop":         {Listen: both, NextHop: "sips:core.test"},
		"no listener for it":    {Listen: both[:1], NextHop: "sip:core.test;transport=tcp"},
		"address to advertise":  {Listen: []Listen{{Transport: "UDP", Addr: loopback, Advertise: "a b"}}},
		"name in Contact, Path": {Listen: both, Home: "::1"},
	} {
		if e, err := New(cfg, siptransport.NewFlows(), siptransport.NewMetrics(nil), nopLog); err == nil {
			t.Errorf("%s: accepted", name)
			_ = e.Close()
		}
	}
}
