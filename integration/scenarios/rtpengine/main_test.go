package rtpengine

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/systems"
	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const (
	domain = "isthmus.example"
	limit  = 15 * time.Second // of every single wait

	browserHz, phoneHz = 620.0, 440.0
	level              = -12
)

var (
	programs scenario.Programs
	gateway  = scenario.Pair{Programs: &programs, Base: 18400}
)

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

// world is one gateway pair with a core, the browser alice and the telephone bob behind rtpengine.
type world struct {
	t      *testing.T
	ctx    context.Context
	proto  string // "RTP/AVP" or "RTP/SAVP" towards the gateway
	engine *systems.Rtpengine
	alice  *webua.UA
	bob    *ua.Agent
	calls  chan *webua.Call // to alice

	mu    sync.Mutex // guards what follows
	suite string     // the only one that passes between the gateway and rtpengine
	seen  []string   // "m= transport, suites" of each description between them
	heard *rtpua.Recorder
	phone *ua.Call
}

func newWorld(t *testing.T, mode string) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), proto: map[string]string{"osrtp": "RTP/AVP", "required": "RTP/SAVP"}[mode], calls: make(chan *webua.Call, 8)}
	engine, err := systems.StartRtpengine(w.within(), 1, nil)
	if err != nil {
		t.Fatalf("Debian's package rtpengine-daemon: %v", err)
	}
	w.engine = engine
	scenario.Closing(t, engine.Close)
	scenario.Start(t, scenario.LogTo(t, "isthmus"), gateway.Democore(),
		gateway.MGC("--domain="+domain, "--core.srtp="+mode, "--core.srtp_cleartext=warn"),
		gateway.MGW("mgw-rtpengine", "--media.workers=1"))

	w.alice, err = webua.Dial(w.within(), webua.Config{
		URL: gateway.WebSocket(), Domain: domain, User: "alice", Password: "wonderland", Codecs: []string{"PCMA"},
		OnCall: func(c *webua.Call) { w.calls <- c },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.alice.Close)
	if err := w.alice.Register(w.within(), time.Minute); err != nil {
		t.Fatal(err)
	}
	proxy := sipnode.Target{Network: sipnode.UDP, Addr: netip.MustParseAddrPort(gateway.At(scenario.PortSIP))}
	w.bob, err = ua.New(ua.Config{
		Listen: "127.0.0.1:0", Domain: domain, User: "bob", Password: "builder", Proxy: proxy, Codecs: []ua.Codec{ua.PCMA},
		Translate: w.translate, OnCall: ua.AutoAnswer(0, w.listen),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.bob.Close() })
	if _, err := w.bob.Register(w.within(), time.Minute); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) within() context.Context { return scenario.Within(w.t, limit) }

// listen gives bob's side of a call its tone and its ear.
func (w *world) listen(c *ua.Call) {
	rec := &rtpua.Recorder{}
	c.Media().SetSink(rec)
	c.Media().SetSource(tone.NewSine(phoneHz, level))
	w.mu.Lock()
	w.heard, w.phone = rec, c
	w.mu.Unlock()
}

// translate has rtpengine stand between bob, who has RTP, and the gateway, which has SRTP of one suite.
func (w *world) translate(t ua.Translation) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	cmd := map[string]any{
		"command": "offer", "call-id": t.CallID, "from-tag": "gateway", "ICE": "remove", "DTLS": "off", "sdp": t.SDP,
		"replace": []string{"origin", "session-connection"},
	}
	other := "bob"
	if t.Ours != t.Answer { // bob is the offerer
		cmd["from-tag"], other = "bob", "gateway"
	}
	if t.Answer {
		cmd["command"] = "answer"
	}
	if t.Answer || len(w.seen) > 1 { // the dialog stands
		cmd["to-tag"] = other
	}
	switch {
	case !t.Ours: // from the gateway
		cmd["sdp"] = w.only(t.SDP)
		if !t.Answer {
			cmd["transport-protocol"], cmd["OSRTP"] = "RTP/AVP", []string{"accept"}
		}
	case !t.Answer:
		cmd["transport-protocol"] = w.proto
		if w.proto == "RTP/AVP" {
			cmd["OSRTP"] = []string{"offer"}
		}
	}
	out, err := w.engine.Describe(w.ctx, cmd)
	if err != nil {
		return "", err
	}
	if t.Ours {
		out = w.only(out)
	}
	return out, nil
}

// only leaves one crypto-suite in a description between the gateway and rtpengine, and notes what it says.
func (w *world) only(sdp string) string {
	var lines, suites []string
	transport := ""
	for _, l := range strings.SplitAfter(sdp, "\n") {
		if f := strings.Fields(l); strings.HasPrefix(l, "m=") && len(f) > 2 {
			transport = f[2]
		} else if strings.HasPrefix(l, "a=crypto:") && len(f) > 1 {
			if f[1] != w.suite {
				continue
			}
			suites = append(suites, f[1])
		}
		lines = append(lines, l)
	}
	w.seen = append(w.seen, transport+" "+strings.Join(suites, ","))
	return strings.Join(lines, "")
}

// secured checks that all n descriptions between the gateway and rtpengine had the one suite, and the transport of the mode.
func (w *world) secured(n int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := w.proto + " " + w.suite; len(w.seen) != n || slices.ContainsFunc(w.seen, func(s string) bool { return s != want }) {
		w.t.Errorf("descriptions %q, want %d with %s", w.seen, n, want)
	}
}

// both waits until each end hears the other's tone, in what comes from now on.
func (w *world) both(c *webua.Call) {
	w.t.Helper()
	const fresh = 20 // packets, 0.4 s
	from := c.Result().Packets
	scenario.Until(w.within(), w.t, "the browser to hear the telephone, and the telephone the browser", func() (bool, any) {
		r := c.Result()
		w.mu.Lock()
		far := w.heard != nil && tone.Detect(w.heard.Samples(tone.Rate/5)).IsTone(browserHz, 3)
		w.mu.Unlock()
		near := r.Packets > from+fresh && r.Last.IsTone(phoneHz, 3)
		return near && far, []bool{near, far}
	})
}

// begin forgets the call before and lets one suite pass.
func (w *world) begin(t *testing.T, suite string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t, w.suite, w.seen, w.heard, w.phone = t, suite, nil, nil, nil
}

// holdAndResume: rtpengine offers in a call that the gateway offered; the keys and their counters go on.
func (w *world) holdAndResume() {
	c, err := w.alice.Call(w.within(), "sip:bob@"+domain, tone.NewSine(browserHz, level))
	if err != nil {
		w.t.Fatal(err)
	}
	w.both(c)
	w.mu.Lock()
	phone := w.phone
	w.mu.Unlock()
	if err := phone.Hold(w.within()); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.heard.Forget()
	w.mu.Unlock()
	if err := phone.Resume(w.within()); err != nil {
		w.t.Fatal(err)
	}
	w.both(c)
	w.secured(6)
	if err := c.Hangup(w.within()); err != nil {
		w.t.Error(err)
	}
}

// browserCalls: the gateway offers.
func (w *world) browserCalls() {
	c, err := w.alice.Call(w.within(), "sip:bob@"+domain, tone.NewSine(browserHz, level))
	if err != nil {
		w.t.Fatal(err)
	}
	w.both(c)
	w.secured(2)
	if err := c.Hangup(w.within()); err != nil {
		w.t.Error(err)
	}
}

// phoneCalls: rtpengine offers.
func (w *world) phoneCalls() {
	c, err := w.bob.Invite("alice", ua.CallOptions{Setup: w.listen})
	if err != nil {
		w.t.Fatal(err)
	}
	select {
	case in := <-w.calls:
		if err := in.Answer(tone.NewSine(browserHz, level)); err != nil {
			w.t.Fatal(err)
		}
		w.both(in)
	case <-w.within().Done():
		w.t.Fatal(errors.New("no call reached the browser"))
	}
	w.secured(2)
	if err := c.Hangup(w.within()); err != nil {
		w.t.Error(err)
	}
}

// TestR4568_R8643_IQ14_RtpengineIsThePeer: with each crypto-suite, whoever offers, both hear each other, after hold too.
func TestR4568_R8643_IQ14_RtpengineIsThePeer(t *testing.T) {
	suites := []string{"AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"}
	for _, mode := range []string{"osrtp", "required"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, mode)
			for _, suite := range suites {
				for name, run := range map[string]func(){"GatewayOffers": w.browserCalls, "RtpengineOffers": w.phoneCalls, "HoldAndResume": w.holdAndResume} {
					t.Run(suite+"_"+name, func(t *testing.T) {
						outer := w.t
						w.begin(t, suite)
						defer func() { w.t = outer }()
						run()
					})
				}
			}
		})
	}
}
