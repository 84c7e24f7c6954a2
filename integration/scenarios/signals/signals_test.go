// Package signals has real daemons play to real peers: tones and announcements to a browser-like caller (pion/webrtc) and to a SIP user of the
// demo core, which returns what it hears; digits as tones between that caller and a telephone without telephone-event, judged by multimon-ng.
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
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const deadline = 20 * time.Second // of every single wait

var (
	programs scenario.Programs
	gateway  = scenario.Pair{Programs: &programs, Base: 18800}
)

func TestMain(m *testing.M) { os.Exit(programs.Main(m, "./mgc/cmd/isthmusctl")) }

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
	scenario.Start(t, scenario.LogTo(t, "isthmus"), gateway.Democore(),
		gateway.MGC("--media.prefer=opus", "--media.dtmf.core=in-band", "--log.level=debug", "--call.ringback=gateway", "--call.announce=486=busy,403=file:away", "--call.announce_longest=8s"),
		gateway.MGW("mgw-sig", "--media.workers=1", "--announcements.dir="+w.sound, "--tones.plan=eu"))
	var err error
	w.ua, err = w.browser("opus")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// browser registers alice with a codec.
func (w *world) browser(codec string) (*webua.UA, error) { return w.browserThat(codec, nil) }

// browserThat is browser with an ear for all its calls.
func (w *world) browserThat(codec string, hears func(pcm []int16)) (*webua.UA, error) {
	ua, err := webua.Dial(w.within(), webua.Config{
		URL: gateway.WebSocket(), Domain: "isthmus.example", User: "alice", Password: "wonderland", Codecs: []string{codec}, Early: true, Events: true, Sink: hears,
	})
	if err != nil {
		return nil, err
	}
	w.t.Cleanup(ua.Close)
	return ua, ua.Register(w.within(), time.Minute)
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

func (w *world) within() context.Context { return scenario.Within(w.t, deadline) }

// ctl runs isthmusctl and returns what it prints.
func (w *world) ctl(args ...string) (string, error) {
	out, err := exec.CommandContext(w.within(), programs.Path("isthmusctl"), append([]string{"--mgc", gateway.At(scenario.PortAdmin)}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// hears waits until the newest 200 ms of the call are a tone.
func (w *world) hears(c *webua.Call, hz float64, what string) {
	w.t.Helper()
	scenario.Until(w.within(), w.t, fmt.Sprintf("%s: %v Hz to be heard", what, hz), func() (bool, any) {
		last := c.Result().Last
		return last.IsTone(hz, 15), last
	})
}

// TestSignals: each signal by its frequency, where it ought to be heard.
func TestSignals(t *testing.T) {
	w := newWorld(t)
	t.Run("operator", w.operator)
	t.Run("failure", w.failure)
	t.Run("ringback", w.ringback)
	t.Run("R4733_InBandByOpus", func(t *testing.T) { w.inBand(t, "opus", 48000) })
	t.Run("R4733_InBandByG711", func(t *testing.T) { w.inBand(t, "PCMA", 8000) })
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
	var heard rtpua.Recorder
	alice, err := w.browserThat("opus", heard.Write)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.within())
	defer cancel()
	go func() {
		scenario.Poll(ctx, func() bool {
			tone, seconds, _ := heard.Heard()
			return seconds >= 0.6 && tone.IsTone(425, 15)
		})
		cancel()
	}()
	c, err := alice.Call(ctx, "sip:noanswer@isthmus.example", tone.NewSine(700, -12))
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if r := c.Result(); !r.Tone.IsTone(425, 15) {
		t.Errorf("heard %+v", r.Tone)
	}
}
