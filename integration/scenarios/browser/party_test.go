package browser

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/baresip"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/webphone"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// party is one scenario under way. Its methods fail the test when what they wait for does not come.
type party struct {
	*gatewayRun
	t   *testing.T
	ctx context.Context // ends with the scenario
}

func (g *gatewayRun) party(t *testing.T) *party {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return &party{gatewayRun: g, t: t, ctx: ctx}
}

// play runs a scenario and, whatever became of it, ends all calls after it.
func (g *gatewayRun) play(t *testing.T, run func(*party)) {
	p := g.party(t)
	for _, a := range []*baresip.Agent{g.bob, g.carol} {
		a.Forget()
	}
	t.Cleanup(func() { g.tidy(t) })
	run(p)
}

// tidy takes a picture when the scenario failed and ends what it left.
func (g *gatewayRun) tidy(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	if t.Failed() {
		path := filepath.Join(g.dir, strings.ReplaceAll(t.Name(), "/", "-")+".png")
		_ = g.alice.Shot(ctx, path) // best effort, for the log
		g.explain(t, ctx)
	}
	p := &party{gatewayRun: g, t: t, ctx: ctx}
	for _, c := range p.calls() {
		if c.State != "ended" {
			_ = g.alice.Hangup(ctx, c.ID) // it may be ending
		}
	}
	for _, a := range []*baresip.Agent{g.bob, g.carol} {
		for range 3 { // one call each; without a call it answers so
			if list, err := a.Command(ctx, "listcalls", ""); err == nil && strings.Contains(list, "sip:") {
				_, _ = a.Command(ctx, "hangup", "")
			}
		}
	}
	p.until("the phone to have no call", func() (bool, any) {
		calls := p.calls()
		for _, c := range calls {
			if c.State != "ended" {
				return false, calls
			}
		}
		return true, nil
	})
}

// explain logs what the phone and the MGW know about the calls.
func (g *gatewayRun) explain(t *testing.T, ctx context.Context) {
	state, _ := g.alice.State(ctx)
	calls, _ := g.alice.Calls(ctx)
	digits, _ := g.alice.DTMFSent(ctx)
	t.Logf("the phone: %+v, digits sent %q", state, digits)
	for _, c := range calls {
		stats, _ := g.alice.Stats(ctx, c.ID)
		t.Logf("the phone's call: %+v %s", c, stats.All)
	}
	audit, err := g.mgw.AuditValue(ctx, &iqv1.AuditRequest{
		Context:     &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}},
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}},
		Statistics:  true,
	})
	for err == nil {
		var r *iqv1.AuditReply
		if r, err = audit.Recv(); err == nil {
			t.Logf("the MGW: %v", r)
		}
	}
}

func (p *party) ok(err error) {
	p.t.Helper()
	scenario.Must(p.t, err)
}

// patience is how long one thing may take before the test gives up: nothing takes a second on an idle machine, but on one that has ten
// times as much to do as it can, Chromium needs seconds for six digits.
const patience = 15 * time.Second

// until polls a condition; what it returned last is told when it never came true.
func (p *party) until(what string, holds func() (bool, any)) {
	p.t.Helper()
	p.untilWithin(patience, what, holds)
}

func (p *party) untilWithin(limit time.Duration, what string, holds func() (bool, any)) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	scenario.Until(ctx, p.t, what, holds)
}

func (p *party) calls() []webphone.Call {
	p.t.Helper()
	calls, err := p.alice.Calls(p.ctx)
	p.ok(err)
	return calls
}

func (p *party) call(id string) webphone.Call {
	p.t.Helper()
	for _, c := range p.calls() {
		if c.ID == id {
			return c
		}
	}
	return webphone.Call{}
}

// inState waits until the phone shows the call in a state.
func (p *party) inState(id, state string) webphone.Call {
	p.t.Helper()
	var c webphone.Call
	p.until("alice's call "+id+" to be "+state, func() (bool, any) {
		c = p.call(id)
		return c.State == state, c
	})
	return c
}

// incoming waits for a call that rings in the browser.
func (p *party) incoming() webphone.Call {
	p.t.Helper()
	var c webphone.Call
	p.until("a call to alice", func() (bool, any) {
		calls := p.calls()
		for _, c = range calls {
			if c.State == "incoming" {
				return true, nil
			}
		}
		return false, calls
	})
	return c
}

func (p *party) dial(user string) string {
	p.t.Helper()
	id, err := p.alice.Dial(p.ctx, "sip:"+user+"@"+domain)
	p.ok(err)
	return id
}

// tell runs a command of baresip.
func (p *party) tell(a *baresip.Agent, command, params string) {
	p.t.Helper()
	_, err := a.Command(p.ctx, command, params)
	p.ok(err)
}

// told waits for an event of baresip after mark.
func (p *party) told(a *baresip.Agent, mark int, kind string) baresip.Event {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	e, err := a.Await(ctx, mark, func(e baresip.Event) bool { return e.Type == kind })
	if err != nil {
		p.t.Fatalf("%s: %v", kind, err)
	}
	return e
}

// browserHears waits until the browser hears the frequency.
func (p *party) browserHears(id string, hz float64) {
	p.t.Helper()
	p.until(fmt.Sprintf("the browser to hear %v Hz", hz), func() (bool, any) {
		h, err := p.alice.Hears(p.ctx, id)
		return err == nil && is(h, hz), fmt.Sprint(h, err)
	})
}

// listen has the page note what it hears from now on, so that a short tone is not over before it is asked for.
func (p *party) listen(id string) {
	p.t.Helper()
	p.ok(p.alice.Run(p.ctx, fmt.Sprintf(`clearInterval(window.listening); window.heard = []; window.listening = setInterval(() => window.heard.push(window.isthmus.remoteTone(%q)), 20); 0`, id), nil))
}

// browserHeard waits until the browser has heard the frequency since listen.
func (p *party) browserHeard(hz float64) {
	p.t.Helper()
	p.until(fmt.Sprintf("the browser to have heard %v Hz", hz), func() (bool, any) {
		var heard []webphone.Tone
		err := p.alice.Run(p.ctx, "window.heard", &heard)
		return err == nil && slices.ContainsFunc(heard, func(h webphone.Tone) bool { return is(h, hz) }), fmt.Sprint(heard, err)
	})
	p.ok(p.alice.Run(p.ctx, "clearInterval(window.listening)", nil))
}

// is tells whether what is heard is a tone of the frequency.
func is(h webphone.Tone, hz float64) bool { return math.Abs(h.Hz-hz) < 12 && h.RMS > -50 }

// browserHearsNothing waits until the browser hears silence.
func (p *party) browserHearsNothing(id string) {
	p.t.Helper()
	p.until("silence in the browser", func() (bool, any) {
		h, err := p.alice.Hears(p.ctx, id)
		return err == nil && h.RMS < -60, fmt.Sprint(h, err)
	})
}

// hears waits until what baresip plays is the frequency, for half a second.
func (p *party) hears(a *baresip.Agent, hz float64) {
	p.t.Helper()
	first := -1
	p.until(fmt.Sprintf("baresip to hear %v Hz", hz), func() (bool, any) {
		d, n, err := a.Hears()
		good := err == nil && d.IsTone(hz, 8)
		if !good {
			first = -1
		} else if first < 0 {
			first = n
		}
		return good && n >= first+1600, fmt.Sprint(d, n, err)
	})
}

// hearsNothing waits until what baresip plays is silence.
func (p *party) hearsNothing(a *baresip.Agent) {
	p.t.Helper()
	p.until("silence at baresip", func() (bool, any) {
		d, n, err := a.Hears()
		return err == nil && d.Total < -60, fmt.Sprint(d, n, err)
	})
}

// both waits until audio goes both ways.
func (p *party) both(id string, a *baresip.Agent, hz float64) {
	p.t.Helper()
	p.browserHears(id, hz)
	p.hears(a, micHz)
}

// talk sets a call to bob up, up to audio both ways.
func (p *party) talk() string {
	p.t.Helper()
	mark := p.bob.Mark()
	id := p.dial("bob")
	p.told(p.bob, mark, "CALL_INCOMING")
	p.inState(id, "ringing")
	p.tell(p.bob, "accept", "")
	p.told(p.bob, mark, "CALL_ESTABLISHED")
	p.inState(id, "connected")
	p.both(id, p.bob, bobHz)
	return id
}

// wire returns the SIP messages at Kamailio after the first n.
func (p *party) wire(n int) []kamailio.Message {
	p.t.Helper()
	all, err := p.core.Tap().Messages()
	p.ok(err)
	return all[n:]
}

// onWire waits for a message at Kamailio after the first n.
func (p *party) onWire(n int, what string, want func(kamailio.Message) bool) kamailio.Message {
	p.t.Helper()
	var m kamailio.Message
	p.until(what+" at Kamailio", func() (bool, any) {
		all := p.wire(n)
		for _, m = range all {
			if want(m) {
				return true, nil
			}
		}
		var lines []string
		for _, m := range all {
			lines = append(lines, fmt.Sprint(m.From, " > ", m.To, " ", m.StartLine()))
		}
		return false, strings.Join(lines, "\n")
	})
	return m
}
