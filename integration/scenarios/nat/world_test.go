package nat

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/webphone"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
)

func TestMain(m *testing.M) { os.Exit(netns.Main(m)) }

const (
	domain = "isthmus.example"
	micHz  = 620.0
	bobHz  = 440.0
	secret = "known to this test only, as long as it runs"

	gateway   = "198.51.100.1" // public address of MGC and MGW
	elsewhere = "198.51.100.2" // another public address, for probes
	mapped    = "198.51.100.3" // public address of a gateway that is itself behind a translator, and
	inside    = "10.9.0.1"     // its own

	wifiAddr, wifiRouter = "192.168.7.2", "192.168.7.1"
	lteAddr, lteRouter   = "10.20.0.2", "10.20.0.1"
	wifiPublic           = "203.0.113.1"
	ltePublic            = "203.0.113.5"

	phoneURL = "http://" + gateway + ":8080/"
	limit    = 60 * time.Second // for one case; the slowest takes 4 s on an idle machine
)

// world is what lives as long as the test.
type world struct {
	dir                           string
	client, home, carrier, mobile *netns.Space
	core                          *democore.Core
	bob                           *ua.Agent
	calls                         chan *ua.Call // to bob
	browser                       *webphone.Browser
	alice                         *webphone.Page
	mgw                           *stack.Stack
	log                           *scenario.Log
	turnFlags                     []string
}

func newWorld(t *testing.T) *world {
	scenario.Must(t, scenario.Need(scenario.Phone...))
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w := &world{calls: make(chan *ua.Call, 4), log: scenario.LogTo(t, "isthmus")}
	w.dir = scenario.Dir(t)
	w.build(t)
	w.startCore(t, ctx)
	cert := tlstest.SelfSigned(t, "turn", gateway)
	certFile, keyFile := cert.Write(t, w.dir, "turn")
	w.turnFlags = append(w.turnFlags, "--turn.cert="+certFile, "--turn.key="+keyFile)
	w.startMGC(t, ctx)
	w.startMGW(t, ctx, "--realms.access.0.listen="+gateway)
	w.startBrowser(t, ctx, cert.SPKI())
	return w
}

// build makes the networks.
func (w *world) build(t *testing.T) {
	t.Helper()
	space := func() *netns.Space {
		s, err := netns.Alone()
		scenario.Must(t, err)
		scenario.Closing(t, s.Close)
		return s
	}
	w.client, w.home, w.carrier, w.mobile = space(), space(), space(), space()
	scenario.Must(t, w.client.Join("wifi", wifiAddr+"/24", w.home, "lan", wifiRouter+"/24"))
	scenario.Must(t, w.home.Join("wan", "100.64.0.2/30", w.carrier, "lan", "100.64.0.1/30"))
	scenario.Must(t, w.carrier.Join("wan", wifiPublic+"/30", nil, "wan-wifi", "203.0.113.2/30"))
	scenario.Must(t, w.client.Join("lte", lteAddr+"/24", w.mobile, "lan", lteRouter+"/24"))
	scenario.Must(t, w.mobile.Join("wan", ltePublic+"/30", nil, "wan-lte", "203.0.113.6/30"))
	for s, args := range map[*netns.Space][]string{
		nil:       {"addr add " + gateway + "/32 dev lo", "addr add " + elsewhere + "/32 dev lo", "addr add " + inside + "/32 dev lo"},
		w.home:    {"route add default via 100.64.0.1"},
		w.carrier: {"route add 192.168.7.0/24 via 100.64.0.2", "route add default via 203.0.113.2"},
		w.mobile:  {"route add default via 203.0.113.6"},
		w.client: {"route add default via " + wifiRouter, "route add default via " + wifiRouter + " table 10",
			"rule add from " + wifiAddr + " table 10", "rule add from " + lteAddr + " table 20", "addr flush dev lte", "link set lte down"},
	} {
		for _, a := range args {
			scenario.Must(t, s.IP(a))
		}
	}
	for _, s := range []*netns.Space{w.home, w.carrier, w.mobile} {
		scenario.Must(t, s.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }))
	}
	rules(t, w.home, plainHome)
	rules(t, w.carrier, portRestricted.rules)
	rules(t, w.mobile, portRestricted.rules)
}

// startCore runs the demo core and bob, who answers everything with his tone.
func (w *world) startCore(t *testing.T, ctx context.Context) {
	t.Helper()
	cfg := democore.DefaultConfig()
	cfg.Domain, cfg.Status = domain, ""
	var err error
	w.core, err = democore.New(cfg)
	scenario.Must(t, err)
	scenario.Closing(t, w.core.Close)
	w.bob, err = ua.New(ua.Config{
		Listen: "127.0.0.1:5061", Domain: domain, User: "bob", Password: "builder", Codecs: []ua.Codec{ua.PCMA},
		Proxy:  sipnode.Target{Network: sipnode.UDP, Addr: netip.MustParseAddrPort("127.0.0.1:5060")},
		OnCall: ua.AutoAnswer(0, func(c *ua.Call) { c.Media().SetSource(tone.NewSine(bobHz, -12)); w.calls <- c }),
	})
	scenario.Must(t, err)
	scenario.Closing(t, w.bob.Close)
	_, err = w.bob.Register(ctx, 10*time.Minute)
	scenario.Must(t, err)
}

func (w *world) startMGC(t *testing.T, ctx context.Context) {
	t.Helper()
	procs := stack.New(w.log)
	scenario.Closing(t, func() error { return procs.Close(15 * time.Second) })
	scenario.Must(t, procs.Start(ctx, stack.Daemon{Name: "mgc", Path: filepath.Join(scenario.Root, "bin/mgc"), Ready: "http://127.0.0.1:7402/healthz", Args: []string{
		"--domain=" + domain, "--access.listen=" + gateway + ":8080", "--core.next_hop=sip:127.0.0.1:5060", "--media.prefer=relay",
		"--turn.urls=turn:" + gateway + "?transport=tcp,turns:" + gateway + "?transport=tcp", "--turn.secrets=" + secret,
	}}))
}

// startMGW runs the media gateway, after the one before has ended.
func (w *world) startMGW(t *testing.T, ctx context.Context, args ...string) {
	t.Helper()
	if w.mgw != nil {
		scenario.Must(t, w.mgw.Close(15*time.Second))
	} else {
		scenario.Closing(t, func() error { return w.mgw.Close(15 * time.Second) })
	}
	w.mgw = stack.New(w.log)
	args = append(args, "--mgw_id=mgw-1", "--realms.access.0.tcp=443", "--turn.tcp="+gateway+":3478", "--turn.tls="+gateway+":5349", "--turn.secrets="+secret, "--drain.grace=0s")
	scenario.Must(t, w.mgw.Start(ctx, stack.Daemon{Name: "mgw", Path: filepath.Join(scenario.Root, "bin/mgw"), Ready: "http://127.0.0.1:7402/readyz", Args: append(args, w.turnFlags...)}))
}

// startBrowser runs Chromium behind the routers, with alice signed in.
func (w *world) startBrowser(t *testing.T, ctx context.Context, spki string) {
	t.Helper()
	mic := make([]int16, 10*tone.Rate)
	tone.NewSine(micHz, -12).Fill(mic)
	file := filepath.Join(w.dir, "mic.wav")
	f, err := os.Create(file)
	scenario.Must(t, err)
	scenario.Must(t, tone.WriteWAV(f, mic))
	scenario.Must(t, f.Close())
	profile := filepath.Join(w.dir, "chromium")
	scenario.Must(t, os.Mkdir(profile, 0o700))
	w.browser, err = webphone.StartIn(ctx, w.client.Wrap, filepath.Join(scenario.Root, "mgc/web"), profile, scenario.LogTo(t, "node"),
		"!--allow-loopback-in-peer-connection", "--unsafely-treat-insecure-origin-as-secure="+strings.TrimSuffix(phoneURL, "/"), "--ignore-certificate-errors-spki-list="+spki,
		"--use-file-for-fake-audio-capture="+file)
	scenario.Must(t, err)
	scenario.Closing(t, w.browser.Close)
	w.alice, err = w.browser.Open(ctx, "alice", phoneURL, 0)
	scenario.Must(t, err)
	scenario.Must(t, w.alice.RegisterRaw(ctx, "alice", "wonderland"))
	t.Logf("Chromium %s", w.browser.Version)
}
