// Package pool has two controllers on one NATS server, with one media gateway, and stops one of them in a call between a browser-like caller and a SIP
// telephone, as a rolling upgrade does.
package pool

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const (
	domain = "isthmus.example"
	limit  = 15 * time.Second // of every single wait

	browserHz, phoneHz, level = 620.0, 440.0, -12

	store, storeStatus = "127.0.0.1:18990", "127.0.0.1:18991"
)

var (
	programs scenario.Programs
	first    = scenario.Pair{Programs: &programs, Base: 18600} // and everything that is not the second controller
	second   = scenario.Pair{Programs: &programs, Base: 18800}
)

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

// natsServer builds the server of the module that the controller embeds.
func natsServer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats-server")
	cmd := exec.CommandContext(scenario.Within(t, 2*time.Minute), "go", "build", "-o", path, "github.com/nats-io/nats-server/v2")
	cmd.Dir = filepath.Join(scenario.Root, "mgc")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build of nats-server: %v\n%s", err, out)
	}
	return path
}

// party is a call with both its ends.
type party struct {
	near  *webua.Call
	far   *ua.Call
	heard *rtpua.Recorder
}

// world is the pool with alice at the first controller and bob behind the demo core.
type world struct {
	t      *testing.T
	one    *stack.Stack // the first controller only
	alice  *webua.UA
	answer chan party // bob's end of each call; cap 2
}

func (w *world) within() context.Context { return scenario.Within(w.t, limit) }

func newWorld(t *testing.T) *world {
	w := &world{t: t, answer: make(chan party, 2)}
	log := scenario.LogTo(t, "isthmus")
	port := netip.MustParseAddrPort(store).Port()
	status := netip.MustParseAddrPort(storeStatus).Port()
	scenario.Start(t, log,
		stack.Daemon{Name: "nats", Path: natsServer(t), Ready: "http://" + storeStatus + "/healthz", Args: []string{"-js", "-sd", t.TempDir(), "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-m", fmt.Sprint(status)}},
		first.Democore(), second.MGC("--instance=two", "--store.url=nats://"+store, "--domain="+domain, "--core.next_hop=sip:"+first.At(scenario.PortSIP)))
	w.one = scenario.Start(t, log, first.MGC("--instance=one", "--store.url=nats://"+store, "--domain="+domain))
	scenario.Start(t, log, first.MGW("mgw-pool", "--media.workers=1", "--iq.mgc="+first.At(scenario.PortIq)+","+second.At(scenario.PortIq)))

	var err error
	w.alice, err = webua.Dial(w.within(), webua.Config{URL: first.WebSocket(), Domain: domain, User: "alice", Password: "wonderland", Codecs: []string{"PCMA"}})
	scenario.Must(t, err)
	t.Cleanup(w.alice.Close)
	scenario.Must(t, w.alice.Register(w.within(), time.Minute))
	bob, err := ua.New(ua.Config{Listen: "127.0.0.1:0", Domain: domain, User: "bob", Password: "builder", Codecs: []ua.Codec{ua.PCMA},
		Proxy:  sipnode.Target{Network: sipnode.UDP, Addr: netip.MustParseAddrPort(first.At(scenario.PortSIP))},
		OnCall: ua.AutoAnswer(0, w.listen)})
	scenario.Must(t, err)
	scenario.Closing(t, bob.Close)
	_, err = bob.Register(w.within(), time.Minute)
	scenario.Must(t, err)
	return w
}

// listen gives bob's end of a call its tone and its ear.
func (w *world) listen(c *ua.Call) {
	rec := &rtpua.Recorder{}
	c.Media().SetSink(rec)
	c.Media().SetSource(tone.NewSine(phoneHz, level))
	w.answer <- party{far: c, heard: rec}
}

func (w *world) call() party {
	w.t.Helper()
	c, err := w.alice.Call(w.within(), "sip:bob@"+domain, tone.NewSine(browserHz, level))
	scenario.Must(w.t, err)
	p := <-w.answer
	p.near = c
	return p
}

// talk waits until each end hears the other, in what comes from now on.
func (w *world) talk(p party) {
	w.t.Helper()
	from := p.near.Result().Packets
	p.heard.Forget()
	scenario.Until(w.within(), w.t, "each end to hear the other", func() (bool, any) {
		r, far := p.near.Result(), tone.Detect(p.heard.Samples(tone.Rate/5))
		return r.Packets > from+20 && r.Last.IsTone(phoneHz, 3) && far.IsTone(browserHz, 3), []any{r.Packets - from, r.Last, far}
	})
}

// TestOrderedStopKeepsTheCalls: SIGTERM to the controller that has two calls. They go on, while nobody commands anything and after the browser has connected
// to the other controller, and each is ended there from another side.
func TestOrderedStopKeepsTheCalls(t *testing.T) {
	w := newWorld(t)
	a, b := w.call(), w.call()
	w.talk(a)
	w.talk(b)
	scenario.Must(t, syscall.Kill(w.one.Pid("mgc"), syscall.SIGTERM))
	select {
	case <-w.one.Done("mgc"):
	case <-w.within().Done():
		t.Fatal("the controller does not stop")
	}
	<-w.alice.Done() // its WebSocket is closed
	w.talk(a)

	again, err := w.alice.Redial(w.within(), func(c *webua.Config) { c.URL = second.WebSocket() })
	scenario.Must(t, err)
	t.Cleanup(again.Close)
	for _, p := range []party{a, b} {
		p.near.Move(again)
	}
	scenario.Must(t, again.Register(w.within(), time.Minute))
	w.talk(b)
	scenario.Must(t, a.near.Hangup(w.within()))
	wait(w.within(), t, a.far.Done(), "the telephone to be told of the end")
	scenario.Must(t, b.far.Hangup(w.within()))
	wait(w.within(), t, b.near.Ended(), "the browser to be told of the end")
	if r := b.near.Result(); r.Cause == "" {
		t.Error("no cause")
	}
}

func wait(ctx context.Context, t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatalf("gave up waiting for %s", what)
	}
}
