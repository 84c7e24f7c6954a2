package call

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestAdoptedCallGoesOn: after the death of its owner a call is held, resumed and hung up at another instance, on the same context.
func TestAdoptedCallGoesOn(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	a.kill()

	hold := b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INVITE", holdSDP()), "fa")
	offer := b.expectOut(callcore.LegCore, "INVITE")
	if !strings.Contains(string(offer.msg.Body), "a=sendonly") || offer.msg.Get("Call-ID") != r.invite.msg.Get("Call-ID") {
		t.Errorf("re-INVITE of the adopted call:\n%+v", offer.msg)
	}
	offer.respond(200, coreSDP(2, "recvonly"))
	b.expectOut(callcore.LegCore, "ACK")
	hold.expect(200)
	b.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fa")
	wait.Until(t, "the MGW knows of the hold", func() bool { return has(b.mgw.kindsSeen(), "g-a: Modify Modify") })
	if rec := p.records()[0].Value; rec.Owner != "b" || rec.MGW != "g-a" {
		t.Errorf("record of %s on %s", rec.Owner, rec.MGW)
	}
	if l := b.List(); len(l) != 1 || l[0].State != "confirmed" {
		t.Errorf("listed %+v", l)
	}

	bye := b.ask(callcore.LegCore, r.in(callcore.LegCore, "BYE", ""), "")
	bye.expect(200)
	b.expectOut(callcore.LegAccess, "BYE").respond(200, "")
	b.gone()
	if !has(b.mgw.kindsSeen(), "g-a: Modify Modify", "g-a: Subtract") {
		t.Errorf("MGW was told %v", b.mgw.kindsSeen())
	}
}

// TestAdoptionRace: of several instances that find the owner dead exactly one wins; the others leave the call alone.
func TestAdoptionRace(t *testing.T) {
	p, f := newFaultyPool(t)
	a := p.instance("a")
	r := a.establish()
	a.kill()
	release := f.stop("update") // all have read the record before the first claims it
	defer release()
	rivals := []*instance{p.instance("b"), p.instance("c"), p.instance("d")}
	info := r.in(callcore.LegAccess, "INFO", "")
	asked := make([]*tx, len(rivals))
	var wg sync.WaitGroup
	for n, i := range rivals {
		wg.Go(func() { asked[n] = i.ask(callcore.LegAccess, info, "fa") })
	}
	wg.Wait()
	wait.Until(t, "all want to claim the call", func() bool { return f.waiting.Load() == int32(len(rivals)) })
	release()
	winners := 0
	for n, i := range rivals {
		wait.Until(t, "the call is adopted or refused", func() bool { return len(i.sip.out)+len(asked[n].got) > 0 })
		if len(i.sip.out) > 0 {
			winners++
			i.expectOut(callcore.LegCore, "INFO").respond(200, "")
			asked[n].expect(200)
			if rec := p.records()[0].Value; rec.Owner != i.cfg.Instance {
				t.Errorf("%s won, the record says %s", i.cfg.Instance, rec.Owner)
			}
			defer i.hangUp(r)
			continue
		}
		asked[n].expect(480)
		if len(i.Keys()) != 0 {
			t.Errorf("%s lost and holds the call", i.cfg.Instance)
		}
	}
	if winners != 1 {
		t.Fatalf("%d winners", winners)
	}
}

// TestLiveOwnerKeepsItsCall: a message that strays to another instance does not take the call from its owner.
func TestLiveOwnerKeepsItsCall(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	b.refused(b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa"), 480)
	if v := b.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"}); v != iqv1.NotifyReply_VERDICT_RETRY_LATER {
		t.Errorf("Notify: %v", v)
	}
	if rec := p.records()[0].Value; rec.Owner != "a" {
		t.Errorf("record of %s", rec.Owner)
	}
	a.hangUp(r)
}

// TestOwnerThatLostItsCall: an instance that was thought dead finds its call taken. It stops without touching media or record, and
// what comes for the call afterwards is the new owner's.
func TestOwnerThatLostItsCall(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	p.mu.Lock()
	p.dead["a"] = true
	p.mu.Unlock()
	info := b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa")
	b.expectOut(callcore.LegCore, "INFO").respond(200, "")
	info.expect(200)

	before := len(a.mgw.kindsSeen())
	hold := a.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INVITE", holdSDP()), "fa")
	a.expectOut(callcore.LegCore, "INVITE").respond(200, coreSDP(2, "recvonly"))
	wait.Until(t, "the former owner lets go", func() bool { return len(a.Keys()) == 0 })
	if m := <-hold.got; m.Status != 200 && m.Status != 503 { // it meets the conflict before or after its answer
		t.Errorf("re-INVITE answered %d", m.Status)
	}
	if n := len(a.mgw.kindsSeen()); n != before {
		t.Errorf("the former owner commanded the MGW: %v", a.mgw.kindsSeen())
	}
	a.refused(a.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa"), 480)
	if rec := p.records()[0].Value; rec.Owner != "b" {
		t.Errorf("record of %s", rec.Owner)
	}
	b.hangUp(r)
}

// TestSuccessorRepeatsTheTransaction: an Iq transaction whose reply died with its owner is sent again by the successor with the same id
// to the same MGW, which executes it once (write-ahead).
func TestSuccessorRepeatsTheTransaction(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	left := make(chan string, 1)
	a.mgw.on(func(ctx context.Context, n Node, r *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		left <- n.MGW + ": " + kinds(r) + " " + r.GetTransactionId()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	x := a.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	want := <-left
	key := a.Keys()[0]
	a.kill()
	a.refused(x, 503) // its transaction cannot be moved
	if v := b.Notify(&iqv1.NotifyRequest{CorrelationId: key, ContextId: "cx1"}); v != iqv1.NotifyReply_VERDICT_ACK {
		t.Errorf("Notify: %v", v)
	}
	out := b.expectOut(callcore.LegCore, "INVITE") // the call goes on from its stored state
	b.mgw.mu.Lock()
	got := b.mgw.seen[0]
	b.mgw.mu.Unlock()
	if got != want {
		t.Errorf("repeated as %q, was %q", got, want)
	}
	out.respond(486, "")
	b.gone()
}

// TestAdoptionKeepsTheOrder: messages that come while the call is being looked up reach it in their order, and a CANCEL that is faster
// than the look-up cancels.
func TestAdoptionKeepsTheOrder(t *testing.T) {
	p, f := newFaultyPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	a.kill()
	release := f.stop("get")
	defer release()
	info := b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa")
	hold := b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INVITE", holdSDP()), "fa")
	b.OnCancel(callcore.LegAccess, hold, r.in(callcore.LegAccess, "ACK", ""))
	if len(b.sip.out) != 0 {
		t.Fatal("the look-up is not held")
	}
	release()
	b.expectOut(callcore.LegCore, "INFO").respond(200, "")
	offer := b.expectOut(callcore.LegCore, "INVITE")
	info.expect(200)
	hold.expect(487)
	offer.respond(200, coreSDP(2, "recvonly")) // too late; it is acknowledged all the same
	b.expectOut(callcore.LegCore, "ACK")
	b.expectOut(callcore.LegCore, "INVITE").respond(200, coreSDP(3, "sendrecv")) // the core had agreed to the hold that was cancelled
	b.expectOut(callcore.LegCore, "ACK")
	if n := count(t, b.deps.Metrics.adopted); n != 1 {
		t.Errorf("adopted %v times", n)
	}
	b.hangUp(r)
}

// TestRestartedInstanceFindsItsCalls: with a store that outlives the process an instance of the same name takes its calls up again.
func TestRestartedInstanceFindsItsCalls(t *testing.T) {
	p := newPool(t)
	a := p.instance("a")
	r := a.establish()
	a.Close()
	again := p.instance("a")
	again.hangUp(r)
}

// TestDamagedRecord: a record that cannot be read is no dialog, and stays as it is for people to look at.
func TestDamagedRecord(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	a.kill()
	e := p.records()[0]
	e.Value.State = []byte(`{"phase":7}`)
	if _, err := store.Calls(p.store).Update(t.Context(), e.ID, e.Value, e.Revision, store.Forever); err != nil {
		t.Fatal(err)
	}
	b.refused(b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa"), 481)
	if rec := p.records()[0].Value; rec.Owner != "a" {
		t.Errorf("record of %s", rec.Owner)
	}
}
