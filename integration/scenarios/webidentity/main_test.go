// Package webidentity runs the controller as the eP-CSCF of an IMS network: browsers that register with web-identity tokens, a policy function
// that authorises their calls, and call data records.
package webidentity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/issuer"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/pcf"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const (
	domain   = "isthmus.example"
	audience = "isthmus"

	base     = 18000            // of the ports
	deadline = 15 * time.Second // of every single wait
)

// bin is the folder of the daemons, built by TestMain from the tree that is tested.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ims")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	args := []string{"build", "-o", dir + "/", "./mgc/cmd/mgc", "./mgw/cmd/mgw", "./integration/cmd/democore"}
	if os.Getenv("ISTHMUS_RACE_DAEMONS") != "" { // races then show in the daemons' logs; twice as slow
		args = append([]string{"build", "-race"}, args[1:]...)
	}
	build := exec.Command("go", args...)
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build of the daemons: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// world is one MGC with its MGW, and what an IMS network has around it.
type world struct {
	t      *testing.T
	issuer *issuer.Issuer
	pcf    *pcf.PCF
	cdrs   string                // directory
	logs   map[string]*logBuffer // by daemon
	tokens []string              // that were given out
}

// logBuffer keeps all output of one daemon.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func at(offset int) string { return fmt.Sprintf("127.0.0.1:%d", base+offset) }

// newWorld starts everything.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, cdrs: t.TempDir(), logs: map[string]*logBuffer{}}
	var err error
	if w.issuer, err = issuer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.issuer.Close)
	if w.pcf, err = pcf.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.pcf.Close)
	w.start("democore", "http://"+at(61)+"/healthz", "--listen="+at(60), "--status="+at(61), "--trace", "--trusted=127.0.0.1", "--min-expires=1s")
	w.start("mgc", "http://"+at(2)+"/healthz",
		"--access.listen="+at(80), "--core.listen="+at(70), "--core.next_hop=sip:"+at(60), "--core.profile=ims", "--core.reg_event=off", "--core.ioi=home.example",
		"--iq.listen="+at(0), "--admin.listen="+at(1), "--admin.http="+at(2), "--log.level=debug",
		"--auth.mode=token", "--auth.issuers.0.issuer="+w.issuer.URL, "--auth.issuers.0.audience="+audience, "--auth.upgrade.query=access_token",
		"--policy.agent=n5", "--policy.pcf="+w.pcf.URL, "--policy.callback.listen="+at(3), "--cdr.dir="+w.cdrs)
	w.start("mgw", "http://"+at(2)+"/readyz",
		"--mgw_id=mgw-ims", "--iq.listen="+at(20), "--iq.mgc="+at(0), "--admin.listen="+at(21), "--http.listen="+at(22),
		fmt.Sprintf("--realms.access.0.port=%d", base+30), "--media.workers=1",
		fmt.Sprintf("--realms.core.0.port_min=%d", base+100), fmt.Sprintf("--realms.core.0.port_max=%d", base+199))
	return w
}

// start runs a daemon until the test ends, and waits until it serves.
func (w *world) start(name, ready string, args ...string) {
	w.t.Helper()
	w.logs[name] = &logBuffer{}
	s := stack.New(w.logs[name])
	w.t.Cleanup(func() {
		if err := s.Close(20 * time.Second); err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	})
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Start(ctx, stack.Daemon{Name: name, Path: filepath.Join(bin, name), Args: args, Ready: ready}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) within() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	w.t.Cleanup(cancel)
	return ctx
}

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
	u, err := webua.Dial(w.within(), webua.Config{URL: "ws://" + at(80) + "/sip", Domain: domain, User: user, Password: "wonderland", Token: token})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(u.Close)
	return u
}

// eventually waits until f gives "", which else says what is missing.
func (w *world) eventually(f func() string) {
	w.t.Helper()
	end := time.NewTimer(deadline)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		why := f()
		if why == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			w.t.Fatalf("still after %v: %s\nmgc:\n%s", deadline, why, w.logs["mgc"].text())
		}
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
