package coreedge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type got struct {
	m    headers.Msg
	from siptransport.Flow
}

type sink struct {
	got    chan got
	closed chan siptransport.Flow
}

func newSink() *sink { return &sink{make(chan got, 100), make(chan siptransport.Flow, 100)} }

func (s *sink) OnMessage(m headers.Msg, from siptransport.Flow) { s.got <- got{m, from} }
func (s *sink) OnClosed(f siptransport.Flow, _ error)           { s.closed <- f }

var (
	loopback = netip.MustParseAddrPort("127.0.0.1:0")
	six      = netip.MustParseAddrPort("[::1]:0")
	dual     = []Listen{{Transport: "UDP", Addr: loopback}, {Transport: "TCP", Addr: loopback}, {Transport: "UDP", Addr: six}, {Transport: "TCP", Addr: six}}
	both     = []Listen{{Transport: "UDP", Addr: loopback}, {Transport: "TCP", Addr: loopback}}
	local    = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

func newEdge(t *testing.T, cfg Config) (*Edge, *sink) {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = both
	}
	if cfg.DNS == nil {
		cfg.DNS = []string{"127.0.0.1:1"} // nobody: a test that needs names brings a server
	}
	e, err := New(cfg, siptransport.NewFlows(), siptransport.NewMetrics(nil), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	// The hosts file may be read, no server of the machine be asked.
	e.dns.system = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no DNS in tests") }}
	s := newSink()
	e.Start(s)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, s
}

// dnsServer answers from a zone file text; count counts the questions.
func dnsServer(t *testing.T, zone string) (addr string, count *atomic.Int64) {
	t.Helper()
	var records []dns.RR
	for zp := dns.NewZoneParser(strings.NewReader(zone), "test.", ""); ; {
		rr, ok := zp.Next()
		if !ok {
			if err := zp.Err(); err != nil {
				t.Fatal(err)
			}
			break
		}
		records = append(records, rr)
	}
	count = new(atomic.Int64)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	srv := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		count.Add(1)
		m := new(dns.Msg)
		m.SetReply(q)
		name := strings.ToLower(q.Question[0].Name)
		for _, rr := range records {
			if strings.EqualFold(rr.Header().Name, name) && rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
		if strings.HasPrefix(name, "broken.") {
			m.Rcode = dns.RcodeServerFailure
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() { _ = srv.Shutdown(); <-done })
	return pc.LocalAddr().String(), count
}

const zone = `
naptr.test.      60 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.naptr.test.
naptr.test.      60 IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.naptr.test.
naptr.test.      60 IN NAPTR 5  10 "s" "SIPS+D2T" "" _sips._tcp.naptr.test.
_sip._tcp.naptr.test. 60 IN SRV 2 0 5072 b.test.
_sip._tcp.naptr.test. 60 IN SRV 1 0 5071 a.test.
_sip._udp.naptr.test. 60 IN SRV 1 0 5073 a.test.
srv.test.        60 IN A 192.0.2.99
_sip._udp.srv.test. 60 IN SRV 1 0 5080 a.test.
_sip._tcp.srv.test. 60 IN SRV 1 0 5081 b.test.
plain.test.      60 IN A 192.0.2.10
plain.test.      60 IN AAAA 2001:db8::10
a.test.          60 IN A 192.0.2.1
b.test.          60 IN A 192.0.2.2
short.test.       1 IN A 192.0.2.3
weights.test.    60 IN NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.weights.test.
_sip._udp.weights.test. 60 IN SRV 1 90 5060 a.test.
_sip._udp.weights.test. 60 IN SRV 1 10 5060 b.test.
_sip._udp.weights.test. 60 IN SRV 1 0  5060 plain.test.
dead.test.       60 IN NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.dead.test.
_sip._udp.dead.test. 60 IN SRV 1 1 5060 .
`

func list(hops []siptransport.Hop) string {
	var out []string
	for _, h := range hops {
		out = append(out, h.Transport+" "+h.Addr.String())
	}
	return strings.Join(out, ", ")
}

func TestRFC3263_4_Resolution(t *testing.T) {
	addr, _ := dnsServer(t, zone)
	e, _ := newEdge(t, Config{DNS: []string{addr}, Listen: dual})
	for _, c := range []struct{ uri, want string }{
		// Numeric hosts are not looked up (§4.2).
		{"sip:192.0.2.7", "UDP 192.0.2.7:5060"},
		{"sip:bob@192.0.2.7:5090;transport=tcp", "TCP 192.0.2.7:5090"},
		{"sip:[2001:db8::7]", "UDP [2001:db8::7]:5060"},
		{"sip:name.test;maddr=192.0.2.8", "UDP 192.0.2.8:5060"},
		// NAPTR by order, services we speak; SRV by priority (§4.1).
		{"sip:naptr.test", "TCP 192.0.2.1:5071, TCP 192.0.2.2:5072, UDP 192.0.2.1:5073"},
		// A transport in the URI skips NAPTR, a port skips SRV (§4.1, §4.2).
		{"sip:naptr.test;transport=udp", "UDP 192.0.2.1:5073"},
		{"sip:srv.test", "UDP 192.0.2.1:5080, TCP 192.0.2.2:5081"},
		{"sip:srv.test:5099", "UDP 192.0.2.99:5099"},
		{"sip:SRV.test;transport=TCP", "TCP 192.0.2.2:5081"},
		// No NAPTR, no SRV: addresses, IPv4 first.
		{"sip:plain.test", "UDP 192.0.2.10:5060, UDP [2001:db8::10]:5060"},
		{"sip:plain.test;transport=tcp", "TCP 192.0.2.10:5060, TCP [2001:db8::10]:5060"},
		{"sip:localhost:5070", ""}, // by the system's resolver, see below
	} {
		hops, err := e.Resolve(context.Background(), siptransport.Target{URI: c.uri})
		if c.want == "" {
			if err != nil || len(hops) == 0 || !hops[0].Addr.Addr().IsLoopback() {
				t.Errorf("%s: %s, %v", c.uri, list(hops), err)
			}
			continue
		}
		if err != nil || list(hops) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.uri, list(hops), err, c.want)
		}
	}
	for _, uri := range []string{"sip:dead.test", "sip:broken.test", "sips:plain.test", "sip:plain.test;transport=tls", "sip:plain.test;transport=ws", "tel:+1234", "nonsense", ""} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if hops, err := e.Resolve(ctx, siptransport.Target{URI: uri}); err == nil {
			t.Errorf("%q resolved to %s", uri, list(hops))
		}
		cancel()
	}
}

func TestResolutionIsCachedForItsTTL(t *testing.T) {
	addr, count := dnsServer(t, zone)
	e, _ := newEdge(t, Config{DNS: []string{addr}})
	to := siptransport.Target{URI: "sip:short.test:5060"}
	if _, known := e.Known(to); known {
		t.Fatal("known before the first lookup")
	}
	if _, err := e.Resolve(context.Background(), to); err != nil {
		t.Fatal(err)
	}
	asked := count.Load()
	if hops, known := e.Known(to); !known || list(hops) != "UDP 192.0.2.3:5060" || count.Load() != asked {
		t.Errorf("not from the cache: %s", list(hops))
	}
	q, err := e.query(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := e.dns.cached(q, time.Now().Add(1100*time.Millisecond)); ok {
		t.Error("a record with a TTL of 1 s was kept longer")
	}
}

func TestRFC2782_Weights(t *testing.T) {
	addr, _ := dnsServer(t, zone)
	e, _ := newEdge(t, Config{DNS: []string{addr}})
	first := map[string]int{}
	const n = 2000
	for range n {
		hops, err := e.Resolve(context.Background(), siptransport.Target{URI: "sip:weights.test"})
		if err != nil || len(hops) != 3 { // not the IPv6 address: there is no socket for it
			t.Fatalf("%s, %v", list(hops), err)
		}
		first[hops[0].Addr.Addr().String()]++
	}
	if a, b := first["192.0.2.1"], first["192.0.2.2"]; a < n*80/100 || b < n*5/100 || b > n*16/100 {
		t.Errorf("weights 90 and 10 came first %v times of %d", first, n)
	}
}

func TestFailedHopGoesLast(t *testing.T) {
	addr, _ := dnsServer(t, zone)
	e, _ := newEdge(t, Config{DNS: []string{addr}, Blacklist: Blacklist{For: time.Hour}})
	to := siptransport.Target{URI: "sip:naptr.test"}
	hops, err := e.Resolve(context.Background(), to)
	if err != nil {
		t.Fatal(err)
	}
	e.Failed(hops[0], 0)
	again, _ := e.Known(to)
	if !slices.Equal(again, append(slices.Clone(hops[1:]), hops[0])) {
		t.Errorf("after a failure: %s", list(again))
	}
	if e.down.has(hops[0], time.Now().Add(2*time.Hour)) {
		t.Error("down for ever")
	}
}

func TestNextHop(t *testing.T) {
	e, _ := newEdge(t, Config{NextHop: "sip:192.0.2.50:5070;transport=tcp"})
	for uri, want := range map[string]string{
		"":                           "TCP 192.0.2.50:5070",
		"sip:bob@ims.example":        "TCP 192.0.2.50:5070",
		"tel:+1234":                  "TCP 192.0.2.50:5070",
		"sip:bob@192.0.2.60:5080;lr": "UDP 192.0.2.60:5080",
	} {
		hops, known := e.Known(siptransport.Target{URI: uri})
		if !known || list(hops) != want {
			t.Errorf("%q: %s (known %v), want %s", uri, list(hops), known, want)
		}
	}
	if hops, _ := e.Known(siptransport.Target{FlowID: "f"}); len(hops) != 1 || hops[0].FlowID != "f" {
		t.Errorf("flow: %+v", hops)
	}
	if hops, _ := e.Known(siptransport.Target{Addr: netip.MustParseAddrPort("192.0.2.1:1")}); list(hops) != "UDP 192.0.2.1:1" {
		t.Errorf("address: %s", list(hops))
	}
}

func TestReachBoundsTargets(t *testing.T) {
	e, _ := newEdge(t, Config{Reach: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	if hops, err := e.Resolve(context.Background(), siptransport.Target{URI: "sip:192.0.2.1"}); err != nil || len(hops) != 1 {
		t.Errorf("inside: %s, %v", list(hops), err)
	}
	for _, uri := range []string{"sip:10.0.0.1", "sip:127.0.0.1", "sip:x@169.254.169.254:80"} {
		if hops, err := e.Resolve(context.Background(), siptransport.Target{URI: uri}); !errors.Is(err, ErrOutOfReach) {
			t.Errorf("%s: %s, %v", uri, list(hops), err)
		}
	}
}

func TestRFC3261_18_1_1_Expand(t *testing.T) {
	e, _ := newEdge(t, Config{Blacklist: Blacklist{For: time.Hour}})
	udp := siptransport.Hop{Transport: "UDP", Addr: netip.MustParseAddrPort("192.0.2.1:5060")}
	if h := e.Expand(udp, 1300); list(h) != "UDP 192.0.2.1:5060" {
		t.Errorf("1300 bytes: %s", list(h))
	}
	big := e.Expand(udp, 1301)
	if list(big) != "TCP 192.0.2.1:5060, UDP 192.0.2.1:5060" || !big[1].Fallback || big[0].Fallback {
		t.Errorf("1301 bytes: %+v", big)
	}
	e.Failed(big[0], 0)
	if h := e.Expand(udp, 1301); list(h) != "UDP 192.0.2.1:5060" {
		t.Errorf("after TCP was refused: %s", list(h))
	}
	only, _ := newEdge(t, Config{Listen: both[:1]})
	if h := only.Expand(udp, 9000); len(h) != 1 {
		t.Errorf("without a TCP listener: %s", list(h))
	}
	never, _ := newEdge(t, Config{TCPAbove: -1})
	if h := never.Expand(udp, 9000); len(h) != 1 {
		t.Errorf("switched off: %s", list(h))
	}
}

func options(id string) string {
	return "OPTIONS sip:x@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK" + id +
		"\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: " + id + "\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
}

func TestStrangersAreRefused(t *testing.T) {
	e, s := newEdge(t, Config{StrangerRate: 3})
	c, err := net.Dial("udp", e.Local("UDP").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	for i := range 50 {
		if _, err := c.Write([]byte(options(fmt.Sprintf("s%d", i)))); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("noise")); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 2000)
	_ = c.SetReadDeadline(time.Now().Add(wait.Limit))
	n, err := c.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "SIP/2.0 403 Forbidden\r\n") {
		t.Fatalf("answer %q, %v", buf[:n], err)
	}
	answers := 1
	for {
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Read(buf); err != nil {
			break
		}
		answers++
	}
	if most := 6 + 3*int(time.Since(begin)/time.Second); answers > most { // three per second, and the loop may have met the turn of one
		t.Errorf("%d answers to 50 requests of a stranger", answers)
	}
	if len(s.got) != 0 {
		t.Error("a stranger's request came through")
	}
	// A response needs no admission: its branch is a secret of ours.
	if _, err := c.Write([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKr\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: r\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if g := wait.Receive(t, s.got); g.m.Status != 200 {
		t.Errorf("got %+v", g.m)
	}
}

func TestCoreIsAdmitted(t *testing.T) {
	addr, _ := dnsServer(t, "core.test. 60 IN A 127.0.0.1\n")
	for name, cfg := range map[string]Config{
		"by configuration": {Allow: local},
		"numeric next hop": {NextHop: "sip:127.0.0.1:5070"},
		"named next hop":   {NextHop: "sip:core.test:5070", DNS: []string{addr}},
	} {
		t.Run(name, func(t *testing.T) {
			e, s := newEdge(t, cfg)
			c, err := net.Dial("udp", e.Local("UDP").String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			deadline := time.Now().Add(wait.Limit)
			for i := 0; len(s.got) == 0; i++ { // the next hop is resolved in the background
				if time.Now().After(deadline) {
					t.Fatal("never admitted")
				}
				if _, err := c.Write([]byte(options(fmt.Sprintf("c%d", i)))); err != nil {
					t.Fatal(err)
				}
				wait := time.NewTimer(10 * time.Millisecond)
				<-wait.C
			}
		})
	}
	e, _ := newEdge(t, Config{DNS: []string{addr}})
	if e.trust.trusted(netip.MustParseAddr("127.0.0.1"), time.Now()) {
		t.Fatal("trusted without a reason")
	}
	e.TrustURI("sip:192.0.2.44;lr")
	if !e.trust.trusted(netip.MustParseAddr("192.0.2.44"), time.Now()) || e.trust.trusted(netip.MustParseAddr("192.0.2.44"), time.Now().Add(time.Hour)) {
		t.Error("TrustURI of an address")
	}
}

func TestReply(t *testing.T) {
	e, s := newEdge(t, Config{Allow: local})
	c, err := net.Dial("udp", e.Local("UDP").String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(options("r1"))); err != nil {
		t.Fatal(err)
	}
	g := wait.Receive(t, s.got)
	via, _ := headers.TopVia(&g.m)
	link, err := e.Reply(g.from, via)
	if err != nil || link.Flow().Remote.String() != c.LocalAddr().String() {
		t.Fatalf("reply to %+v, %v", link, err)
	}
	if _, err := e.Reply(siptransport.Flow{ID: "gone", Transport: "WS"}, via); !errors.Is(err, siptransport.ErrFlowGone) {
		t.Errorf("reply over a dead WebSocket: %v", err)
	}
	// RFC 3261 §18.2.2: a TCP connection that is gone is replaced by one to the sent-by port of its source.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := netip.MustParseAddrPort(ln.Addr().String()).Port()
	link, err = e.Reply(siptransport.Flow{ID: "gone", Transport: "TCP", Remote: netip.MustParseAddrPort("127.0.0.1:40000")},
		headers.Via{Transport: "TCP", Host: "somewhere.invalid", Port: port})
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Send([]byte("x")); err != nil {
		t.Fatal(err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]Config{
		"unspecified without advertise": {Listen: []Listen{{Transport: "UDP", Addr: netip.MustParseAddrPort("0.0.0.0:0")}}},
		"unknown transport":             {Listen: []Listen{{Transport: "SCTP", Addr: loopback}}},
		"next hop":                      {NextHop: "core.example.com"},
		"DNS server":                    {DNS: []string{"9.9.9.9"}},
		"foreign address":               {Listen: []Listen{both[0], {Transport: "TCP", Addr: netip.MustParseAddrPort("192.0.2.1:5060")}}},
	} {
		if e, err := New(cfg, siptransport.NewFlows(), siptransport.NewMetrics(nil), zap.NewNop()); err == nil {
			t.Errorf("%s: accepted", name)
			_ = e.Close()
		}
	}
}
