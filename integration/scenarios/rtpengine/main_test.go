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

	mu     sync.Mutex // guards what follows
	suite  string     // the only one that passes between the gateway and rtpengine
	coding *coding    // what passes between them; nil: bob's own codec
	seen   []string   // "m= transport, suites" of each description between them
	heard  *rtpua.Recorder
	phone  *ua.Call
}

// setup is what differs between the worlds.
type setup struct {
	mgc    []string // flags
	mgw    []string
	codecs []string // of the browser
	engine []string // flags of rtpengine
	pauses bool     // the browser sends nothing when it has said what it says
}

// newWorld starts everything. mode is that of SRTP towards the core.
func newWorld(t *testing.T, mode string, s setup) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), proto: map[string]string{"off": "RTP/AVP", "osrtp": "RTP/AVP", "required": "RTP/SAVP"}[mode], calls: make(chan *webua.Call, 8)}
	engine, err := systems.StartRtpengine(w.within(), 1, nil, s.engine...)
	if err != nil {
		t.Fatalf("Debian's package rtpengine-daemon: %v", err)
	}
	w.engine = engine
	scenario.Closing(t, engine.Close)
	scenario.Start(t, scenario.LogTo(t, "isthmus"), gateway.Democore(),
		gateway.MGC(append([]string{"--domain=" + domain, "--core.srtp=" + mode, "--core.srtp_cleartext=warn"}, s.mgc...)...),
		gateway.MGW("mgw-rtpengine", append([]string{"--media.workers=1"}, s.mgw...)...))

	w.alice, err = webua.Dial(w.within(), webua.Config{
		URL: gateway.WebSocket(), Domain: domain, User: "alice", Password: "wonderland", Codecs: s.codecs, Events: true, Pauses: s.pauses,
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
		sdp, err := w.between(t.SDP, false)
		if err != nil {
			return "", err
		}
		cmd["sdp"] = sdp
		if !t.Answer {
			cmd["transport-protocol"], cmd["OSRTP"] = "RTP/AVP", []string{"accept"}
		}
	case !t.Answer:
		cmd["transport-protocol"] = w.proto
		if w.proto == "RTP/AVP" {
			cmd["OSRTP"] = []string{"offer"}
		}
	}
	if w.coding != nil && !t.Answer {
		w.coding.carries(cmd, !t.Ours)
	}
	out, err := w.engine.Describe(w.ctx, cmd)
	if err != nil || !t.Ours {
		return out, err
	}
	return w.between(out, true)
}

// between is a description as it goes on between the gateway and rtpengine, whose it is when it is ours.
func (w *world) between(sdp string, ours bool) (string, error) {
	sdp = w.only(sdp)
	if w.coding == nil {
		return sdp, nil
	}
	return w.coding.through(sdp, ours)
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
	w.t, w.suite, w.coding, w.seen, w.heard, w.phone = t, suite, nil, nil, nil, nil
}

// holdAndResume: rtpengine offers in a call that the gateway offered; the keys and their counters go on.
func (w *world) holdAndResume() {
	c := w.call(true)
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

// call is a call between alice and bob; the gateway offers, or rtpengine does.
func (w *world) call(gatewayOffers bool) *webua.Call {
	w.t.Helper()
	if gatewayOffers {
		c, err := w.alice.Call(w.within(), "sip:bob@"+domain, tone.NewSine(browserHz, level))
		if err != nil {
			w.t.Fatal(err)
		}
		return c
	}
	if _, err := w.bob.Invite("alice", ua.CallOptions{Setup: w.listen}); err != nil {
		w.t.Fatal(err)
	}
	select {
	case in := <-w.calls:
		if err := in.Answer(tone.NewSine(browserHz, level)); err != nil {
			w.t.Fatal(err)
		}
		return in
	case <-w.within().Done():
		w.t.Fatal(errors.New("no call reached the browser"))
	}
	return nil
}

// browserCalls: the gateway offers.
func (w *world) browserCalls() {
	c := w.call(true)
	w.both(c)
	w.secured(2)
	if err := c.Hangup(w.within()); err != nil {
		w.t.Error(err)
	}
}

// phoneCalls: rtpengine offers.
func (w *world) phoneCalls() {
	w.both(w.call(false))
	w.secured(2)
	w.mu.Lock()
	phone := w.phone
	w.mu.Unlock()
	if err := phone.Hangup(w.within()); err != nil {
		w.t.Error(err)
	}
}

// TestR4568_R8643_IQ14_RtpengineIsThePeer: with each crypto-suite, whoever offers, both hear each other, after hold too.
func TestR4568_R8643_IQ14_RtpengineIsThePeer(t *testing.T) {
	suites := []string{"AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"}
	for _, mode := range []string{"osrtp", "required"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, mode, setup{codecs: []string{"PCMA"}})
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
