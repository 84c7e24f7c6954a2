package call

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// moves lets alice register over "to" instead of i.
func (i *instance) moves(to *instance, flow string) {
	i.bind.mu.Lock()
	b := i.bind.byID["alice"]
	b.FlowID, b.Elsewhere = "", to.cfg.Instance
	i.bind.byID["alice"] = b
	i.bind.mu.Unlock()
	to.bind.set("alice", flow)
	i.Moved("alice", to.cfg.Instance)
	to.FlowBack("alice")
}

// TestCallFollowsItsBrowser: when the browser registers over another instance its calls go there and go on.
func TestCallFollowsItsBrowser(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	a.moves(b, "fb2")
	wait.Until(t, "the former owner lets go", func() bool { return len(a.Keys()) == 0 })
	if rec := p.records()[0].Value; rec.Owner != "b" {
		t.Errorf("record of %s", rec.Owner)
	}
	info := b.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "")
	if out := b.expectOut(callcore.LegAccess, "INFO"); out.flow != "fb2" {
		t.Errorf("the browser is reached over %s", out.flow)
	} else {
		out.respond(200, "")
	}
	info.expect(200)
	b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fb2").expect(200)
	b.expectOut(callcore.LegCore, "BYE").respond(200, "")
	b.gone()
	if n := count(t, a.deps.Metrics.yielded); n != 1 {
		t.Errorf("%v handed over", n)
	}
}

// TestCallFollowsWithItsSessionTimer: a session timer (RFC 4028) runs as long as the call, and goes with it.
func TestCallFollowsWithItsSessionTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		t.Cleanup(s.Close)
		p := poolOn(t, s)
		a, b := p.instance("a"), p.instance("b")
		r := a.establish()
		update := r.in(callcore.LegCore, "UPDATE", "")
		update.Add("Supported", "timer")
		update.Add("Session-Expires", "90;refresher=uac")
		answer := a.ask(callcore.LegCore, update, "").expect(200)
		if got := answer.Get("Session-Expires"); got != "90;refresher=uac" {
			t.Fatalf("Session-Expires %q", got)
		}
		a.moves(b, "fb2")
		wait.Until(t, "the former owner lets go", func() bool { return len(a.Keys()) == 0 })
		b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "OPTIONS", ""), "fb2")
		b.expectOut(callcore.LegCore, "OPTIONS").respond(200, "")
		time.Sleep(90 * time.Second) // the core refreshes no more
		b.expectOut(callcore.LegAccess, "BYE").respond(200, "")
		b.expectOut(callcore.LegCore, "BYE").respond(200, "")
		b.gone()
	})
}

// TestCallFollowsWhenAtRest: what has begun at one instance is finished there.
func TestCallFollowsWhenAtRest(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	info := a.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa")
	out := a.expectOut(callcore.LegCore, "INFO")
	a.moves(b, "fb2")
	stray := b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fb2")
	b.refused(stray, 480) // still the other's
	if len(a.Keys()) != 1 {
		t.Fatal("the call went with a transaction open")
	}
	out.respond(200, "")
	info.expect(200)
	wait.Until(t, "the former owner lets go", func() bool { return len(a.Keys()) == 0 })
	b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fb2").expect(200)
	b.expectOut(callcore.LegCore, "BYE").respond(200, "")
	b.gone()
}

// TestCallStaysWhenTheBrowserComesBack, or when the store is away at the wrong moment.
func TestCallStaysWhenTheBrowserComesBack(t *testing.T) {
	p, f := newFaultyPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	f.away.Store(true)
	a.moves(b, "fb2")
	a.bind.set("alice", "fa3")
	a.FlowBack("alice")
	info := a.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "")
	a.expectOut(callcore.LegAccess, "INFO").respond(200, "")
	info.expect(200)
	f.away.Store(false)
	wait.Until(t, "the record is its own", func() bool { return p.records()[0].Value.Owner == "a" })
	if len(a.Keys()) != 1 {
		t.Error("the call is gone")
	}
	a.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa3").expect(200)
	a.expectOut(callcore.LegCore, "BYE").respond(200, "")
	a.gone()
}

// TestAdoptedCallWaitsForItsBrowser: a call whose browser lost its connection with the instance has the usual grace to be found again.
func TestAdoptedCallWaitsForItsBrowser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		t.Cleanup(s.Close)
		p := poolOn(t, s)
		a, b, c := p.instance("a"), p.instance("b"), p.instance("c")
		for _, i := range []*instance{b, c} {
			i.bind.set("alice", "")
		}
		r := a.establish()
		a.kill()
		info := b.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "")
		info.expect(480)             // the browser is not there
		time.Sleep(50 * time.Second) // the bubble's clock
		b.moves(c, "fc")             // it comes back, but elsewhere
		wait.Until(t, "the call has gone there", func() bool { return len(b.Keys()) == 0 })
		back := c.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fc")
		c.expectOut(callcore.LegCore, "INFO").respond(200, "")
		back.expect(200)
		time.Sleep(10 * time.Minute)
		if len(c.Keys()) != 1 {
			t.Fatal("the call did not live on")
		}
		c.bind.set("alice", "")
		c.kill()
		d := p.instance("d")
		d.bind.set("alice", "")
		d.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "").expect(480)
		time.Sleep(61 * time.Second)
		d.expectOut(callcore.LegCore, "BYE").respond(200, "")
		d.gone()
	})
}
