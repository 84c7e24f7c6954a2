package ims

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/issuer"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/webphone"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

const (
	domain   = "ims.example"
	sipCore  = netns.There + ":5060" // Kamailio
	gateway  = netns.Here + ":5070"  // the MGC towards the core
	visited  = "visited.example"
	ioi      = "isthmus.example"
	access   = "IEEE-802.11;network-provided"
	phoneURL = "http://localhost:8080/"
	password = "secret"
	audience = "isthmus"
	micHz    = 620.0
)

//go:embed ims.cfg.tmpl
var coreConfig string

// world is what all scenarios share.
type world struct {
	dir      string
	space    *netns.Space
	core     *kamailio.Proxy
	browser  *webphone.Browser
	issuer   *issuer.Issuer // of tokens
	mgc      adminv1.ControllerAdminClient
	mgw      adminv1.GatewayAdminClient
	nextPort atomic.Uint32 // of user equipment
}

// newWorld starts everything. What the programs print is shown when the test fails and ISTHMUS_LOGS is set.
func newWorld(t *testing.T) *world {
	scenario.Must(t, scenario.Need(scenario.Phone...))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := &world{}
	var err error
	if w.space, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, w.space.Close)
	w.dir = scenario.Dir(t)
	users := map[string]string{}
	for i := range scenarios {
		users[userOf(i)] = password
	}
	coreDir := scenario.Sub(t, w.dir, "kamailio")
	if err = os.CopyFS(filepath.Join(coreDir, "tables"), os.DirFS("/usr/share/kamailio/dbtext/kamailio")); err != nil {
		t.Fatalf("the empty tables of the Debian package kamailio: %v", err)
	}
	w.core, err = kamailio.Start(ctx, kamailio.Config{
		Template: coreConfig, Wrap: w.space.Wrap, Dir: coreDir, Addr: sipCore, Tap: netns.Here + ":9060", Domain: domain,
		Users: users, Trusted: netns.Here, Log: scenario.LogTo(t, "kamailio"),
	})
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, w.core.Close)
	if w.browser, err = webphone.Start(ctx, filepath.Join(scenario.Root, "mgc/web"), scenario.Sub(t, w.dir, "chromium"), scenario.LogTo(t, "node")); err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, w.browser.Close)
	if w.issuer, err = issuer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.issuer.Close)
	w.startGateway(ctx, t)
	t.Logf("Chromium %s", w.browser.Version)
	return w
}

// startGateway runs the daemons with the profile of an IMS and everything that it offers.
func (w *world) startGateway(ctx context.Context, t *testing.T) {
	procs := stack.New(scenario.LogTo(t, "isthmus"))
	scenario.Closing(t, func() error { return procs.Close(15 * time.Second) })
	for _, d := range []stack.Daemon{
		{Name: "mgc", Ready: "http://127.0.0.1:7402/healthz", Args: []string{
			"--domain=" + domain, "--core.listen=" + gateway, "--core.next_hop=sip:" + sipCore, "--core.profile=ims", "--core.preconditions=full",
			"--core.visited_network=" + visited, "--core.ioi=" + ioi, "--core.access_info=" + access, "--core.t1=" + t1.String(),
			"--auth.mode=both", "--auth.issuers.0.issuer=" + w.issuer.URL, "--auth.issuers.0.audience=" + audience, "--auth.upgrade.query=access_token",
		}},
		{Name: "mgw", Ready: "http://127.0.0.1:7402/readyz", Args: []string{"--mgw_id=mgw-1", "--realms.core.0.listen=" + netns.Here, "--drain.grace=0s"}},
	} {
		d.Path = filepath.Join(scenario.Root, "bin", d.Name)
		if err := procs.Start(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	w.mgc, w.mgw = adminv1.NewControllerAdminClient(scenario.Dial(t, "127.0.0.1:7401")), adminv1.NewGatewayAdminClient(scenario.Dial(t, "127.0.0.1:7421"))
}

// userOf names the browser user of a scenario.
func userOf(scene int) string { return fmt.Sprintf("alice%d", scene) }
