package call

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// newJoinedPool is newPool whose instances have a bus.
func newJoinedPool(t *testing.T) *pool {
	p := newPool(t)
	p.joined = true
	return p
}

// at says that the browser's connection is at the instance.
func (b *bindings) at(id, instance string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.byID[id]
	x.FlowID, x.Elsewhere = "", instance
	b.byID[id] = x
}

// idle waits until the instance has nothing of other instances in hand.
func (i *instance) idle() {
	i.t.Helper()
	wait.Until(i.t, "no forwarded request is left", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return len(i.away) == 0 })
}

// TestMO05_RequestsReachTheOwner: what strays to another instance is worked on by the owner of the call, and answered where it came in.
func TestMO05_RequestsReachTheOwner(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	b.bind.at("alice", "a")
	r := a.establish()

	info := b.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "")
	out := a.expectOut(callcore.LegAccess, "INFO")
	stranger := envelope{Kind: kindResponse, From: "c", Tx: info.ID(), msg: headers.NewResponse(&info.req, 603, "")}
	if raw, err := stranger.encode(); err != nil {
		t.Fatal(err)
	} else if _, err := b.onParcel(t.Context(), raw); err != nil { // it was not asked
		t.Fatal(err)
	}
	out.respond(200, "", headers.Field{Name: "Subject", Value: "from the browser"})
	resp := info.expect(200)
	if resp.Get("Subject") != "from the browser" || resp.Get("CSeq") != "1 INFO" {
		t.Errorf("answer %+v", resp)
	}
	b.idle()

	// A re-INVITE: provisional and final responses, and the ACK on the same way. Without the ACK the owner repeats its answer.
	hold := b.ask(callcore.LegCore, r.in(callcore.LegCore, "INVITE", coreSDP(2, "sendonly")), "")
	a.expectOut(callcore.LegAccess, "INVITE").respond(200, answerToHold)
	a.expectOut(callcore.LegAccess, "ACK")
	if resp := hold.expect(200); !strings.Contains(string(resp.Body), "a=recvonly") || headers.MediaType(&resp) != "application/sdp" {
		t.Errorf("answer %+v", resp)
	}
	hold.expect(200) // repeated
	b.OnAck(callcore.LegCore, r.in(callcore.LegCore, "ACK", ""), "")
	wait.Until(t, "the ACK has come", func() bool { return settled(p.records()[0].Value.State) })

	b.ask(callcore.LegCore, r.in(callcore.LegCore, "BYE", ""), "").expect(200)
	a.expectOut(callcore.LegAccess, "BYE").respond(200, "")
	a.gone()
	if len(b.Keys())+len(b.sip.out)+len(b.mgw.kindsSeen()) != 0 {
		t.Error("the other instance meddled")
	}
}

// answerToHold is what the browser answers to a hold of the core.
var answerToHold = strings.Replace(strings.Replace(bumped(browserSDP, 5), "a=sendrecv", "a=recvonly", 1), "a=setup:actpass", "a=setup:active", 1)

// TestForwardedFromTheBrowsersSide: who may speak for a dialog is judged where the connection is.
func TestForwardedFromTheBrowsersSide(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	b.bind.set("alice", "fa9") // she has registered over b, and a does not know yet
	b.refused(b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fb"), 403)
	b.refused(b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fx"), 403)
	b.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fx")
	info := b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa9")
	a.expectOut(callcore.LegCore, "INFO").respond(200, "")
	info.expect(200)
	if n := count(t, b.deps.Metrics.forwarded); n != 1 {
		t.Errorf("%v requests forwarded", n)
	}
	a.hangUp(r)
}

// TestREG14_CallsForABrowserElsewhere: an INVITE or MESSAGE of the core that comes to another instance than the browser's reaches it, with
// everything that belongs to it; CANCEL too.
func TestREG14_CallsForABrowserElsewhere(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	b.bind.at("bob", "a")
	invite := request("INVITE", coreSDP(1, "sendrecv"))
	invite.Set("Route", "<sip:path-bob@mgc.example:5070;lr>")
	x := b.ask(callcore.LegCore, invite, "")
	out := a.expectOut(callcore.LegAccess, "INVITE")
	if out.flow != "fb" || out.msg.RequestURI != "sip:bob@df7.invalid;transport=ws" {
		t.Errorf("INVITE over %s to %s", out.flow, out.msg.RequestURI)
	}
	out.respond(180, "")
	x.expect(180)
	cancel := request("CANCEL", "")
	cancel.Add("Reason", "SIP;cause=200")
	b.OnCancel(callcore.LegCore, x, cancel)
	x.expect(487)
	if extra := <-out.cancel; len(extra) != 1 || extra[0].Value != "SIP;cause=200" {
		t.Errorf("CANCEL with %v", extra)
	}
	out.respond(487, "")
	a.gone()
	b.idle()

	msg := dressed("MESSAGE")
	msg.Add("Route", "<sip:path-bob@mgc.example:5070;lr>")
	y := b.alone(callcore.LegCore, msg, "")
	sent := a.expectOut(callcore.LegAccess, "MESSAGE")
	checkCrossing(t, "MESSAGE", &sent.msg)
	sent.respond(202, "")
	y.expect(202)
	b.idle()
}

// TestCancelWhileTheOwnerIsLookedFor is forwarded after its INVITE.
func TestCancelWhileTheOwnerIsLookedFor(t *testing.T) {
	p := newJoinedPool(t)
	f := &faulty{Store: p.store}
	p.store = f
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	release := f.stop("get")
	defer release()
	hold := b.ask(callcore.LegCore, r.in(callcore.LegCore, "INVITE", coreSDP(2, "sendonly")), "")
	b.OnCancel(callcore.LegCore, hold, r.in(callcore.LegCore, "ACK", ""))
	release()
	offer := a.expectOut(callcore.LegAccess, "INVITE")
	hold.expect(487)
	offer.respond(200, answerToHold) // too late; it is acknowledged all the same
	a.expectOut(callcore.LegAccess, "ACK")
	a.expectOut(callcore.LegAccess, "INVITE").respond(200, strings.Replace(answerToHold, "a=recvonly", "a=sendrecv", 1)) // the browser had agreed to it
	a.expectOut(callcore.LegAccess, "ACK")
	a.hangUp(r)
}

// TestNobodyHasTheBrowser: instances that each believe the other has it do not send a request to and fro.
func TestNobodyHasTheBrowser(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	a.bind.at("bob", "b")
	b.bind.at("bob", "a")
	for _, method := range []string{"INVITE", "MESSAGE"} {
		m := request(method, coreSDP(1, "sendrecv"))
		m.Set("Route", "<sip:path-bob@mgc.example:5070;lr>")
		x := b.tx(m)
		if method == "INVITE" {
			b.OnRequest(callcore.LegCore, x, m, "")
		} else {
			b.OnStandalone(callcore.LegCore, x, m, "")
		}
		b.refused(x, 430)
	}
	b.idle()
}

// TestOwnerDies: a forwarded request is answered although its owner cannot any more, at once when it is known to be gone.
func TestOwnerDies(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	b.bind.at("alice", "a")
	r := a.establish()
	info := b.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), "")
	a.expectOut(callcore.LegAccess, "INFO") // and no answer
	wait.Until(t, "the open request is in the record", func() bool { return strings.Contains(string(p.records()[0].Value.State), `"clients":{"c`) })
	a.stop() // still alive as far as the pool knows
	select {
	case m := <-info.got: // its 503 may have made it
		if m.Status != 503 {
			t.Errorf("got %d", m.Status)
		}
	default:
		b.InstanceGone("other")
		b.InstanceGone("a")
		b.refused(info, 503)
	}
	b.refused(b.ask(callcore.LegCore, r.in(callcore.LegCore, "INFO", ""), ""), 503) // nobody serves the subject
	if v := b.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"}); v != iqv1.NotifyReply_VERDICT_RETRY_LATER {
		t.Errorf("Notify: %v", v)
	}
	a.kill()
	b.bind.set("alice", "fa9")
	b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa9").expect(200)
	b.expectOut(callcore.LegCore, "BYE").respond(200, "")
	b.gone()
	b.idle()
}

// TestEventsReachTheOwner: an MGW may tell any instance.
func TestEventsReachTheOwner(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	v := b.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1", Events: []*iqv1.ObservedEvent{{
		Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "failed", "reason": "fingerprint"}}}})
	if v != iqv1.NotifyReply_VERDICT_ACK {
		t.Errorf("verdict %v", v)
	}
	for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
		a.expectOut(leg, "BYE").respond(200, "")
	}
	a.gone()
}

// TestNewOwnerIsTold: a call that follows its browser is adopted without waiting for a message.
func TestNewOwnerIsTold(t *testing.T) {
	p := newJoinedPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	a.moves(b, "fb2")
	wait.Until(t, "the new owner has it", func() bool { return slices.Equal(b.Keys(), []string{r.key}) && len(a.Keys()) == 0 })
	b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fb2").expect(200)
	b.expectOut(callcore.LegCore, "BYE").respond(200, "")
	b.gone()
}

// TestEnvelopes: what is written is read back; what is not one is refused.
func TestEnvelopes(t *testing.T) {
	req := request("MESSAGE", "")
	req.Body = bytes.Repeat([]byte{'\n', 0xff}, 30000)
	req.Set("Content-Type", "text/plain")
	resp := headers.NewResponse(&req, 200, "")
	for _, e := range []envelope{{Kind: kindRequest, From: "a", Tx: "t", Leg: callcore.LegCore, msg: req}, {Kind: kindAck, From: "a", msg: req},
		{Kind: kindResponse, From: "a", Tx: "t", msg: resp}, {Kind: kindAdopt, From: "a", Key: newKey()}} {
		b, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeEnvelope(b)
		if err != nil || got.Kind != e.Kind || got.Leg != e.Leg || got.Tx != e.Tx || got.Key != e.Key || !bytes.Equal(got.msg.Body, e.msg.Body) || got.msg.Status != e.msg.Status {
			t.Errorf("%s: %v", e.Kind, err)
		}
	}
	for _, bad := range []string{"", "{}", "{}\n", "x\n", `{"k":"request","f":"a","t":"1"}` + "\ngarbage", `{"k":"adopt","f":"a","c":"x"}` + "\n"} {
		if _, err := decodeEnvelope([]byte(bad)); !errors.Is(err, errEnvelope) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	raw, err := resp.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeEnvelope(append([]byte(`{"k":"request","f":"a","t":"1"}`+"\n"), raw...)); !errors.Is(err, errEnvelope) {
		t.Errorf("a response as request: %v", err)
	}
}

func FuzzEnvelope(f *testing.F) {
	req := request("MESSAGE", "")
	for _, e := range []envelope{{Kind: kindRequest, From: "a", Tx: "t", msg: req}, {Kind: kindResponse, From: "a", Tx: "t", msg: headers.NewResponse(&req, 200, "")}, {Kind: kindAdopt, From: "a", Key: newKey()}} {
		b, err := e.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEnvelope(b)
		if err != nil {
			return
		}
		again, err := e.encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := decodeEnvelope(again); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}
