// Package streams has calls with two audio lines between real Chromium and a SIP telephone with two lines: what is heard in each, on both sides, and what is counted.
package streams

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/webphone"
	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Tones, Hz: of the browser's lines and of the telephone's.
const (
	web1, web2     = 620.0, 980.0
	phone1, phone2 = 440.0, 1300.0
)

const deadline = 30 * time.Second // of every single wait

var (
	programs scenario.Programs
	gateway  = scenario.Pair{Programs: &programs, Base: 19200}
)

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

//go:embed page.js
var script string

// world is one MGC with its MGW and the demo core, alice in Chromium and bob at the telephone.
type world struct {
	t     *testing.T
	page  *webphone.Page
	bob   *ua.Agent
	line  *secondLine
	calls chan *ua.Call // that came to bob, answered
	first rtpua.Recorder
	mgw   iqv1.MediaGatewayClient
	cdrs  string
	codec string // of the browser
}

// newWorld has media relayed or, with prefer "opus", transcoded.
func newWorld(t *testing.T, prefer string) *world {
	scenario.Must(t, scenario.Need("mgc/web/dist/index.html", "mgc/web/node_modules/playwright-core"))
	w := &world{t: t, calls: make(chan *ua.Call, 1), cdrs: t.TempDir(), codec: map[string]string{"relay": "PCMA/8000", "opus": "opus/48000/2"}[prefer]}
	scenario.Start(t, scenario.LogTo(t, "isthmus"), gateway.Democore(), gateway.MGC("--media.prefer="+prefer, "--cdr.dir="+w.cdrs, "--cdr.sync=false"),
		gateway.MGW("mgw-streams", "--media.workers=1"))
	w.mgw = iqv1.NewMediaGatewayClient(scenario.Dial(t, gateway.At(scenario.PortGWIq)))
	var err error
	if w.line, err = newSecondLine("127.0.0.1", phone2); err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, w.line.media.Close)
	w.bob, err = ua.New(ua.Config{
		Listen: "127.0.0.1:0", Domain: "isthmus.example", User: "bob", Password: "builder", Codecs: []ua.Codec{ua.PCMA}, Translate: w.line.translate,
		Proxy: sipnode.Target{Network: sipnode.UDP, Addr: netip.MustParseAddrPort(gateway.At(scenario.PortSIP))},
		OnCall: func(c *ua.Call) {
			w.sound(c)
			if c.Answer() == nil {
				w.calls <- c
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, w.bob.Close)
	if _, err := w.bob.Register(w.within(), time.Minute); err != nil {
		t.Fatal(err)
	}
	b, err := webphone.Start(w.within(), filepath.Join(scenario.Root, "mgc/web"), scenario.Dir(t), scenario.LogTo(t, "node"))
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, b.Close)
	if w.page, err = b.Open(w.within(), "alice", fmt.Sprintf("http://localhost:%d/", gateway.Base+scenario.PortWS), web1); err != nil {
		t.Fatal(err)
	}
	w.run(script)
	scenario.Must(t, w.page.Register(w.within(), "alice", "wonderland"))
	return w
}

func (w *world) within() context.Context { return scenario.Within(w.t, deadline) }

func (w *world) run(script string) {
	w.t.Helper()
	scenario.Must(w.t, w.page.Run(w.within(), script, nil))
}

func (w *world) sound(c *ua.Call) {
	c.Media().SetSource(tone.NewSine(phone1, -12))
	c.Media().SetSink(&w.first)
}

// line is one of the browser's, as page.js has it.
type line struct {
	MID       string  `json:"mid"`
	Direction string  `json:"direction"`
	Hz        float64 `json:"hz"`
	Packets   int     `json:"packets"`
}

// browserHears waits until each line of the browser hears its tone; 0 is nothing.
func (w *world) browserHears(hz ...float64) {
	w.t.Helper()
	scenario.Until(w.within(), w.t, fmt.Sprintf("the browser's lines to hear %v Hz", hz), func() (bool, any) {
		var got []line
		err := w.page.Run(w.within(), "lines()", &got)
		good := err == nil && len(got) == len(hz)
		for i := range hz {
			good = good && math.Abs(got[i].Hz-hz[i]) < 20
		}
		return good, fmt.Sprint(got, err)
	})
}

// phoneHears waits until a line of the telephone hears a tone, for 200 ms.
func (w *world) phoneHears(which string, r *rtpua.Recorder, hz float64) {
	w.t.Helper()
	r.Forget()
	scenario.Until(w.within(), w.t, fmt.Sprintf("the telephone's %s line to hear %v Hz", which, hz), func() (bool, any) {
		pcm := r.Samples(1600)
		d := tone.Detect(pcm)
		if hz == 0 {
			return len(pcm) == 0 || d.Total < -60, d
		}
		return len(pcm) == 1600 && d.IsTone(hz, 8), d
	})
}

// both waits until both lines are heard on both sides, each by itself.
func (w *world) both() {
	w.t.Helper()
	w.browserHears(phone1, phone2)
	w.phoneHears("first", &w.first, web1)
	w.phoneHears("second", w.line.heard, web2)
}

// dial calls bob and returns the call on both sides.
func (w *world) dial() (id string, c *ua.Call) {
	w.t.Helper()
	id, err := w.page.Dial(w.within(), "sip:bob@isthmus.example")
	scenario.Must(w.t, err)
	select {
	case c = <-w.calls:
	case <-w.within().Done():
		w.t.Fatal("bob is not called")
	}
	return id, c
}

// streams are the MGW's statistics by termination kind and stream.
func (w *world) streams() map[string]*iqv1.Statistics {
	w.t.Helper()
	out := map[string]*iqv1.Statistics{}
	audit, err := w.mgw.AuditValue(w.within(), &iqv1.AuditRequest{
		Context:     &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}},
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}},
		Statistics:  true,
	})
	scenario.Must(w.t, err)
	for {
		r, err := audit.Recv()
		if err != nil {
			return out
		}
		side := "access"
		if r.GetDescriptor_().GetKind() == iqv1.TerminationDescriptor_KIND_RTP_CORE {
			side = "core"
		}
		for _, s := range r.GetStatistics() {
			out[fmt.Sprint(side, " ", s.GetStreamId())] = s
		}
	}
}

// counted checks that each of four streams has packets both ways.
func (w *world) counted() {
	w.t.Helper()
	got := w.streams()
	for name, codec := range map[string]string{"access 1": w.codec, "access 2": w.codec, "core 1": "PCMA/8000", "core 2": "PCMA/8000"} {
		if s := got[name]; s.GetPacketsReceived() < 10 || s.GetPacketsSent() < 10 || s.GetCodecReceived() != codec {
			w.t.Errorf("%s: %v", name, s)
		}
	}
	if len(got) != 4 {
		w.t.Errorf("%d streams", len(got))
	}
}

// TestIQ35_R9143_TwoAudioLines: two audio lines of Chromium, bundled, and two of a telephone are two streams: each tone is heard in its own line, both ways, and
// counted by itself. Lines are held, added and given up in the call.
func TestIQ35_R9143_TwoAudioLines(t *testing.T) {
	for _, prefer := range []string{"relay", "opus"} {
		t.Run(prefer, func(t *testing.T) {
			w := newWorld(t, prefer)
			for _, s := range []struct {
				name string
				run  func(*world)
			}{
				{"BrowserCalls", (*world).browserCalls},
				{"TelephoneCalls", (*world).telephoneCalls},
				{"LineIsAddedHeldAndGivenUp", (*world).changes},
			} {
				t.Run(s.name, func(t *testing.T) {
					w.t = t
					s.run(w)
				})
				if prefer == "opus" { // what is said does not depend on the codec
					break
				}
			}
		})
	}
}

func (w *world) browserCalls() {
	w.run(fmt.Sprintf("window.several = %v", web2))
	id, c := w.dial()
	w.both()
	w.counted()
	w.plain()
	scenario.Must(w.t, w.page.Hangup(w.within(), id))
	<-c.Done()
	scenario.Until(w.within(), w.t, "a record of four streams", func() (bool, any) {
		files, err := filepath.Glob(filepath.Join(w.cdrs, "*"))
		text := ""
		for _, f := range files {
			raw, _ := os.ReadFile(f)
			text += string(raw)
		}
		both := func(number int) bool {
			return strings.Contains(text, fmt.Sprintf(`{"side":"access","number":%d,`, number)) && strings.Contains(text, fmt.Sprintf(`{"side":"core","number":%d,`, number))
		}
		return err == nil && both(1) && both(2), text
	})
}

// plain: nothing that groups lines has been told to the telephone (TS 23.228 §U.1.1).
func (w *world) plain() {
	w.t.Helper()
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	for _, d := range w.line.seen {
		if strings.Contains(d, "a=group") || strings.Contains(d, "a=mid") || strings.Contains(d, "extmap") || strings.Contains(d, "bundle-only") {
			w.t.Errorf("told to the core:\n%s", d)
		}
	}
}

func (w *world) telephoneCalls() {
	w.run(fmt.Sprintf("window.several = %v", web2))
	w.line.mu.Lock()
	w.line.offers = true
	w.line.mu.Unlock()
	c, err := w.bob.Invite("sip:alice@isthmus.example", ua.CallOptions{})
	scenario.Must(w.t, err)
	w.sound(c)
	var id string
	scenario.Until(w.within(), w.t, "a call to alice", func() (bool, any) {
		calls, err := w.page.Calls(w.within())
		for _, x := range calls {
			if x.State == "incoming" {
				id = x.ID
			}
		}
		return id != "", fmt.Sprint(calls, err)
	})
	scenario.Must(w.t, w.page.Answer(w.within(), id))
	scenario.Must(w.t, c.WaitAnswered(w.within()))
	w.both()
	w.counted()
	w.plain()
	scenario.Must(w.t, c.Hangup(w.within()))
	w.line.mu.Lock()
	w.line.offers = false
	w.line.mu.Unlock()
}

// changes: a call with one line gets another; that one is held by itself, given up, and comes back.
func (w *world) changes() {
	w.run("window.several = 0; window.pc = undefined")
	w.run(`(() => {
	  const add = RTCPeerConnection.prototype.addTrack;
	  RTCPeerConnection.prototype.addTrack = function (...args) { window.pc = this; return add.apply(this, args); };
	})()`)
	id, c := w.dial()
	w.browserHears(phone1)
	w.phoneHears("first", &w.first, web1)

	w.run(fmt.Sprintf("second(%v)", web2))
	scenario.Must(w.t, w.page.RestartICE(w.within(), id)) // the phone's way to make a re-INVITE
	w.both()
	w.counted()

	w.run("pc.getTransceivers()[1].direction = 'recvonly'")
	scenario.Must(w.t, w.page.RestartICE(w.within(), id))
	w.phoneHears("second", w.line.heard, 0)
	w.browserHears(phone1, phone2)
	w.phoneHears("first", &w.first, web1)

	w.run("pc.getTransceivers()[1].stop()")
	scenario.Must(w.t, w.page.RestartICE(w.within(), id))
	w.browserHears(phone1)
	w.phoneHears("first", &w.first, web1)

	w.run(fmt.Sprintf("second(%v)", web2)) // in the same m= line, under another mid (RFC 9429 §5.2.2)
	scenario.Must(w.t, w.page.RestartICE(w.within(), id))
	w.both()
	scenario.Must(w.t, w.page.Hangup(w.within(), id))
	<-c.Done()
}
