package democore

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func startCore(t *testing.T, change func(*Config)) *Core {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen, cfg.Status = "127.0.0.1:0", "127.0.0.1:0"
	cfg.CallBack, cfg.EarlyFor = 10*time.Millisecond, 600*time.Millisecond
	cfg.Log = func(line string) { t.Log(line) }
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// phone starts an agent of one of the default users, not yet registered.
func phone(t *testing.T, c *Core, network, user string, change func(*ua.Config)) *ua.Agent {
	t.Helper()
	cfg := ua.Config{
		Listen: "127.0.0.1:0", Network: network, Domain: c.cfg.Domain, User: user,
		Password: c.auth.users[user], Proxy: sipnode.Target{Network: network, Addr: c.Addr()},
	}
	if change != nil {
		change(&cfg)
	}
	a, err := ua.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if v := a.Violations(); len(v) != 0 {
			t.Errorf("%s saw violations: %q", user, v)
		}
		a.Close()
	})
	return a
}

func register(t *testing.T, a *ua.Agent) *ua.Registration {
	t.Helper()
	r, err := a.Register(within(t), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func listen(c *ua.Call, freq float64) *rtpua.Recorder {
	rec := &rtpua.Recorder{}
	c.Media().SetSink(rec)
	c.Media().SetSource(tone.NewSine(freq, -15))
	return rec
}

// hears waits until 0.4 s of new audio have come and the newest 0.2 s are a clean tone of freq Hz.
func hears(t *testing.T, who string, rec *rtpua.Recorder, freq float64) {
	t.Helper()
	from := rec.Total()
	wait.Until(t, who+" hears its tone", func() bool {
		return rec.Total() >= from+2*tone.Rate/5 && tone.Detect(rec.Samples(tone.Rate/5)).IsTone(freq, 3)
	})
}

// dial calls to with a tone and waits for the answer.
func dial(t *testing.T, a *ua.Agent, to string, freq float64) (*ua.Call, *rtpua.Recorder) {
	t.Helper()
	var rec *rtpua.Recorder
	c, err := a.Invite(to, ua.CallOptions{Setup: func(c *ua.Call) { rec = listen(c, freq) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitAnswered(within(t)); err != nil {
		t.Fatalf("call to %s: %v", to, err)
	}
	return c, rec
}

func status(t *testing.T, c *Core) Status {
	t.Helper()
	res, err := http.Get("http://" + c.StatusAddr().String() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var s Status
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// fetch gets a path of the status server.
func fetch(t *testing.T, c *Core, path string) (int, []byte) {
	t.Helper()
	res, err := http.Get("http://" + c.StatusAddr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func TestRecordingHoldsTheCallersTone(t *testing.T) {
	core := startCore(t, nil)
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)
	c, _ := dial(t, a, "tone", 650)
	wait.Until(t, "half a second recorded", func() bool { return status(t, core).Media[0].Samples > tone.Rate/2 })
	if err := c.Bye(within(t)); err != nil {
		t.Error(err)
	}
	code, body := fetch(t, core, "/recording/1.wav")
	pcm, err := tone.ReadWAV(body)
	if code != 200 || err != nil {
		t.Fatalf("recording: %d, %v", code, err)
	}
	if d := tone.Detect(pcm[len(pcm)-tone.Rate/4:]); !d.IsTone(650, 2) {
		t.Errorf("recorded %+v", d)
	}
	for path, want := range map[string]int{"/healthz": 200, "/recording/2.wav": 404, "/recording/x.wav": 404, "/recording/01.wav": 404, "/recording/.wav": 404, "/": 404} {
		if code, _ := fetch(t, core, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

func refused(t *testing.T, a *ua.Agent, to string, want int) {
	t.Helper()
	c, err := a.Invite(to, ua.CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var se *ua.StatusError
	if err := c.WaitAnswered(within(t)); !errors.As(err, &se) || se.Code != want {
		t.Errorf("call to %s: %v, want %d", to, err, want)
	}
}

// TestCallBetweenUsers calls in each mix of networks: tones both ways, hold and resume from both sides,
// DTMF, INFO, and a hang-up from the called side.
func TestCallBetweenUsers(t *testing.T) {
	for _, nets := range [][2]string{{sipnode.UDP, sipnode.UDP}, {sipnode.TCP, sipnode.TCP}, {sipnode.UDP, sipnode.TCP}, {sipnode.TCP, sipnode.UDP}} {
		t.Run(nets[0]+" to "+nets[1], func(t *testing.T) {
			core := startCore(t, nil)
			in := make(chan *ua.Call, 1)
			var recB *rtpua.Recorder
			b := phone(t, core, nets[1], "bob", func(c *ua.Config) {
				c.OnCall = func(c *ua.Call) {
					recB = listen(c, 440)
					c.Ring()
					c.Answer()
					in <- c
				}
			})
			a := phone(t, core, nets[0], "alice", nil)
			register(t, a)
			register(t, b)
			ctx := within(t)
			ca, recA := dial(t, a, "bob", 1000)
			cb := wait.Receive(t, in)
			if err := cb.WaitAnswered(ctx); err != nil {
				t.Fatal(err)
			}
			if cb.Peer() != "alice@isthmus.example" {
				t.Errorf("bob sees a call of %s", cb.Peer())
			}
			hears(t, "alice", recA, 440)
			hears(t, "bob", recB, 1000)
			holdAndResume(t, ca, cb)
			holdAndResume(t, cb, ca)
			hears(t, "alice", recA, 440)
			hears(t, "bob", recB, 1000)
			if err := ca.SendDigits(ctx, "1*9"); err != nil {
				t.Fatal(err)
			}
			wait.Until(t, "digits", func() bool { return cb.Media().Stats().Recv.Digits == "1*9" })
			if err := cb.Info(ctx, "application/dtmf-relay", "Signal=1"); err != nil {
				t.Error(err)
			}
			if err := cb.Bye(ctx); err != nil {
				t.Fatal(err)
			}
			wait.Receive(t, ca.Done())
			wait.Until(t, "call record closed", func() bool {
				s := status(t, core)
				return len(s.Calls) == 1 && s.Calls[0].State == "ended" && s.Calls[0].Code == 200
			})
		})
	}
}

func holdAndResume(t *testing.T, holder, held *ua.Call) {
	t.Helper()
	ctx := within(t)
	if err := holder.Hold(ctx); err != nil {
		t.Fatal(err)
	}
	if held.Media().Params().Send || holder.Media().Params().Recv {
		t.Error("a held call still sends to its holder")
	}
	if err := holder.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if p := held.Media().Params(); !p.Send || !p.Recv {
		t.Error("a resumed call does not flow")
	}
}

func TestCancelReachesTheCallee(t *testing.T) {
	core := startCore(t, nil)
	in := make(chan *ua.Call, 1)
	b := phone(t, core, sipnode.UDP, "bob", func(c *ua.Config) {
		c.OnCall = func(c *ua.Call) { c.Ring(); in <- c; <-c.Done() }
	})
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)
	register(t, b)
	c, err := a.Invite("bob", ua.CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, c.Ringing())
	if err := c.Cancel(within(t)); err != nil {
		t.Fatal(err)
	}
	if r := c.Reason(); r.Code != 487 {
		t.Errorf("caller: %v", r)
	}
	cb := wait.Receive(t, in)
	wait.Receive(t, cb.Done())
	if r := cb.Reason(); r.Code != 487 || !r.ByRemote {
		t.Errorf("callee: %+v", r)
	}
}

func TestRefusals(t *testing.T) {
	core := startCore(t, nil)
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)
	refused(t, a, "busy", 486)
	refused(t, a, "reject", 603)
	refused(t, a, "bob", 480)
	refused(t, a, "nobody", 404)
	refused(t, a, "echo@elsewhere.example", 404)
	c, err := a.Invite("noanswer", ua.CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, c.Ringing())
	if err := c.Cancel(within(t)); err != nil {
		t.Error(err)
	}
}

func TestEchoReturnsAudioAndDigits(t *testing.T) {
	core := startCore(t, nil)
	a := phone(t, core, sipnode.TCP, "alice", nil)
	register(t, a)
	c, rec := dial(t, a, "echo", 700)
	hears(t, "alice", rec, 700)
	if err := c.SendDigits(within(t), "42"); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "digits come back", func() bool { return c.Media().Stats().Recv.Digits == "42" })
	m := status(t, core).Media[0]
	if m.User != "echo" || m.Peer != "alice@isthmus.example" || m.Digits != "42" || !m.Heard.IsTone(700, 3) || m.Codec != "PCMA" {
		t.Errorf("status of the call: %+v", m)
	}
	if err := c.Bye(within(t)); err != nil {
		t.Error(err)
	}
	wait.Until(t, "status shows the end", func() bool { return status(t, core).Media[0].State == "ended" })
}

func TestToneAndAnnouncementAndEarly(t *testing.T) {
	core := startCore(t, nil)
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)

	c, rec := dial(t, a, "tone", 600)
	hears(t, "alice", rec, ToneHz)
	wait.Until(t, "core hears 600 Hz", func() bool { return status(t, core).Media[0].Last.IsTone(600, 3) })
	c.Bye(within(t))

	c, rec = dial(t, a, "announcement", 600)
	wait.Until(t, "speech", func() bool { return tone.Level(rec.Samples(4000)) > -30 })
	c.Bye(within(t))

	c, err := a.Invite("early", ua.CallOptions{Setup: func(c *ua.Call) { rec = listen(c, 600) }})
	if err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, c.Early())
	hears(t, "alice before the answer", rec, 425)
	if c.State() == ua.Established {
		t.Error("answered too soon")
	}
	if err := c.WaitAnswered(within(t)); err != nil {
		t.Fatal(err)
	}
	c.Bye(within(t))
}

func TestCallbackCallsBack(t *testing.T) {
	core := startCore(t, nil)
	in := make(chan *ua.Call, 2)
	recs := make(chan *rtpua.Recorder, 2)
	a := phone(t, core, sipnode.UDP, "alice", func(c *ua.Config) {
		c.OnCall = func(c *ua.Call) {
			recs <- listen(c, 500)
			c.Answer()
			in <- c
		}
	})
	register(t, a)
	if err := a.SendMessage(within(t), "callback", "please"); err != nil {
		t.Fatal(err)
	}
	c := wait.Receive(t, in)
	if c.Peer() != "callback@isthmus.example" {
		t.Errorf("call back of %s", c.Peer())
	}
	rec := wait.Receive(t, recs)
	wait.Until(t, "announcement", func() bool { return tone.Level(rec.Samples(4000)) > -30 })
	c.Bye(within(t))

	out, _ := dial(t, a, "callback", 500)
	out.Bye(within(t))
	again := wait.Receive(t, in)
	again.Bye(within(t))
}

func TestMessages(t *testing.T) {
	core := startCore(t, nil)
	inbox := make(chan ua.Message, 2)
	keep := func(c *ua.Config) { c.OnMessage = func(m ua.Message) int { inbox <- m; return 200 } }
	a := phone(t, core, sipnode.UDP, "alice", keep)
	b := phone(t, core, sipnode.TCP, "bob", keep)
	register(t, a)
	register(t, b)
	ctx := within(t)
	if err := a.SendMessage(ctx, "bob", "hello"); err != nil {
		t.Fatal(err)
	}
	if m := wait.Receive(t, inbox); m.From != "alice@isthmus.example" || m.Body != "hello" {
		t.Errorf("bob got %+v", m)
	}
	if err := b.SendMessage(ctx, "echo", "anybody?"); err != nil {
		t.Fatal(err)
	}
	if m := wait.Receive(t, inbox); m.From != "echo@isthmus.example" || m.To != "bob@isthmus.example" || m.Body != "anybody?" {
		t.Errorf("echo sent %+v", m)
	}
	var se *ua.StatusError
	if err := a.SendMessage(ctx, "music", "hi"); !errors.As(err, &se) || se.Code != 405 {
		t.Errorf("message to music: %v", err)
	}
}

func TestCloseHangsUp(t *testing.T) {
	core := startCore(t, nil)
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)
	c, _ := dial(t, a, "music", 600)
	if err := core.Close(); err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, c.Done())
	if r := c.Reason(); !r.ByRemote {
		t.Errorf("call ended with %+v", r)
	}
}
