package ims

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/issuer"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/webphone"
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

// root is the workspace, seen from this folder, which is where go test runs us.
const root = "../../.."

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
	for path, target := range map[string]string{"bin/mgc": "build", "bin/mgw": "build", "mgc/web/dist/index.html": "web", "mgc/web/node_modules/playwright-core": "web"} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Fatalf("%s is missing: run `make %s` first", path, target)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := &world{}
	var err error
	if w.space, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	closing(t, w.space.Close)
	if w.dir, err = os.MkdirTemp("", "isthmus"); err != nil { // shorter than t.TempDir: Chromium's sockets go there
		t.Fatal(err)
	}
	closing(t, func() error { return os.RemoveAll(w.dir) })
	users := map[string]string{}
	for i := range scenarios {
		users[userOf(i)] = password
	}
	coreDir := w.sub(t, "kamailio")
	if err = os.CopyFS(filepath.Join(coreDir, "tables"), os.DirFS("/usr/share/kamailio/dbtext/kamailio")); err != nil {
		t.Fatalf("the empty tables of the Debian package kamailio: %v", err)
	}
	w.core, err = kamailio.Start(ctx, kamailio.Config{
		Template: coreConfig, Wrap: w.space.Wrap, Dir: coreDir, Addr: sipCore, Tap: netns.Here + ":9060", Domain: domain,
		Users: users, Trusted: netns.Here, Log: logTo(t, "kamailio"),
	})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, w.core.Close)
	if w.browser, err = webphone.Start(ctx, filepath.Join(root, "mgc/web"), w.sub(t, "chromium"), logTo(t, "node")); err != nil {
		t.Fatal(err)
	}
	closing(t, w.browser.Close)
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
	procs := stack.New(logTo(t, "isthmus"))
	closing(t, func() error { return procs.Close(15 * time.Second) })
	for _, d := range []stack.Daemon{
		{Name: "mgc", Ready: "http://127.0.0.1:7402/healthz", Args: []string{
			"--domain=" + domain, "--core.listen=" + gateway, "--core.next_hop=sip:" + sipCore, "--core.profile=ims", "--core.preconditions=full",
			"--core.visited_network=" + visited, "--core.ioi=" + ioi, "--core.access_info=" + access, "--core.t1=" + t1.String(),
			"--auth.mode=both", "--auth.issuers.0.issuer=" + w.issuer.URL, "--auth.issuers.0.audience=" + audience, "--auth.upgrade.query=access_token",
		}},
		{Name: "mgw", Ready: "http://127.0.0.1:7402/readyz", Args: []string{"--mgw_id=mgw-1", "--realms.core.0.listen=" + netns.Here, "--drain.grace=0s"}},
	} {
		d.Path = filepath.Join(root, "bin", d.Name)
		if err := procs.Start(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	w.mgc, w.mgw = adminv1.NewControllerAdminClient(dial(t, "127.0.0.1:7401")), adminv1.NewGatewayAdminClient(dial(t, "127.0.0.1:7421"))
}

// sub makes a private folder.
func (w *world) sub(t *testing.T, name string) string {
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// userOf names the browser user of a scenario.
func userOf(scenario int) string { return fmt.Sprintf("alice%d", scenario) }

// closing closes something at the end; a failure fails the test.
func closing(t *testing.T, closer func() error) {
	t.Cleanup(func() {
		if err := closer(); err != nil {
			t.Error(err)
		}
	})
}

// logTo collects a program's output and shows it when the test has failed.
func logTo(t *testing.T, name string) io.Writer {
	b := &logBuffer{}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("ISTHMUS_LOGS") != "" {
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Logf("%s printed:\n%s", name, b.buf.Bytes())
		}
	})
	return b
}

type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// dial makes a connection to a gRPC service of a daemon.
func dial(t *testing.T, addr string) *grpc.ClientConn {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, conn.Close)
	return conn
}
