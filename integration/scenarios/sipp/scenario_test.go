package sipp

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

//go:embed xml/*.xml
var xmlFiles embed.FS

var scenarios = template.Must(template.New("").Funcs(template.FuncMap{
	"add": func(a, b int) int { return a + b },
	"sdp": sdp,
}).Option("missingkey=error").ParseFS(xmlFiles, "xml/*.xml"))

// sdp is a description of sipp's: G.711, the version number of o=, the direction.
func sdp(version int, direction string) string {
	return fmt.Sprintf(`v=0
o=sipp 53655765 %d IN IP4 [local_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 0
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=ptime:20
a=%s
`, version, direction)
}

// params fill a scenario's template. Those of a call: User, URI, Path, Contact, Retrans; others are named in the files.
type params map[string]any

// render gives the XML of a scenario.
func render(t *testing.T, name string, p params) string {
	t.Helper()
	all := params{"Retrans": int(t1 / time.Millisecond)}
	for _, key := range []string{"User", "URI", "Path", "Contact", "RecordRoute", "Headers", "Body", "ContentType", "MaxForwards", "Hold", "NoBody", "Silence", "CSeq", "ToTag", "Linger", "HangsUp"} {
		all[key] = ""
	}
	for k, v := range p {
		all[k] = v
	}
	var b strings.Builder
	if err := scenarios.ExecuteTemplate(&b, name+".xml", all); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

var nextPort atomic.Uint32

// freePort returns a port of 127.0.0.1 that is free for UDP and TCP, each time another one, below the ephemeral range. sipp takes
// some ports above that of its media, too: hence the steps.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 1000 {
		port := uint16(firstPort + 8*nextPort.Add(1)%13000)
		addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			continue
		}
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
		u.Close()
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// local returns a fresh address for a sipp.
func local(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t))
}

// sippRun is one sipp of a test.
type sippRun struct {
	t *testing.T
	p *peer.Process
	n int // calls

	told bool // the test has its result
}

// startSipp runs a scenario; cfg carries what is not the default.
func startSipp(t *testing.T, xml string, p params, cfg peer.Config) *sippRun {
	t.Helper()
	cfg.Scenario, cfg.Dir = render(t, xml, p), t.TempDir()
	cfg.Media, cfg.Control = freePort(t), freePort(t)
	cfg.Calls = max(cfg.Calls, 1)
	proc, err := peer.Start(scenario.Within(t, 20*time.Second), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &sippRun{t: t, p: proc, n: cfg.Calls}
	t.Cleanup(r.close)
	return r
}

// close ends sipp and, when the test failed otherwise, tells what sipp saw.
func (r *sippRun) close() {
	r.p.Stop()
	if !r.t.Failed() || r.told {
		return
	}
	res, err := r.p.Wait(context.Background()) // it has ended
	r.t.Logf("%s %v", res, err)
}

// done waits until sipp has ended and checks that every call went as its scenario says.
func (r *sippRun) done(ctx context.Context) peer.Result {
	r.t.Helper()
	res, err := r.p.Wait(ctx)
	r.told = true
	if err != nil {
		r.t.Fatalf("%v\n%s", err, res)
	}
	if res.Exit != 0 || res.Good != r.n || res.Bad != 0 {
		r.t.Fatalf("want %d good calls: %s", r.n, res)
	}
	return res
}

// received returns the nth message of the kind that sipp received.
func received(t *testing.T, res peer.Result, what string, n int) peer.Message {
	t.Helper()
	all := res.Received(what)
	if len(all) <= n {
		t.Fatalf("sipp did not receive %s number %d: %s", what, n+1, res)
	}
	return all[n]
}

// caller gives the parameters of a call from the core to the browser.
func (b *browser) caller() params {
	u := world.registrar.binding(b.user)
	return params{"User": b.user, "URI": u.contact, "Path": u.path}
}

// fromCore runs a scenario of calls to the browser over the transport.
func fromCore(t *testing.T, xml, transport string, p params) *sippRun {
	t.Helper()
	return startSipp(t, xml, p, peer.Config{Transport: transport, Local: local(t), Remote: world.core})
}

// with returns p with more parameters.
func (p params) with(key string, value any, more ...any) params {
	out := params{key: value}
	for k, v := range p {
		if k != key {
			out[k] = v
		}
	}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i].(string)] = more[i+1]
	}
	return out
}

// both runs a test over UDP and over TCP, in parallel.
func both(t *testing.T, name string, f func(t *testing.T, transport string)) {
	t.Helper()
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(name+"/"+transport, func(t *testing.T) {
			t.Parallel()
			f(t, transport)
		})
	}
}
