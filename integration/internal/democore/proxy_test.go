package democore

import (
	"slices"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// stranger is a phone on an address that nobody registered from.
func stranger(t *testing.T, core *Core, user, password string) *ua.Agent {
	return phone(t, core, sipnode.UDP, user, func(c *ua.Config) {
		c.Listen, c.Password = "127.0.0.2:0", password
	})
}

func TestCallerMustBeWhoHeSays(t *testing.T) {
	core := startCore(t, nil)
	register(t, phone(t, core, sipnode.UDP, "alice", nil))
	refused(t, stranger(t, core, "alice", ""), "echo", 407)
	refused(t, stranger(t, core, "alice", "guess"), "echo", 407)
	refused(t, stranger(t, core, "nobody", ""), "echo", 407)
	refused(t, stranger(t, core, "echo", ""), "alice", 407) // a built-in user's name helps nobody
	if c, _ := dial(t, stranger(t, core, "alice", "wonderland"), "echo", 500); c.Bye(within(t)) != nil {
		t.Error("BYE refused")
	}
	other := phone(t, core, sipnode.UDP, "alice", func(c *ua.Config) {
		c.Listen, c.AuthUser, c.Password = "127.0.0.2:0", "bob", "builder"
	})
	refused(t, other, "echo", 403)
	foreign := phone(t, core, sipnode.UDP, "alice", func(c *ua.Config) { c.Domain = "elsewhere.example" })
	refused(t, foreign, "echo@isthmus.example", 403)
}

func TestProxyRefusals(t *testing.T) {
	core := startCore(t, nil)
	g := newGateway(t, core)
	if res := g.register("bob", "builder", invalidContact, sip.NewHeader("Path", g.path(sipnode.UDP))); res.StatusCode != 200 {
		t.Fatal(res.StatusCode)
	}
	tagged := func(req *sip.Request) { req.To().Params.Add("tag", "x") }
	for _, c := range []struct {
		name   string
		method sip.RequestMethod
		uri    string
		change func(*sip.Request)
		want   int
	}{
		{"hops used up", sip.INVITE, "sip:echo@isthmus.example", func(r *sip.Request) { sipnode.SetMaxForwards(r, 0) }, 483},
		{"proxy extension", sip.INVITE, "sip:echo@isthmus.example", func(r *sip.Request) { r.AppendHeader(sip.NewHeader("Proxy-Require", "foo")) }, 420},
		{"relay by route", sip.INVITE, "sip:echo@isthmus.example", func(r *sip.Request) {
			r.AppendHeader(&sip.RouteHeader{Address: sip.Uri{Scheme: "sip", Host: "127.0.0.9", Port: 9}})
		}, 403},
		{"relay by Request-URI", sip.MESSAGE, "sip:x@127.0.0.9:9", nil, 404},
		{"unknown dialog", sip.BYE, "sip:echo@isthmus.example", tagged, 481},
		{"INVITE in an unknown dialog", sip.INVITE, "sip:echo@isthmus.example", tagged, 481},
		{"subscription", sip.SUBSCRIBE, "sip:bob@isthmus.example", nil, 405},
		{"BYE outside a dialog", sip.BYE, "sip:echo@isthmus.example", nil, 405},
		{"options of the domain", sip.OPTIONS, "sip:isthmus.example", nil, 200},
		{"options of a user", sip.OPTIONS, "sip:echo@isthmus.example", nil, 200},
	} {
		req := g.request(c.method, "bob", c.uri)
		if c.change != nil {
			c.change(req)
		}
		if res := g.do(req, sipnode.UDP); res.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, res.StatusCode, c.want)
		}
	}
}

// TestRFC3261_16_7_ForkToAllBindings: two phones ring, one answers, the other is cancelled.
func TestRFC3261_16_7_ForkToAllBindings(t *testing.T) {
	core := startCore(t, nil)
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)
	ringing := make(chan *ua.Call, 2)
	for _, network := range []string{sipnode.UDP, sipnode.TCP} {
		b := phone(t, core, network, "bob", func(c *ua.Config) {
			c.OnCall = func(c *ua.Call) { c.Ring(); ringing <- c }
		})
		register(t, b)
	}
	call, err := a.Invite("bob", ua.CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first, second := wait.Receive(t, ringing), wait.Receive(t, ringing)
	second.Answer()
	if err := call.WaitAnswered(within(t)); err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, first.Done())
	if r := first.Reason(); r.Code != 487 || !r.ByRemote {
		t.Errorf("the phone not answered: %+v", r)
	}
	if err := call.Bye(within(t)); err != nil {
		t.Error(err)
	}
	wait.Receive(t, second.Done())
}

func TestRFC3261_16_7_6_BestResponse(t *testing.T) {
	codes := []int{480, 503, 486, 603, 302, 407, 404}
	slices.SortStableFunc(codes, func(a, b int) int {
		switch {
		case better(a, b):
			return -1
		case better(b, a):
			return 1
		}
		return 0
	})
	if want := []int{603, 302, 407, 480, 486, 404, 503}; !slices.Equal(codes, want) {
		t.Errorf("order %v, want %v", codes, want)
	}
}

func TestUnreachablePhoneGives503(t *testing.T) {
	core := startCore(t, nil)
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)
	b := phone(t, core, sipnode.TCP, "bob", nil)
	register(t, b)
	b.Close()
	wait.Until(t, "connection gone", func() bool {
		c, err := a.Invite("bob", ua.CallOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = c.WaitAnswered(within(t))
		return codeOf(err) == 503
	})
}

func TestCallRecordsAreBounded(t *testing.T) {
	c := &Core{calls: map[string]*callRecord{}}
	for i := range maxCalls {
		if !c.recordCall(string(rune(0x100+i)), "a", "b") {
			t.Fatalf("call %d refused", i)
		}
	}
	if c.recordCall("one more", "a", "b") {
		t.Error("more calls kept than the limit")
	}
	c.callEvent(string(rune(0x100+5)), 486, true)
	if !c.recordCall("one more", "a", "b") || c.knowsCall(string(rune(0x105))) || len(c.order) != maxCalls {
		t.Error("an ended call must give way")
	}
}

func TestCalleeGoneDuringCall(t *testing.T) {
	core := startCore(t, func(c *Config) { c.Timers = sipnode.Timers{T1: 10 * time.Millisecond} })
	a := phone(t, core, sipnode.UDP, "alice", nil)
	register(t, a)
	c, _ := dial(t, a, "music", 500)
	if err := core.apps.agent.Close(); err != nil {
		t.Fatal(err)
	}
	wait.Receive(t, c.Done()) // the agent says BYE when it closes
	if err := c.Bye(within(t)); err != ua.ErrWrongCall {
		t.Errorf("BYE of an ended call: %v", err)
	}
}
