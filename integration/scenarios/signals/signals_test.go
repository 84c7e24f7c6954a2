// Package signals has real daemons play to real peers: tones and announcements to a browser-like caller (pion/webrtc) and to a SIP user of the
// demo core, which returns what it hears.
package signals

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const (
	base     = 18800            // of the ports
	deadline = 20 * time.Second // of every single wait
)

// bin is the folder of the daemons, built by TestMain from the tree that is tested.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "signals")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir+"/", "./mgc/cmd/...", "./mgw/cmd/mgw", "./integration/cmd/democore")
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build of the daemons: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func at(offset int) string { return fmt.Sprintf("127.0.0.1:%d", base+offset) }

// logs keeps all output of one daemon.
type logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func start(t *testing.T, name, ready string, args ...string) {
	t.Helper()
	out := &logs{}
	s := stack.New(out)
	t.Cleanup(func() {
		if err := s.Close(20 * time.Second); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if t.Failed() && os.Getenv("ISTHMUS_LOGS") != "" {
			t.Logf("%s:\n%s", name, out.buf.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Start(ctx, stack.Daemon{Name: name, Path: filepath.Join(bin, name), Args: args, Ready: ready}); err != nil {
		t.Fatal(err)
	}
}

// world is one MGC with its MGW and the demo core, and a caller.
type world struct {
	t     *testing.T
	sound string // directory of announcements
	ua    *webua.UA
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, sound: t.TempDir()}
	w.announcement("welcome", 1000)
	w.announcement("away", 1400)
	start(t, "democore", "http://"+at(61)+"/healthz", "--listen="+at(60), "--status="+at(61))
	start(t, "mgc", "http://"+at(2)+"/healthz", "--access.listen="+at(80), "--core.listen="+at(70), "--core.next_hop=sip:"+at(60),
		"--iq.listen="+at(0), "--admin.listen="+at(1), "--admin.http="+at(2), "--media.prefer=opus", "--log.level=debug",
		"--call.ringback=gateway", "--call.announce=486=busy,403=file:away", "--call.announce_longest=8s")
	start(t, "mgw", "http://"+at(22)+"/readyz", "--mgw_id=mgw-sig", "--iq.listen="+at(20), "--iq.mgc="+at(0), "--admin.listen="+at(21), "--http.listen="+at(22),
		fmt.Sprintf("--realms.access.0.port=%d", base+30), "--media.workers=1", "--announcements.dir="+w.sound, "--tones.plan=eu",
		fmt.Sprintf("--realms.core.0.port_min=%d", base+100), fmt.Sprintf("--realms.core.0.port_max=%d", base+199))
	var err error
	w.ua, err = webua.Dial(w.within(), webua.Config{
		URL: "ws://" + at(80) + "/sip", Domain: "isthmus.example", User: "alice", Password: "wonderland", Codecs: []string{"opus"}, Early: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.ua.Close)
	if err := w.ua.Register(w.within(), time.Minute); err != nil {
		t.Fatal(err)
	}
	return w
}

// announcement writes a file of three seconds at one frequency.
func (w *world) announcement(name string, hz float64) {
	w.t.Helper()
	pcm := make([]int16, 3*tone.Rate)
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/tone.Rate))
	}
	var b bytes.Buffer
	if err := tone.WriteWAV(&b, pcm); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.sound, name+".wav"), b.Bytes(), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) within() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	w.t.Cleanup(cancel)
	return ctx
}

// ctl runs isthmusctl and returns what it prints.
func (w *world) ctl(args ...string) (string, error) {
	out, err := exec.CommandContext(w.within(), filepath.Join(bin, "isthmusctl"), append([]string{"--mgc", at(1)}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// hears waits until the newest 200 ms of the call are a tone.
func (w *world) hears(c *webua.Call, hz float64, what string) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := w.within(); ; {
		if c.Result().Last.IsTone(hz, 15) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("%s: %v Hz is not heard, but %+v", what, hz, c.Result().Last)
		}
	}
}

// TestSignals: each signal by its frequency, where it ought to be heard.
func TestSignals(t *testing.T) {
	w := newWorld(t)
	t.Run("operator", w.operator)
	t.Run("failure", w.failure)
	t.Run("ringback", w.ringback)
}

// operator plays to either side of a call that is up; the SIP user returns what it hears.
func (w *world) operator(t *testing.T) {
	w.t = t
	c, err := w.ua.Call(w.within(), "sip:echo@isthmus.example", tone.NewSine(700, -12))
	if err != nil {
		t.Fatal(err)
	}
	w.hears(c, 700, "echo of the caller")
	list, err := w.ctl("calls")
	if err != nil {
		t.Fatal(list, err)
	}
	key, _, _ := strings.Cut(list, " ")
	for _, x := range []struct {
		hz   float64
		args []string
	}{
		{1000, []string{"play", key, "file:welcome", "--to", "core", "--repeat", "3"}},
		{700, []string{"stop", key, "--to", "core"}},
		{425, []string{"play", key, "dial"}},
		{700, []string{"stop", key}},
	} {
		if out, err := w.ctl(x.args...); err != nil {
			t.Fatal(out, err)
		}
		w.hears(c, x.hz, strings.Join(x.args, " "))
	}
	for _, x := range []struct {
		want string
		args []string
	}{
		{"NotFound", []string{"play", "nobody", "dial"}},
		{"514", []string{"play", key, "file:../welcome"}},
		{"452", []string{"play", key, "cg/none"}},
	} {
		if out, err := w.ctl(x.args...); err == nil || !strings.Contains(out, x.want) {
			t.Errorf("%v: %q, want %s", x.args, out, x.want)
		}
	}
	if err := c.Hangup(w.within()); err != nil {
		t.Error(err)
	}
}

// failure is heard before the final response comes.
func (w *world) failure(t *testing.T) {
	w.t = t
	c, err := w.ua.Call(w.within(), "sip:busy@isthmus.example", tone.NewSine(700, -12))
	var status *webua.StatusError
	if !errors.As(err, &status) || status.Code != 486 {
		t.Fatalf("%v, want 486", err)
	}
	if r := c.Result(); !r.Tone.IsTone(425, 15) || r.FirstAudio.IsZero() {
		t.Errorf("heard %+v", r.Tone)
	}
}

// ringback is heard while the core's phone rings.
func (w *world) ringback(t *testing.T) {
	w.t = t
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
	defer cancel()
	c, err := w.ua.Call(ctx, "sip:noanswer@isthmus.example", tone.NewSine(700, -12))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if r := c.Result(); !r.Tone.IsTone(425, 15) {
		t.Errorf("heard %+v", r.Tone)
	}
}
