package browser

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/baresip"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/webphone"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	domain  = "isthmus.example"
	sipCore = netns.There + ":5060" // Kamailio
	gateway = netns.Here + ":5070"  // the MGC towards the core
	micHz   = 620.0
	bobHz   = 440.0
	carolHz = 880.0
)

// world is what lives as long as the package's test: the foreign stacks.
type world struct {
	dir        string
	space      *netns.Space
	log        *scenario.Log // what the MGC and MGW print
	core       *kamailio.Proxy
	bob, carol *baresip.Agent
	browser    *webphone.Browser
	turnTLS    []string // flags of the MGW for TURN over TLS
}

// newWorld starts the foreign stacks. What they print is shown when the test fails and ISTHMUS_LOGS is set.
func newWorld(t *testing.T) *world {
	scenario.Must(t, scenario.Need(scenario.Phone...))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	space, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, space.Close)
	w := &world{space: space}
	w.dir = scenario.Dir(t)
	w.core, err = kamailio.Start(ctx, kamailio.Config{
		Wrap: space.Wrap, Dir: scenario.Sub(t, w.dir, "kamailio"), Addr: sipCore, Tap: netns.Here + ":9060", Domain: domain, Log: scenario.LogTo(t, "kamailio"),
		Users: map[string]string{"alice": "wonderland", "bob": "builder", "carol": "christmas"},
	})
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, w.core.Close)
	w.bob, w.carol = w.agent(t, "bob", "builder", 1, bobHz, ""), w.agent(t, "carol", "christmas", 2, carolHz, "")
	w.browser, err = webphone.Start(ctx, filepath.Join(scenario.Root, "mgc/web"), scenario.Sub(t, w.dir, "chromium"), scenario.LogTo(t, "node"),
		"--ignore-certificate-errors-spki-list="+w.makeCertificate(t))
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, w.browser.Close)
	t.Logf("Chromium %s", w.browser.Version)
	return w
}

// agent runs a baresip; n tells its ports from those of others. enc is its SRTP.
func (w *world) agent(t *testing.T, user, password string, n int, hz float64, enc string) *baresip.Agent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, err := baresip.Start(ctx, baresip.Config{
		Wrap: w.space.Wrap, Dir: scenario.Sub(t, w.dir, fmt.Sprint(user, n)), Log: scenario.LogTo(t, user),
		Addr: fmt.Sprintf("%s:%d", netns.There, 5060+10*n), Control: fmt.Sprintf("%s:%d", netns.There, 4440+n),
		RTPPorts: fmt.Sprintf("%d-%d", 30000+100*n, 30099+100*n),
		Codecs:   "PCMA,AMR-WB/16000/1,AMR/8000/1,G722/16000/1",
		User:     user, Password: password, Domain: domain, Proxy: sipCore, Tone: hz, Friend: "sip:alice@" + domain, MediaEnc: enc,
	})
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, a.Close)
	return a
}

// gatewayRun is one MGC and one MGW in a media mode, with alice's page.
type gatewayRun struct {
	*world
	mode  string
	alice *webphone.Page
	mgw   iqv1.MediaGatewayClient // to look into it
}

// modes are the settings of the MGC for each mode.
var modes = map[string][]string{
	"relay": {"--media.prefer=relay"},
	"opus":  {"--media.prefer=opus"},
	"amrwb": {"--media.prefer=core", "--media.core_codecs=AMR-WB,AMR"},
	"amr":   {"--media.prefer=core", "--media.core_codecs=AMR"},

	"g722":      {"--media.prefer=relay", "--media.core_codecs=G722", "--media.access_codecs=G722"},
	"opus-g722": {"--media.prefer=core", "--media.core_codecs=G722", "--media.access_codecs=opus"},

	"info": {"--media.prefer=relay", "--media.dtmf.core=info"},

	"turn": {"--log.level=debug", "--media.prefer=opus", "--turn.urls=turn:" + turnServer + ",turn:" + turnServer + "?transport=tcp,turns:" + turnTLS + "?transport=tcp", "--turn.secrets=" + turnSecret},

	"full": {"--media.prefer=relay"},

	"osrtp":    {"--media.prefer=relay", "--core.srtp=osrtp", "--log.level=debug"},
	"required": {"--media.prefer=opus", "--core.srtp=required", "--core.srtp_cleartext=warn", "--log.level=debug"},
}

// mediaModes are those of the MGW.
var mediaModes = map[string][]string{
	"relay": {"--realms.access.0.tcp=7439"}, // ICE-TCP spares a browser TURN
	"opus":  {"--realms.access.0.tcp=7439"},
	"full":  {"--realms.access.0.ice=full"},

	"turn": {"--log.level=debug", "--realms.access.0.listen=" + netns.Here, "--turn.udp=" + turnServer, "--turn.tcp=" + turnServer, "--turn.secrets=" + turnSecret},
}

const phoneURL = "http://localhost:8080/"

// startGateway runs the daemons until the test ends.
func (w *world) startGateway(t *testing.T, mode string) *gatewayRun {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w.log = scenario.LogTo(t, "isthmus")
	procs := stack.New(w.log)
	scenario.Closing(t, func() error { return procs.Close(15 * time.Second) })
	for _, d := range []stack.Daemon{
		{Name: "mgc", Ready: "http://127.0.0.1:7402/healthz", Args: []string{
			"--domain=" + domain, "--core.listen=" + gateway, "--core.next_hop=sip:" + sipCore,
		}},
		{Name: "mgw", Ready: "http://127.0.0.1:7402/readyz", Args: []string{"--mgw_id=mgw-1", "--realms.core.0.listen=" + netns.Here, "--drain.grace=0s"}},
	} {
		if d.Name == "mgc" {
			d.Args = append(d.Args, modes[mode]...)
		} else {
			d.Args = append(d.Args, mediaModes[mode]...)
			if mode == "turn" {
				d.Args = append(d.Args, w.turnTLS...)
			}
		}
		d.Path = filepath.Join(scenario.Root, "bin", d.Name)
		if err := procs.Start(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	g := &gatewayRun{world: w, mode: mode, mgw: iqv1.NewMediaGatewayClient(scenario.Dial(t, "127.0.0.1:7420"))}
	var err error
	if g.alice, err = w.browser.Open(ctx, "alice-"+mode, phoneURL, micHz); err != nil {
		t.Fatal(err)
	}
	if err := g.alice.Register(ctx, "alice", "wonderland"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
		defer cancel()
		p := &party{gatewayRun: g, t: t, ctx: ctx}
		p.ok(g.alice.Unregister(ctx))
		p.until("alice's binding to be gone", func() (bool, any) { b := p.bindings(); return len(b) == 0, b })
		p.ok(g.alice.Close(ctx))
	})
	return g
}

// nothingLeft checks that the gateway holds no call, context or port once all calls have ended.
func (g *gatewayRun) nothingLeft(t *testing.T) {
	p := g.party(t)
	mgw, mgc := adminv1.NewGatewayAdminClient(scenario.Dial(t, "127.0.0.1:7421")), adminv1.NewControllerAdminClient(scenario.Dial(t, "127.0.0.1:7401"))
	p.until("the MGW to hold no context and no port", func() (bool, any) {
		r, err := mgw.Resources(p.ctx, &adminv1.ResourcesRequest{})
		return err == nil && r.Contexts == 0 && r.PortPairs == 0, fmt.Sprint(r, err)
	})
	p.until("the MGC to hold no call", func() (bool, any) {
		r, err := mgc.ListCalls(p.ctx, &adminv1.ListCallsRequest{})
		return err == nil && len(r.Calls) == 0, fmt.Sprint(r, err)
	})
	if err := g.browser.Errors(); err != nil {
		t.Error(err)
	}
}
