package ua

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// pair starts two agents that send straight to each other.
func pair(t *testing.T, network string, callee Config) (a, b *Agent) {
	t.Helper()
	callee.Listen, callee.Network, callee.Domain, callee.User = "127.0.0.1:0", network, "test.example", "bob"
	b, err := New(callee)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	a, err = New(Config{
		Listen: "127.0.0.1:0", Network: network, Domain: "test.example", User: "alice",
		Proxy: sipnode.Target{Network: network, Addr: b.Addr()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a, b
}

// listen gives a call a tone to send and a recorder.
func listen(c *Call, freq float64) *rtpua.Recorder {
	rec := &rtpua.Recorder{}
	c.Media().SetSink(rec)
	c.Media().SetSource(tone.NewSine(freq, -15))
	return rec
}

// hears waits until 0.4 s of new audio have come and the newest 0.2 s are a clean tone of freq Hz.
func hears(t *testing.T, rec *rtpua.Recorder, freq float64) {
	t.Helper()
	from := rec.Total()
	wait.Until(t, "tone", func() bool {
		return rec.Total() >= from+2*tone.Rate/5 && tone.Detect(rec.Samples(tone.Rate/5)).IsTone(freq, 3)
	})
}

func TestCallWithHoldBothWaysAndInfo(t *testing.T) {
	for _, network := range []string{sipnode.UDP, sipnode.TCP} {
		t.Run(network, func(t *testing.T) {
			in := make(chan *Call, 1)
			var recB *rtpua.Recorder
			a, b := pair(t, network, Config{Codecs: []Codec{PCMU}, OnCall: func(c *Call) {
				recB = listen(c, 440)
				c.Ring()
				c.Answer()
				in <- c
			}})
			ctx := within(t)
			var recA *rtpua.Recorder
			ca, err := a.Invite("bob", CallOptions{Setup: func(c *Call) { recA = listen(c, 1000) }})
			if err != nil {
				t.Fatal(err)
			}
			if err := ca.WaitAnswered(ctx); err != nil {
				t.Fatal(err)
			}
			cb := wait.Receive(t, in)
			if err := cb.WaitAnswered(ctx); err != nil {
				t.Fatal(err)
			}
			hears(t, recA, 440)
			hears(t, recB, 1000)
			if ca.Media().Params().PT != 0 {
				t.Error("the only shared codec is PCMU")
			}

			if err := ca.Hold(ctx); err != nil {
				t.Fatal(err)
			}
			if l, r := cb.Directions(); l != RecvOnly || r != SendOnly {
				t.Errorf("held: callee described %s, caller %s", l, r)
			}
			if cb.Media().Params().Send || ca.Media().Params().Recv {
				t.Error("media still flows to the holder")
			}
			if err := ca.Resume(ctx); err != nil {
				t.Fatal(err)
			}
			if err := cb.Reinvite(ctx, Inactive); err != nil {
				t.Fatal(err)
			}
			if p := ca.Media().Params(); p.Send || p.Recv {
				t.Error("inactive, yet media flows")
			}
			if err := cb.Resume(ctx); err != nil {
				t.Fatal(err)
			}
			hears(t, recA, 440)
			hears(t, recB, 1000)

			if err := ca.Info(ctx, "application/dtmf-relay", "Signal=5\r\n"); err != nil {
				t.Fatal(err)
			}
			if got := cb.Infos(); len(got) != 1 || got[0].Body != "Signal=5\r\n" {
				t.Errorf("INFO arrived as %q", got)
			}
			if err := ca.Ping(ctx); err != nil {
				t.Error(err)
			}
			if err := cb.Bye(ctx); err != nil {
				t.Fatal(err)
			}
			wait.Receive(t, ca.Done())
			if r := ca.Reason(); !r.ByRemote {
				t.Errorf("caller's reason: %+v", r)
			}
			for _, v := range [][]string{a.Violations(), b.Violations()} {
				if len(v) != 0 {
					t.Errorf("violations: %q", v)
				}
			}
			if s := cb.Media().Stats().Recv; s.SSRCChanges+s.SeqJumps+s.TSJumps+s.TSBackwards != 0 {
				t.Errorf("callee's strict receiver: %+v", s)
			}
		})
	}
}

func TestRejectCancelAndNoSharedCodec(t *testing.T) {
	calls := make(chan *Call, 4)
	a, _ := pair(t, sipnode.UDP, Config{Codecs: []Codec{PCMU}, OnCall: func(c *Call) {
		calls <- c
		switch c.User() {
		case "busy":
			c.Reject(486, "Busy Here")
		case "codec":
			c.Answer()
		default:
			c.Ring()
			<-c.Done()
		}
	}})
	ctx := within(t)
	var se *StatusError
	c, _ := a.Invite("busy", CallOptions{})
	if err := c.WaitAnswered(ctx); !errors.As(err, &se) || se.Code != 486 {
		t.Errorf("busy: %v", err)
	}
	c, _ = a.Invite("rings", CallOptions{})
	wait.Receive(t, c.Ringing())
	if err := c.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if r := c.Reason(); r.Code != 487 {
		t.Errorf("cancelled call ended with %v", r)
	}
	wait.Receive(t, calls)
	callee := wait.Receive(t, calls)
	wait.Receive(t, callee.Done())
	if r := callee.Reason(); r.Code != 487 || !r.ByRemote {
		t.Errorf("callee of a cancelled call: %+v", r)
	}
	b := a
	b.cfg.Codecs = []Codec{PCMA}
	c, _ = b.Invite("codec", CallOptions{})
	if err := c.WaitAnswered(ctx); !errors.As(err, &se) || se.Code != 488 {
		t.Errorf("no shared codec: %v", err)
	}
}

func TestEarlyMediaThenAnswer(t *testing.T) {
	proceed := make(chan struct{})
	a, _ := pair(t, sipnode.UDP, Config{OnCall: func(c *Call) {
		listen(c, 425)
		c.EarlyMedia()
		<-proceed
		c.Answer()
	}})
	ctx := within(t)
	var rec *rtpua.Recorder
	c, err := a.Invite("bob", CallOptions{Setup: func(c *Call) { rec = listen(c, 1000) }})
	if err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, c.Early())
	hears(t, rec, 425)
	if c.State() != Proceeding {
		t.Error("early media must not answer the call")
	}
	close(proceed)
	if err := c.WaitAnswered(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Bye(ctx); err != nil {
		t.Error(err)
	}
}

func TestMessageAndOptions(t *testing.T) {
	got := make(chan Message, 1)
	a, _ := pair(t, sipnode.TCP, Config{OnMessage: func(m Message) int { got <- m; return 200 }})
	ctx := within(t)
	if err := a.SendMessage(ctx, "bob", "grüße"); err != nil {
		t.Fatal(err)
	}
	if m := wait.Receive(t, got); m.Body != "grüße" || m.From != "alice@test.example" || m.To != "bob@test.example" || !strings.HasPrefix(m.ContentType, "text/plain") {
		t.Errorf("message %+v", m)
	}
	res, err := a.Options(ctx, "bob")
	if err != nil || res.GetHeader("Allow") == nil {
		t.Errorf("OPTIONS: %v", err)
	}
}

const webrtcOffer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=audio 4000 UDP/TLS/RTP/SAVPF 8\r\na=mid:0\r\na=ice-ufrag:x\r\na=ice-pwd:y\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" +
	"a=fingerprint:sha-256 AA\r\na=setup:actpass\r\na=msid:s t\r\na=ssrc:1 cname:x\r\na=extmap:1 urn:x\r\na=rtcp-mux\r\na=rtpmap:8 PCMA/8000\r\n"

func TestWebRTCLinesAreFlagged(t *testing.T) {
	bad := WebRTCLines([]byte(webrtcOffer))
	for _, want := range []string{"group", "SAVPF", "mid:", "ice-ufrag", "ice-pwd", "candidate", "fingerprint", "setup", "msid", "ssrc", "extmap", "rtcp-mux"} {
		if !slices.ContainsFunc(bad, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("%s is not flagged", want)
		}
	}
	clean := (&localMedia{id: 1, ip: loop(), port: 4000}).render((&Config{Codecs: []Codec{PCMA, PCMU}}).offerFormats(), SendRecv, nil)
	if got := WebRTCLines([]byte(clean)); len(got) != 0 {
		t.Errorf("our own offer is flagged: %q", got)
	}
}

func TestParseSDP(t *testing.T) {
	l := &localMedia{id: 9, ip: loop(), port: 4000}
	first := l.render((&Config{Codecs: []Codec{PCMA, PCMU}}).offerFormats(), SendRecv, nil)
	d, err := ParseSDP([]byte(first))
	if err != nil {
		t.Fatal(err)
	}
	m := d.Audio()
	if d.OriginID != "9" || d.OriginVersion != "1" || m.Port != 4000 || len(m.Formats) != 3 || !m.Formats[2].IsEvent() || m.Direction != SendRecv {
		t.Errorf("parsed %+v %+v", d, m)
	}
	if l.render((&Config{Codecs: []Codec{PCMA, PCMU}}).offerFormats(), SendRecv, nil) != first {
		t.Error("version changed although nothing else did")
	}
	if d2, _ := ParseSDP([]byte(l.render((&Config{Codecs: []Codec{PCMA}}).offerFormats(), SendOnly, nil))); d2.OriginVersion != "2" || d2.Audio().Direction != SendOnly {
		t.Errorf("changed description: %+v", d2)
	}
	for name, text := range map[string]string{
		"bare LF":       strings.ReplaceAll(first, "\r\n", "\n"),
		"no s=":         strings.Replace(first, "s=-\r\n", "", 1),
		"no c=":         strings.Replace(first, "c=IN IP4 127.0.0.1\r\n", "", 1),
		"bad port":      strings.Replace(first, "audio 4000", "audio 70000", 1),
		"alien rtpmap":  strings.Replace(first, "rtpmap:8 ", "rtpmap:77 ", 1),
		"wrong family":  strings.Replace(first, "c=IN IP4", "c=IN IP6", 1),
		"no t=":         strings.Replace(first, "t=0 0\r\n", "", 1),
		"payload type":  strings.Replace(first, "AVP 8", "AVP 200", 1),
		"unended":       strings.TrimSuffix(first, "\r\n"),
		"empty line":    strings.Replace(first, "t=0 0\r\n", "t=0 0\r\n\r\n", 1),
		"version":       strings.Replace(first, "v=0", "v=1", 1),
		"broken origin": strings.Replace(first, "o=- 9 1 ", "o=- 9 ", 1),
	} {
		if _, err := ParseSDP([]byte(text)); !errors.Is(err, ErrSDP) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswerRejectsOtherMedia(t *testing.T) {
	offer := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n" +
		"m=audio 4000 RTP/AVP 18 0 96\r\na=rtpmap:18 G729/8000\r\na=rtpmap:96 telephone-event/8000\r\na=sendonly\r\n"
	d, err := ParseSDP([]byte(offer))
	if err != nil {
		t.Fatal(err)
	}
	c := &Call{a: &Agent{cfg: Config{Codecs: []Codec{PCMA, PCMU}}}, wish: SendRecv, local: localMedia{ip: loop(), port: 6000}}
	body, err := c.describeLocked(d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSDP([]byte(body))
	if err != nil || len(got.Media) != 2 || got.Media[0].Port != 0 || got.Media[1].Direction != RecvOnly {
		t.Fatalf("answer %q: %v", body, err)
	}
	if f := got.Media[1].Formats; len(f) != 2 || f[0].Name != "PCMU" || f[1].PT != 96 {
		t.Errorf("formats %+v", f)
	}
}

func loop() netip.Addr { return netip.MustParseAddr("127.0.0.1") }

func TestLateOffer(t *testing.T) {
	in := make(chan *Call, 1)
	var recB *rtpua.Recorder
	a, _ := pair(t, sipnode.UDP, Config{OnCall: AutoAnswer(10*time.Millisecond, func(c *Call) { recB = listen(c, 440); in <- c })})
	var recA *rtpua.Recorder
	c, err := a.Invite("bob", CallOptions{LateOffer: true, Setup: func(c *Call) { recA = listen(c, 1000) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitAnswered(within(t)); err != nil {
		t.Fatal(err)
	}
	cb := wait.Receive(t, in)
	hears(t, recA, 440)
	hears(t, recB, 1000)
	if err := cb.Hold(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Bye(within(t)); err != nil {
		t.Error(err)
	}
}

func TestGlareIsResolved(t *testing.T) {
	in := make(chan *Call, 1)
	a, _ := pair(t, sipnode.UDP, Config{OnCall: func(c *Call) { c.Answer(); in <- c }})
	ca, err := a.Invite("bob", CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t)
	cb := wait.Receive(t, in)
	if err := errors.Join(ca.WaitAnswered(ctx), cb.WaitAnswered(ctx)); err != nil {
		t.Fatal(err)
	}
	// bob believes that an offer of his own is out: alice must get 491 and try again.
	cb.mu.Lock()
	cb.offerOut = true
	cb.mu.Unlock()
	if err := ca.reinviteOnce(ctx, SendOnly); err == nil || err.(*StatusError).Code != 491 {
		t.Fatalf("glare gave %v", err)
	}
	cb.mu.Lock()
	cb.offerOut = false
	cb.mu.Unlock()
	if err := ca.Reinvite(ctx, SendOnly); err != nil {
		t.Fatal(err)
	}
}

func TestRequiredExtensionIsRefused(t *testing.T) {
	a, _ := pair(t, sipnode.UDP, Config{OnCall: func(c *Call) { c.Answer() }})
	c, err := a.Invite("bob", CallOptions{Headers: []sip.Header{sip.NewHeader("Require", "100rel")}})
	if err != nil {
		t.Fatal(err)
	}
	var se *StatusError
	if err := c.WaitAnswered(within(t)); !errors.As(err, &se) || se.Code != 420 {
		t.Errorf("%v", err)
	}
}

func TestOnlyProxyRefusesOthers(t *testing.T) {
	a, _ := pair(t, sipnode.UDP, Config{OnlyProxy: true, OnCall: AutoAnswer(0, nil)})
	c, err := a.Invite("bob", CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var se *StatusError
	if err := c.WaitAnswered(within(t)); !errors.As(err, &se) || se.Code != 403 {
		t.Errorf("%v", err)
	}
}

// TestViolationsReachTheAgent sends an offer full of WebRTC lines to a telephone, which must refuse it
// and say why.
func TestViolationsReachTheAgent(t *testing.T) {
	a, b := pair(t, sipnode.UDP, Config{OnCall: AutoAnswer(0, nil)})
	u, _ := a.uri("bob")
	req := a.newRequest(sip.INVITE, u, "tag1", "leaky@ua", 1)
	req.AppendHeader(a.contact("alice"))
	setBody(req, "application/sdp", webrtcOffer)
	res, err := a.send(within(t), req)
	if err != nil || res.StatusCode != 488 {
		t.Errorf("answered %v, %v", res, err)
	}
	if v := b.Violations(); len(v) < 10 {
		t.Errorf("only %q", v)
	}
}

func TestCloseEndsCallsOnBothSides(t *testing.T) {
	in := make(chan *Call, 1)
	a, b := pair(t, sipnode.UDP, Config{OnCall: func(c *Call) { c.Answer(); in <- c }})
	ca, err := a.Invite("bob", CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.WaitAnswered(within(t)); err != nil {
		t.Fatal(err)
	}
	cb := wait.Receive(t, in)
	b.Close()
	wait.Receive(t, ca.Done())
	wait.Receive(t, cb.Done())
	if r := ca.Reason(); !r.ByRemote {
		t.Errorf("%+v", r)
	}
	if _, err := b.Invite("x", CallOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("call after Close: %v", err)
	}
}
