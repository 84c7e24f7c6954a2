package call

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// stops is an ordered stop of i among the instances; it returns when that is over.
func (i *instance) stops(longest time.Duration, among ...string) (kept int) {
	return i.Leave(i.t.Context(), longest, func() []string { return append([]string{i.cfg.Instance}, among...) }, "stopping")
}

// TestOrderedStopHandsItsCallsOver: a call goes on at another instance, though its browser's connection is still where it was, and is ended from either
// side; nothing of the stop is seen by anybody.
func TestOrderedStopHandsItsCallsOver(t *testing.T) {
	for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
		t.Run(leg.String(), func(t *testing.T) {
			p := newJoinedPool(t)
			a, b := p.instance("a"), p.instance("b")
			b.bind.at("alice", "a")
			r := a.establish()
			if kept := a.stops(time.Minute, "b"); kept != 0 || len(a.Keys()) != 0 {
				t.Fatalf("%d kept, %d still there", kept, len(a.Keys()))
			}
			wait.Until(t, "the call is adopted", func() bool { return len(b.Keys()) == 1 })
			a.refused(a.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa"), 503)
			info := a.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "") // strays, and finds it
			info.expect(480)                                                        // its browser cannot be reached from there
			a.quiet()
			b.quiet()
			a.kill()
			b.bind.set("alice", "fb2") // she connects again
			b.FlowBack("alice")
			info = b.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "")
			b.expectOut(callcore.LegAccess, "INFO").respond(200, "")
			info.expect(200)
			if rec := p.records()[0].Value; rec.Owner != "b" || len(b.Keys()) != 1 {
				t.Errorf("record of %s", rec.Owner)
			}
			flow := ""
			if leg == callcore.LegAccess {
				flow = "fb2"
			}
			b.ask(leg, r.in(leg, "BYE", ""), flow).expect(200)
			b.expectOut(leg.Other(), "BYE").respond(200, "")
			b.gone()
			if n := count(t, b.deps.Metrics.adopted); n != 1 {
				t.Errorf("adopted %v times", n)
			}
		})
	}
}

// ringing sets a call up as far as it rings.
func (i *instance) ringing() (*tx, *sent) {
	i.t.Helper()
	x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	out := i.expectOut(callcore.LegCore, "INVITE")
	out.respond(180, "")
	x.expect(180)
	return x, out
}

// TestOrderedStopWaitsForSetUp: a call that rings is waited for; answered, it goes with the others.
func TestOrderedStopWaitsForSetUp(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	a.establish()
	x, out := a.ringing()
	done := make(chan int, 1)
	go func() { done <- a.stops(time.Minute, "b") }()
	wait.Until(t, "the stop has begun", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.draining })
	if len(a.Keys()) != 2 {
		t.Error("a call went before those that are being set up were through")
	}
	out.respond(200, coreSDP(1, "sendrecv"))
	a.expectOut(callcore.LegCore, "ACK")
	r := &running{t: t, answer: x.expect(200), invite: out, seq: map[callcore.Leg]int{callcore.LegAccess: 1}}
	a.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fa")
	for _, k := range a.Keys() {
		a.connected(k)
	}
	if kept := <-done; kept != 0 {
		t.Errorf("%d kept", kept)
	}
	wait.Until(t, "both are adopted", func() bool { return len(b.Keys()) == 2 })
	a.quiet()
}

// TestOrderedStopReleasesWhatCannotGo: a call that still rings when the time is over ends as by an operator's stop; an answered one with a request open goes
// all the same.
func TestOrderedStopReleasesWhatCannotGo(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	info := a.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa")
	a.expectOut(callcore.LegCore, "INFO") // never answered
	x, out := a.ringing()
	if kept := a.stops(300*time.Millisecond, "b"); kept != 0 {
		t.Errorf("%d kept", kept)
	}
	x.expect(503)
	<-out.cancel
	out.respond(487, "")
	a.refused(info, 503) // nobody knows here what becomes of it
	wait.Until(t, "the answered one is adopted", func() bool { return len(b.Keys()) == 1 && len(a.Keys()) == 0 })
	if b.Keys()[0] != r.key {
		t.Error("another one")
	}
	a.quiet()
}

// TestOrderedStopWithNobodyThere: alone in the pool, with others that stop too, or with a store of its own, the instance releases its calls.
func TestOrderedStopWithNobodyThere(t *testing.T) {
	for name, c := range map[string]struct {
		among   []string
		leaving string
		alone   bool
	}{
		"alone in the pool":  {nil, "", false},
		"the other one goes": {[]string{"b"}, "b", false},
		"its own store":      {[]string{"b"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newJoinedPool(t)
			a, b := p.instance("a", func(cfg *Config) { cfg.Alone = c.alone }), p.instance("b")
			a.setUp()
			if c.leaving != "" {
				e := envelope{Kind: kindAdopt, From: c.leaving, Key: newKey(), Leaving: true}
				raw, err := e.encode()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := a.onParcel(t.Context(), raw); err != nil {
					t.Fatal(err)
				}
			}
			if kept := a.stops(time.Minute, c.among...); kept != 0 {
				t.Errorf("%d kept", kept)
			}
			a.endedByUs()
			if err := a.Drain(t.Context(), 0); err != nil {
				t.Error(err)
			}
			if len(b.Keys()) != 0 {
				t.Error("the other one has it")
			}
		})
	}
}

// TestOrderedStopWithoutTheStore: nothing can be handed over; answered calls are left as after a crash, to be adopted when the store is back.
func TestOrderedStopWithoutTheStore(t *testing.T) {
	p := newJoinedPool(t)
	f := &faulty{Store: p.store}
	p.store = f
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	f.away.Store(true)
	if kept := a.stops(300*time.Millisecond, "b"); kept != 1 {
		t.Errorf("%d kept", kept)
	}
	a.quiet()
	a.kill()
	f.away.Store(false)
	b.hangUp(r)
}

// TestCallThatComesBackIsNotHandedOverAgain: an instance of before takes the browser's connection for where the call belongs.
func TestCallThatComesBackIsNotHandedOverAgain(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	b.bind.at("alice", "a")
	r := a.establish()
	back := func() {
		b.mu.Lock()
		delete(b.leaving, "a") // it knows nothing of that
		b.mu.Unlock()
		b.Moved("alice", "a")
	}
	done := make(chan int, 1)
	go func() { done <- a.stops(600*time.Millisecond, "b") }()
	wait.Until(t, "the call goes", func() bool { return len(b.Keys()) == 1 })
	back()
	wait.Until(t, "the call comes back", func() bool { return len(a.Keys()) == 1 })
	if kept := <-done; kept != 1 {
		t.Errorf("%d kept", kept)
	}
	if n := count(t, a.deps.Metrics.yielded); n != 1 {
		t.Errorf("handed over %v times", n)
	}
	a.quiet()
	a.kill()
	b.bind.set("alice", "fa")
	b.hangUp(r)
}
