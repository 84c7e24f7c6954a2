// Package webidentity runs the controller as the eP-CSCF of an IMS network: browsers that register with web-identity tokens, a policy function
// that authorises their calls, and call data records.
package webidentity

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/issuer"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/pcf"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const (
	domain   = "isthmus.example"
	audience = "isthmus"

	deadline = 15 * time.Second // of every single wait
)

var (
	programs scenario.Programs
	gateway  = scenario.Pair{Programs: &programs, Base: 18000}
)

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

// world is one MGC with its MGW, and what an IMS network has around it.
type world struct {
	t      *testing.T
	issuer *issuer.Issuer
	pcf    *pcf.PCF
	cdrs   string                   // directory
	logs   map[string]*scenario.Log // by daemon
	tokens []string                 // that were given out
}

// newWorld starts everything.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, cdrs: t.TempDir(), logs: map[string]*scenario.Log{}}
	var err error
	if w.issuer, err = issuer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.issuer.Close)
	if w.pcf, err = pcf.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.pcf.Close)
	const callback = 3 // offset of the port
	for _, d := range []stack.Daemon{
		gateway.Democore("--trace", "--trusted=127.0.0.1", "--min-expires=1s"),
		gateway.MGC("--core.profile=ims", "--core.reg_event=off", "--core.ioi=home.example", "--log.level=debug",
			"--auth.mode=token", "--auth.issuers.0.issuer="+w.issuer.URL, "--auth.issuers.0.audience="+audience, "--auth.upgrade.query=access_token",
			"--policy.agent=n5", "--policy.pcf="+w.pcf.URL, "--policy.callback.listen="+gateway.At(callback), "--cdr.dir="+w.cdrs),
		gateway.MGW("mgw-ims", "--media.workers=1"),
	} {
		w.logs[d.Name] = scenario.LogTo(t, d.Name)
		scenario.Start(t, w.logs[d.Name], d)
	}
	return w
}

func (w *world) within() context.Context { return scenario.Within(w.t, deadline) }

// token is an access token of the user.
func (w *world) token(user string, life time.Duration) string {
	w.t.Helper()
	s, err := w.issuer.Token(user, audience, life, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.tokens = append(w.tokens, s)
	return s
}

// browser connects as the user with a token, "" for none.
func (w *world) browser(user, token string) *webua.UA {
	w.t.Helper()
	u, err := webua.Dial(w.within(), webua.Config{URL: gateway.WebSocket(), Domain: domain, User: user, Password: "wonderland", Token: token})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(u.Close)
	return u
}

// eventually waits until f gives "", which else says what is missing.
func (w *world) eventually(f func() string) {
	w.t.Helper()
	if why := scenario.Still(w.within(), f); why != "" {
		w.t.Fatalf("still after %v: %s\nmgc:\n%s", deadline, why, w.logs["mgc"])
	}
}

// record is what this test reads of a call data record.
type record struct {
	Call      string `json:"call"`
	Seq       int    `json:"seq"`
	Type      string `json:"type"`
	Calling   string `json:"calling"`
	Called    string `json:"called"`
	ICID      string `json:"icid"`
	OrigIOI   string `json:"orig_ioi"`
	UE        string `json:"user_address"`
	Status    int    `json:"status"`
	Cause     string `json:"cause"`
	CauseCode int    `json:"cause_code"`
	Duration  int    `json:"duration_ms"`
	Streams   []struct {
		Side            string `json:"side"`
		PacketsReceived int    `json:"packets_received"`
	} `json:"streams"`
}

// records returns the call data records that are in the directory, by their lines.
func (w *world) records() (out []record) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.cdrs, "*.jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			w.t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			var r record
			if strings.HasSuffix(line, "\n") { // else it is being written
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					w.t.Fatalf("%v: %s", err, line)
				}
				out = append(out, r)
			}
		}
	}
	return out
}
