package call

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestMaxCalls(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1", func(c *Config) { c.MaxCalls = 1 })
	r := i.establish()
	i.refused(i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa"), 503)
	i.hangUp(r)
	i.hangUp(i.establish())
}

// TestMaxCallsDoesNotStopAdoption: the limit is for new calls; one that exists is not lost to it.
func TestMaxCallsDoesNotStopAdoption(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b", func(c *Config) { c.MaxCalls = 1 })
	r := a.establish()
	a.kill()
	x := b.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	out := b.expectOut(callcore.LegCore, "INVITE")
	b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa").expect(200)
	b.expectOut(callcore.LegCore, "BYE").respond(200, "")
	out.respond(486, "")
	x.expect(486)
	b.gone()
}

func TestDrain(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	done := make(chan error, 1)
	go func() { done <- i.Drain(t.Context(), 0) }()
	wait.Until(t, "the drain has begun", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return i.draining })
	i.refused(i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa"), 503)
	select {
	case err := <-done:
		t.Fatalf("drained with a call up: %v", err)
	default:
	}
	i.hangUp(r)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDrainThatTakesTooLong(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Drain(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	i.Release("Controller is stopping")
	for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
		i.expectOut(leg, "BYE").respond(200, "")
	}
	i.gone()
	_ = r
}

// TestCloseLeavesRecords: a closed manager has ended no call: records stay for a successor, nobody gets a BYE, and requests that wait
// for an answer get one. What comes later is refused.
func TestCloseLeavesRecords(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	info := i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa")
	i.expectOut(callcore.LegCore, "INFO")
	i.Close()
	i.refused(info, 503)
	i.refused(i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa"), 503)
	i.refused(i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa"), 503)
	if len(p.records()) != 1 || len(i.sip.out) != 0 || len(i.Keys()) != 0 {
		t.Errorf("%d records, %d requests sent, calls %v", len(p.records()), len(i.sip.out), i.Keys())
	}
	if v := i.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"}); v != iqv1.NotifyReply_VERDICT_RETRY_LATER {
		t.Errorf("Notify: %v", v)
	}
}

// TestR3326_CancelOfACall: the CANCEL of a caller cancels the callee, with its Reason.
func TestR3326_CancelOfACall(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	out := i.expectOut(callcore.LegCore, "INVITE")
	cancel := request("CANCEL", "")
	cancel.Add("Reason", `SIP;cause=200;text="Call completed elsewhere"`)
	i.OnCancel(callcore.LegAccess, x, cancel)
	x.expect(487)
	select {
	case extra := <-out.cancel:
		if len(extra) != 1 || extra[0].Value != cancel.Get("Reason") {
			t.Errorf("CANCEL with %v", extra)
		}
	case <-time.After(patience):
		t.Fatal("the callee is not cancelled")
	}
	out.respond(487, "")
	i.gone()
	i.OnCancel(callcore.LegAccess, x, cancel) // nothing is left of it
}

// TestREL03_ReleasedBindings: de-registration ends the calls of that browser only; the browser gets its BYE although its binding is gone.
func TestREL03_ReleasedBindings(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	i.establish()
	i.Deregistered("bob")
	i.FlowLost("bob")
	i.bind.drop("alice")
	i.Deregistered("alice")
	i.expectOut(callcore.LegAccess, "BYE").respond(200, "")
	bye := i.expectOut(callcore.LegCore, "BYE")
	bye.respond(200, "")
	i.gone()
}

// inBubble runs a test of timers on a fake clock, on the engine that follows it.
func inBubble(t *testing.T, f func(t *testing.T, i *instance)) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		t.Cleanup(s.Close)
		f(t, poolOn(t, s).instance("m1"))
	})
}

// TestREL06_LostWebSocket: an answered call waits a minute for its browser; one that comes back in time keeps it.
func TestREL06_LostWebSocket(t *testing.T) {
	inBubble(t, func(t *testing.T, i *instance) {
		r := i.establish()
		lose := func() { i.bind.set("alice", ""); i.FlowLost("alice") }
		lose()
		time.Sleep(59 * time.Second) // the bubble's clock
		i.bind.set("alice", "fa2")
		i.FlowBack("alice")
		time.Sleep(10 * time.Minute)
		if len(i.Keys()) != 1 {
			t.Fatal("the call was lost although its browser came back")
		}
		info := i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa2")
		i.expectOut(callcore.LegCore, "INFO").respond(200, "")
		info.expect(200)
		toBrowser := i.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "")
		if out := i.expectOut(callcore.LegAccess, "INFO"); out.flow != "fa2" {
			t.Errorf("request goes to flow %q", out.flow)
		} else {
			out.respond(200, "")
		}
		toBrowser.expect(200)
		lose()
		time.Sleep(61 * time.Second)
		i.expectOut(callcore.LegCore, "BYE").respond(200, "")
		i.gone()
	})
}

// TestREL01_UnansweredCallEndsWithItsWebSocket: nobody rings for a browser that is gone.
func TestREL01_UnansweredCallEndsWithItsWebSocket(t *testing.T) {
	inBubble(t, func(t *testing.T, i *instance) {
		x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
		out := i.expectOut(callcore.LegCore, "INVITE")
		i.FlowLost("alice")
		x.expect(480)
		<-out.cancel
		out.respond(487, "")
		i.gone()
	})
}

// TestRFC3261_13_3_1_4_UnacknowledgedAnswer: a 2xx is repeated until its ACK, and after 64*T1 the call is given up.
func TestRFC3261_13_3_1_4_UnacknowledgedAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, i *instance) {
		x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
		out := i.expectOut(callcore.LegCore, "INVITE")
		out.respond(200, coreSDP(1, "sendrecv"))
		i.expectOut(callcore.LegCore, "ACK")
		i.connected(i.Keys()[0])
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if n := len(x.got); n != 10 { // at 0, .5, 1.5, 3.5, 7.5, then every 4 s
			t.Errorf("sent %d times in 31 s, want 10", n)
		}
		time.Sleep(2 * time.Second)
		for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
			i.expectOut(leg, "BYE").respond(200, "")
		}
		i.gone()
	})
}

// TestLongCallKeepsNothing: what each re-INVITE brings with it goes again.
func TestLongCallKeepsNothing(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	for n := range 6 {
		leg, flow, offer := callcore.LegAccess, "fa", []string{holdSDP(), browserSDP}[n%2]
		answer := []string{"recvonly", "sendrecv"}[n%2]
		offer = bumped(offer, 10+n)
		x := i.ask(leg, r.in(leg, "INVITE", offer), flow)
		i.expectOut(callcore.LegCore, "INVITE").respond(200, coreSDP(2+n, answer))
		i.expectOut(callcore.LegCore, "ACK")
		x.expect(200)
		i.OnAck(leg, r.in(leg, "ACK", ""), flow)
		wait.Until(t, "the MGW knows", func() bool { return len(i.mgw.kindsSeen()) == 3+n })
	}
	i.mu.Lock()
	o := i.calls[r.key]
	pending := len(i.invites)
	i.mu.Unlock()
	wait.Until(t, "the inbox is empty", func() bool { o.inbox.mu.Lock(); defer o.inbox.mu.Unlock(); return len(o.inbox.events) == 0 })
	o.txMu.Lock()
	kept := len(o.server)
	o.txMu.Unlock()
	i.kill() // afterwards the owner's fields are ours
	if len(o.client) != 0 || pending != 0 {
		t.Errorf("%d client transactions, %d pending INVITEs kept", len(o.client), pending)
	}
	if n := kept; n > 1 {
		t.Errorf("%d server transactions were kept", n)
	}
}

// bumped gives the description another version.
func bumped(sdp string, version int) string {
	var head, tail string
	if _, err := fmt.Sscanf(sdp, "v=0\r\no=- 4611 %s", &head); err != nil {
		return sdp
	}
	tail = sdp[len("v=0\r\no=- 4611 ")+len(head):]
	return fmt.Sprintf("v=0\r\no=- 4611 %d%s", version, tail)
}
