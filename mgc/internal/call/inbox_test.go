package call

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestInboxLimits: what peers send at will is bounded; what the call waits for always gets in, in order.
func TestInboxLimits(t *testing.T) {
	b := newInbox()
	for range inboxSize {
		if got := b.put(callcore.AckIn{}); got != taken {
			t.Fatalf("got %v", got)
		}
	}
	for _, ev := range []callcore.Event{callcore.RequestIn{}, callcore.AckIn{}, callcore.IqNotify{}, callcore.Play{}, callcore.ResponseIn{Msg: headers.Msg{Status: 180}},
		callcore.ResponseIn{Msg: headers.Msg{Status: 200}, Retransmission: true}} {
		if got := b.put(ev); got != full {
			t.Errorf("%T into a full inbox: %v", ev, got)
		}
	}
	needed := []callcore.Event{callcore.ResponseIn{Msg: headers.Msg{Status: 200}}, callcore.TxFailed{}, callcore.IqReply{}, callcore.TimerFired{},
		callcore.CancelIn{}, callcore.Release{}, callcore.FlowLost{}, callcore.FlowBack{}, resumed{}}
	for _, ev := range needed {
		if got := b.put(ev); got != taken {
			t.Errorf("%T into a full inbox: %v", ev, got)
		}
	}
	for range inboxSize {
		if _, ok := b.next(); !ok {
			t.Fatal("events are missing")
		}
	}
	if ev, ok := b.next(); !ok || ev.(callcore.ResponseIn).Msg.Status != 200 {
		t.Errorf("out of order: %v", ev)
	}
	if left := b.close(); len(left) != len(needed)-1 {
		t.Errorf("%d left", len(left))
	}
	if got := b.put(callcore.IqReply{}); got != over {
		t.Errorf("into a closed inbox: %v", got)
	}
	if _, ok := b.next(); ok {
		t.Error("a closed inbox gave an event")
	}
}

// TestFloodedCall: a call whose owner is held up answers what it cannot take, loses nothing that it has taken, and ends as usual.
func TestFloodedCall(t *testing.T) {
	p, f := newFaultyPool(t)
	i := p.instance("m1")
	r := i.establish()
	release := f.stop("update")
	defer release()
	// A re-INVITE without change goes to the MGW at once: its owner waits for the write-ahead.
	held := i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INVITE", bumped(browserSDP, 9)), "fa")
	held.expect(200)
	i.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fa")
	var asked []*tx
	for range inboxSize + 20 {
		asked = append(asked, i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "OPTIONS", ""), "fa"))
	}
	if v := i.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"}); v != iqv1.NotifyReply_VERDICT_RETRY_LATER {
		t.Errorf("Notify into a full inbox: %v", v)
	}
	if err := i.Play(t.Context(), r.key, callcore.LegCore, nil); gwerr.CodeOf(err) != gwerr.ServiceUnavailable {
		t.Errorf("Play into a full inbox: %v", err)
	}
	refused := 0
	for _, x := range asked[inboxSize-1:] {
		if len(x.got) == 1 {
			x.expect(500)
			refused++
		}
	}
	if refused < 20 || refused > 22 { // the owner had taken one event out, or not
		t.Fatalf("%d requests refused, want about 20", refused)
	}
	i.Deregistered("alice")
	release()
	n := len(asked) - refused
	for range n {
		i.expectOut(callcore.LegCore, "OPTIONS").respond(200, "")
	}
	for _, x := range asked[:n] {
		x.expect(200)
	}
	i.expectOut(callcore.LegAccess, "BYE").respond(200, "")
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	i.gone()
	if d := count(t, i.deps.Metrics.dropped); d != float64(refused+2) {
		t.Errorf("%v events counted as dropped, want %d", d, refused+2)
	}
}
