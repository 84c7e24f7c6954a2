package app

import (
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestOrderedStopKeepsTheCalls: an instance of a pool stops as for an upgrade; its browser is told to connect elsewhere (1001) and does, and the call goes
// on there and is ended from either side.
func TestOrderedStopKeepsTheCalls(t *testing.T) {
	s := newSite(t)
	url := startStore(t)
	k := s.core()
	one, two := s.controller(10, "--store.url="+url), s.controller(11, "--store.url="+url)
	s.gateway(two)
	b := one.browser("alice")
	b.register(600)
	<-k.path
	wait.Until(t, "both know node and browser", func() bool { return one.ready() == nil && len(two.registrar.All()) == 1 })
	answer, _ := placeCall(one, b, k)
	_, invite := placeCall(one, b, k)
	for _, key := range one.calls.Keys() {
		one.calls.Notify(&iqv1.NotifyRequest{CorrelationId: key, ContextId: "cx1", Events: []*iqv1.ObservedEvent{{
			Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}}})
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	if err := one.ready(); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("ready: %v", err)
	}
	if err := wait.Receive(t, b.closed); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the browser is told %v", err)
	}
	wait.Until(t, "the calls are at the other instance", func() bool { return len(two.calls.Keys()) == 2 })
	var told [2]headers.Msg
	for i := range told { // the core learns where its requests go now
		told[i] = k.expect("INVITE", 0)
		if target := contact(t, &told[i]); !strings.Contains(target, s.addr(11, 5070)) {
			t.Errorf("Contact %s is not the new owner's", target)
		}
	}
	for _, m := range told {
		k.answer(two, &m, 200, coreSDP)
	}
	k.expect("ACK", 0)
	k.expect("ACK", 0)
	again := two.browser("alice2")
	again.register(600)
	bye := headers.Msg{Method: "BYE", RequestURI: contact(t, &answer)}
	for _, f := range [][2]string{{"To", answer.Get("To")}, {"Call-ID", answer.Get("Call-ID")}, {"CSeq", "9 BYE"}} {
		bye.Add(f[0], f[1])
	}
	again.send(bye)
	again.expect("BYE", 200)
	got := k.expect("BYE", 0)
	k.answer(two, &got, 200, "")

	if told[0].Get("Call-ID") == invite.Get("Call-ID") {
		invite = told[0]
	} else {
		invite = told[1]
	}
	bye = headers.Msg{Method: "BYE", RequestURI: contact(t, &invite)}
	for _, f := range [][2]string{{"Max-Forwards", "70"}, {"From", invite.Get("To")}, {"To", invite.Get("From")}, {"Call-ID", invite.Get("Call-ID")}, {"CSeq", "1 BYE"}} {
		bye.Add(f[0], f[1])
	}
	k.send(two, "b9", bye)
	k.expect("BYE", 200)
	got = again.expect("BYE", 0)
	again.write(reply(&got, 200, "", "<sip:alice@df7.invalid;transport=ws>"))
	wait.Until(t, "the calls are gone", func() bool { n, err := two.engine.Count(t.Context()); return err == nil && n["call"] == 0 })
}
