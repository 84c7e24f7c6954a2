package coreedge

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// twoServers is a zone with a first and a second server of core.test.
func twoServers(transport string, first, second netip.AddrPort) string {
	service := map[string]string{"UDP": "_sip._udp", "TCP": "_sip._tcp"}[transport]
	flag := map[string]string{"UDP": "SIP+D2U", "TCP": "SIP+D2T"}[transport]
	return fmt.Sprintf(`
core.test. 60 IN NAPTR 1 1 "s" "%s" "" %s.core.test.
%s.core.test. 60 IN SRV 1 1 %d one.test.
%s.core.test. 60 IN SRV 2 1 %d two.test.
one.test. 60 IN A %s
two.test. 60 IN A %s
`, flag, service, service, first.Port(), service, second.Port(), first.Addr(), second.Addr())
}

const coreURI = "sip:core.test"

// TestR3263_DeadServerIsPassedOver: the first SRV target refuses connections; the second one gets the request in the same
// transaction, and the next ones at once. The first comes back, is found by a probe, and is used again.
func TestR3263_DeadServerIsPassedOver(t *testing.T) {
	one, two := place(t), place(t)
	dns, _ := dnsServer(t, twoServers("TCP", one, two))
	second := newPeer(t, "TCP", two.String(), nil)
	g := newGateway(t, Config{Listen: both, DNS: []string{dns}, NextHop: coreURI, Blacklist: Blacklist{For: time.Hour, Max: time.Hour}})
	g.must(coreURI)
	served(t, second)
	hop := siptransport.Hop{Transport: "TCP", Addr: one}
	if !g.down.has(hop, time.Now()) {
		t.Fatal("the dead target is not on the blacklist")
	}
	if v := testutil.ToFloat64(g.metrics.listed.WithLabelValues("TCP")); v != 1 {
		t.Errorf("%v blacklistings", v)
	}
	first := newPeer(t, "TCP", one.String(), nil)
	g.must(coreURI)
	served(t, second, first)

	g.probeHop(hop) // what the timer does
	served(t, first)
	g.must(coreURI)
	served(t, first, second)
	if v := testutil.ToFloat64(g.metrics.returned.WithLabelValues("TCP")); v != 1 {
		t.Errorf("%v recoveries", v)
	}
	first.stop() // the connection that is open dies: dialled anew in vain, then the second
	g.must(coreURI)
	served(t, second)
}

// TestR3263_SilentServerIsPassedOver: the first target takes datagrams and says nothing.
func TestR3263_SilentServerIsPassedOver(t *testing.T) {
	one, two := place(t), place(t)
	dns, _ := dnsServer(t, twoServers("UDP", one, two))
	first, second := newPeer(t, "UDP", one.String(), nil), newPeer(t, "UDP", two.String(), nil)
	first.status.Store(0)
	g := newGateway(t, Config{Listen: both, DNS: []string{dns}, Blacklist: Blacklist{For: time.Hour}}, func(c *siptx.Config) { c.Failover = time.Second }) // the second answers within it
	g.must(coreURI)
	served(t, first)
	served(t, second)
	g.must(coreURI)
	served(t, second, first)
}

// TestR3263_OverloadedServerIsPassedOver: 503 sends the request on and keeps others away as long as Retry-After says.
func TestR3263_OverloadedServerIsPassedOver(t *testing.T) {
	one, two := place(t), place(t)
	dns, _ := dnsServer(t, twoServers("TCP", one, two))
	first, second := newPeer(t, "TCP", one.String(), nil), newPeer(t, "TCP", two.String(), nil)
	first.status.Store(503)
	first.extra.Store("Retry-After: 300")
	g := newGateway(t, Config{Listen: both, DNS: []string{dns}, Blacklist: Blacklist{For: time.Second}})
	g.must(coreURI)
	served(t, first)
	served(t, second)
	hop, now := siptransport.Hop{Transport: "TCP", Addr: one}, time.Now()
	if !g.down.has(hop, now.Add(299*time.Second)) || g.down.has(hop, now.Add(301*time.Second)) {
		t.Error("Retry-After of 300 s is not kept")
	}
	g.must(coreURI)
	served(t, second, first)
}

// TestAllBlacklistedAreTriedAllTheSame: a full blacklist is no reason to fail.
func TestAllBlacklistedAreTriedAllTheSame(t *testing.T) {
	one, two := place(t), place(t)
	dns, _ := dnsServer(t, twoServers("TCP", one, two))
	g := newGateway(t, Config{Listen: both, DNS: []string{dns}, Blacklist: Blacklist{For: time.Hour}})
	if r := g.ask(g.message(coreURI, 1), siptransport.Target{URI: coreURI}); r.Kind != siptx.TransportError {
		t.Fatalf("with no server: %+v", r)
	}
	if n := g.down.count(time.Now()); n != 2 {
		t.Fatalf("%d on the blacklist", n)
	}
	second := newPeer(t, "TCP", two.String(), nil)
	g.must(coreURI)
	served(t, second)
	if n := g.down.count(time.Now()); n != 1 {
		t.Errorf("%d on the blacklist after an answer", n)
	}
}

// TestR3263_AThenAAAA: a name with addresses of both families, of which only the IPv6 one is alive.
func TestR3263_AThenAAAA(t *testing.T) {
	alive := newPeer(t, "TCP", "[::1]:0", nil)
	dns, _ := dnsServer(t, fmt.Sprintf("both.test. 60 IN A %s\nboth.test. 60 IN AAAA ::1\n", place(t).Addr()))
	g := newGateway(t, Config{Listen: dual, DNS: []string{dns}})
	uri := fmt.Sprintf("sip:both.test:%d;transport=tcp", alive.addr.Port())
	g.must(uri)
	m := served(t, alive)
	if want := "SIP/2.0/TCP " + g.sockets[3].sentBy; !strings.HasPrefix(m.Get("Via"), want) {
		t.Errorf("Via %s, want %s", m.Get("Via"), want)
	}
	g.must(uri) // the dead IPv4 address is known
	served(t, alive)
	if g.down.count(time.Now()) != 1 {
		t.Error("the dead address is not on the blacklist")
	}
}

// TestProbesFindTheDeadAndTheRecovered: OPTIONS by themselves, before any call.
func TestProbesFindTheDeadAndTheRecovered(t *testing.T) {
	one, two := place(t), place(t)
	dns, _ := dnsServer(t, twoServers("TCP", one, two))
	second := newPeer(t, "TCP", two.String(), nil)
	second.status.Store(404) // any answer but 503 is one
	reg := prometheus.NewRegistry()
	g := newGateway(t, Config{Listen: both, DNS: []string{dns}, NextHop: coreURI, Probe: 20 * time.Millisecond, Blacklist: Blacklist{For: time.Hour}, Registry: reg})
	m := wait.Receive(t, second.got)
	if m.Method != "OPTIONS" || m.RequestURI != "sip:"+two.String() {
		t.Errorf("probe %s %s", m.Method, m.RequestURI)
	}
	up := func(a netip.AddrPort) string {
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			for _, x := range f.Metric {
				if f.GetName() == "isthmus_mgc_core_target_up" && x.Label[0].GetValue() == a.String() {
					return fmt.Sprint(x.Gauge.GetValue())
				}
			}
		}
		return ""
	}
	wait.Until(t, "the dead target shows", func() bool { return up(one) == "0" && up(two) == "1" })
	first := newPeer(t, "TCP", one.String(), nil)
	wait.Until(t, "the recovered target shows", func() bool { return up(one) == "1" })
	first.stop()
	second.status.Store(503)
	wait.Until(t, "the overloaded target shows", func() bool { return up(one) == "0" && up(two) == "0" })
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", []promlint.Problem(problems), err)
	}
	if n := testutil.ToFloat64(g.metrics.probes.WithLabelValues("failed")); n < 2 {
		t.Errorf("%v failed probes", n)
	}
}

func TestBlacklistGrowsAndForgets(t *testing.T) {
	d := newDownList(Blacklist{For: 10 * time.Second, Max: time.Minute})
	h := siptransport.Hop{Transport: "UDP", Addr: netip.MustParseAddrPort("192.0.2.1:5060")}
	now := time.Unix(1e9, 0)
	for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		if !d.add(h, now, 0) {
			t.Fatalf("failure %d: not newly listed", i)
		}
		if d.add(h, now.Add(want/2), 0) || !d.has(h, now.Add(want-1)) || d.has(h, now.Add(want)) {
			t.Fatalf("failure %d: not listed for %s", i, want)
		}
		now = now.Add(want)
	}
	// When the time is up, one request at a time may try.
	if d.avoid(h, now) || !d.avoid(h, now.Add(trial-1)) || d.avoid(h, now.Add(trial)) {
		t.Error("not one trial each time")
	}
	if !d.remove(h) || d.remove(h) || d.avoid(h, now) {
		t.Error("an answer does not clear it")
	}
	d.add(h, now, 0)
	if d.avoid(h, now.Add(10*time.Second+time.Minute+1)) || len(d.hops) != 0 {
		t.Error("it is not forgotten")
	}
	d.add(h, now, time.Hour)
	if !d.has(h, now.Add(time.Minute-1)) || d.has(h, now.Add(time.Minute)) {
		t.Error("Retry-After is not bounded by the longest time")
	}
	for i := range 2 * maxDown {
		d.add(siptransport.Hop{Addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(i+1))}, now, 0)
	}
	if len(d.hops) != maxDown {
		t.Errorf("%d hops are remembered", len(d.hops))
	}
}

// TestRFC3261_18_1_1_BigRequests: above 1300 bytes TCP is tried, and UDP where it is refused; what comes back over UDP is never
// too big.
func TestRFC3261_18_1_1_BigRequests(t *testing.T) {
	at := place(t)
	udp := newPeer(t, "UDP", at.String(), nil)
	udp.extra.Store("Subject: " + strings.Repeat("s", 3000))
	g := newGateway(t, Config{Listen: both, Blacklist: Blacklist{For: time.Hour}})
	to := siptransport.Target{URI: "sip:" + at.String()}
	r := g.ask(g.message(to.URI, 2000), to)
	if r.Msg.Status != 200 || len(r.Msg.Get("Subject")) != 3000 {
		t.Fatalf("a big request where TCP is refused: %d with %d bytes, %v", r.Msg.Status, len(r.Msg.Get("Subject")), r.Err)
	}
	if m := served(t, udp); !strings.HasPrefix(m.Get("Via"), "SIP/2.0/UDP ") || len(m.Body) != 2000 {
		t.Errorf("it came as %s with %d bytes", m.Get("Via"), len(m.Body))
	}
	tcp := newPeer(t, "TCP", at.String(), nil)
	g.ask(g.message(to.URI, 2000), to) // not asked again for a while
	served(t, udp, tcp)
	g.Reached(siptransport.Hop{Transport: "TCP", Addr: at})
	g.ask(g.message(to.URI, 2000), to)
	served(t, tcp, udp)
	g.ask(g.message(to.URI, 100), to)
	served(t, udp, tcp)
}

// TestStaleAnswersServe: while no DNS server answers, what was known goes on, and a name that is gone does not.
func TestStaleAnswersServe(t *testing.T) {
	dns, asked := dnsServer(t, "short.test. 1 IN A 192.0.2.3\n")
	e, _ := newEdge(t, Config{DNS: []string{dns}})
	to := siptransport.Target{URI: "sip:short.test:5060"}
	if _, err := e.Resolve(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	age := func(by time.Duration) {
		e.dns.mu.Lock()
		defer e.dns.mu.Unlock()
		for q, a := range e.dns.cache {
			a.expires, a.stale = a.expires.Add(-by), a.stale.Add(-by)
			e.dns.cache[q] = a
		}
	}
	age(time.Minute)
	e.dns.servers = []string{"127.0.0.1:1"}
	if _, known := e.Known(to); known {
		t.Fatal("an old answer is taken without asking")
	}
	before := asked.Load()
	if hops, err := e.Resolve(t.Context(), to); err != nil || list(hops) != "UDP 192.0.2.3:5060" {
		t.Fatalf("%s, %v", list(hops), err)
	}
	if _, known := e.Known(to); !known || asked.Load() != before {
		t.Error("a dead server is asked for each request")
	}
	age(2 * time.Hour)
	if hops, err := e.Resolve(t.Context(), to); err == nil {
		t.Errorf("after two hours: %s", list(hops))
	}
}

// TestLookupsAreShared: many requests at once for one unknown name are one question.
func TestLookupsAreShared(t *testing.T) {
	dns, asked := dnsServer(t, "a.test. 60 IN A 192.0.2.3\n")
	e, _ := newEdge(t, Config{DNS: []string{dns}})
	q, err := e.query(siptransport.Target{URI: "sip:a.test:5060"})
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	done := make(chan error, n)
	e.dns.mu.Lock() // nobody gets further than the door before all are there
	var there sync.WaitGroup
	for range n {
		there.Add(1)
		go func() {
			there.Done()
			_, err := e.dns.lookup(t.Context(), q)
			done <- err
		}()
	}
	there.Wait()
	e.dns.mu.Unlock()
	for range n {
		if err := wait.Receive(t, done); err != nil {
			t.Fatal(err)
		}
	}
	if got := asked.Load(); got >= n { // each lookup asks for A and AAAA; a few may have come after an answer
		t.Errorf("%d questions for one name", got)
	}
}
