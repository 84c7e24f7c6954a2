package call

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const browserSDP = "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 8 110 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
	"a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n" +
	"a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\n" +
	"a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n"

// coreSDP is a description of the SIP user, version n, with the direction.
func coreSDP(n int, direction string) string {
	return fmt.Sprintf("v=0\r\no=- 1 %d IN IP4 10.0.0.7\r\ns=-\r\nc=IN IP4 10.0.0.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=%s\r\n", n, direction)
}

// request makes a request outside a dialog from alice to carol.
func request(method, body string) headers.Msg {
	m := headers.Msg{Method: method, RequestURI: "sip:carol@x.example", Body: []byte(body)}
	for _, f := range [][2]string{{"Via", "SIP/2.0/WS df7.invalid;branch=z9hG4bKa1"}, {"From", `"Alice" <sip:alice@x.example>;tag=f1`}, {"To", "<sip:carol@x.example>"},
		{"Call-ID", "c1"}, {"CSeq", "1 " + method}, {"Max-Forwards", "70"}, {"Contact", "<sip:alice@df7.invalid;transport=ws>"}} {
		m.Add(f[0], f[1])
	}
	if body != "" {
		m.Add("Content-Type", "application/sdp")
	}
	return m
}

// running is an answered call that alice began.
type running struct {
	t      *testing.T
	key    string
	answer headers.Msg // 200 to the browser
	invite *sent       // INVITE to the core
	seq    map[callcore.Leg]int
}

// setUp lets alice call carol at i.
func (i *instance) setUp() *running {
	i.t.Helper()
	before := i.Keys()
	x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	out := i.expectOut(callcore.LegCore, "INVITE")
	out.respond(180, "")
	x.expect(180)
	out.respond(200, coreSDP(1, "sendrecv"))
	i.expectOut(callcore.LegCore, "ACK")
	r := &running{t: i.t, answer: x.expect(200), invite: out, seq: map[callcore.Leg]int{callcore.LegAccess: 1, callcore.LegCore: 0}}
	r.key = slices.DeleteFunc(i.Keys(), func(k string) bool { return slices.Contains(before, k) })[0]
	ack := r.in(callcore.LegAccess, "ACK", "")
	i.OnAck(callcore.LegAccess, ack, "fa")
	i.connected(r.key)
	return r
}

// establish is setUp until the call is stored.
func (i *instance) establish() *running {
	i.t.Helper()
	r := i.setUp()
	wait.Until(i.t, "the settled call is in the store", func() bool {
		return slices.ContainsFunc(i.pool.records(), func(e store.Entry[store.Call]) bool {
			return strings.Contains(string(e.Value.State), r.key) && settled(e.Value.State)
		})
	})
	return r
}

// settled reports whether the stored state is that of an answered call with nothing open.
func settled(state []byte) bool {
	s := string(state)
	return strings.Contains(s, `"phase":"up"`) && strings.Contains(s, `"secure":true`) && !strings.Contains(s, `"waiting"`) && !strings.Contains(s, `"timers"`) && !strings.Contains(s, `"clients":{"c`)
}

// connected lets the MGW tell that the browser's DTLS is up.
func (i *instance) connected(key string) {
	i.t.Helper()
	v := i.Notify(&iqv1.NotifyRequest{CorrelationId: key, ContextId: "cx1", Events: []*iqv1.ObservedEvent{{
		Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}}})
	if v != iqv1.NotifyReply_VERDICT_ACK {
		i.t.Fatalf("Notify: %v", v)
	}
}

// in makes the next request inside the call's dialog of the leg, as that peer sends it.
func (r *running) in(leg callcore.Leg, method, body string) headers.Msg {
	r.t.Helper()
	if method != "ACK" {
		r.seq[leg]++
	}
	m := headers.Msg{Method: method, Body: []byte(body)}
	contact, from, to, id := r.answer.Get("Contact"), r.answer.Get("From"), r.answer.Get("To"), "c1"
	if leg == callcore.LegCore {
		contact, from, to, id = r.invite.msg.Get("Contact"), r.invite.msg.Get("To")+";tag=peer", r.invite.msg.Get("From"), r.invite.msg.Get("Call-ID")
	}
	a, err := headers.ParseAddress(contact)
	if err != nil {
		r.t.Fatal(err)
	}
	m.RequestURI = a.URI
	for _, f := range [][2]string{{"Via", "SIP/2.0/WS df7.invalid;branch=z9hG4bKa1"}, {"From", from}, {"To", to}, {"Call-ID", id}, {"CSeq", fmt.Sprintf("%d %s", r.seq[leg], method)}, {"Max-Forwards", "70"}} {
		m.Add(f[0], f[1])
	}
	if method == "INVITE" {
		m.Add("Contact", map[callcore.Leg]string{callcore.LegAccess: "<sip:alice@df7.invalid;transport=ws>", callcore.LegCore: "<sip:peer@10.0.0.7:5060>"}[leg])
	}
	if body != "" {
		m.Add("Content-Type", "application/sdp")
	}
	return m
}

// hangUp ends the call from the browser and waits until nothing of it is left.
func (i *instance) hangUp(r *running) {
	i.t.Helper()
	i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa").expect(200)
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	i.gone()
}

// gone waits until the instance holds nothing and the store no call.
func (i *instance) gone() {
	i.t.Helper()
	wait.Until(i.t, "calls, look-ups and records are gone", func() bool {
		i.mu.Lock()
		left := len(i.calls) + len(i.ending) + len(i.adopting) + len(i.invites)
		i.mu.Unlock()
		return left == 0 && len(i.pool.records()) == 0
	})
}

func TestCallIsHeldAndLetGo(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	list := i.List()
	if len(list) != 1 || list[0].State != "confirmed" || list[0].Record.MGW != "g-m1" || list[0].Record.Context != "cx1" || list[0].Record.Key != r.key {
		t.Errorf("listed %+v", list)
	}
	rec := p.records()[0].Value
	if rec.Owner != "m1" || rec.MGW != "g-m1" || rec.Boot != "b1" || rec.Context != "cx1" || rec.Flow != "alice" || rec.Key != r.key {
		t.Errorf("record %+v", rec)
	}
	if route := r.invite.msg.Get("Route"); route != "<sip:orig@core.example;lr>" {
		t.Errorf("INVITE leaves by Route %q, not by the Service-Route", route)
	}
	i.hangUp(r)
	if !has(i.mgw.kindsSeen(), "g-m1: Add Add", "g-m1: Modify Modify", "g-m1: Subtract") {
		t.Errorf("MGW was told %v", i.mgw.kindsSeen())
	}
	if n := count(t, i.deps.Metrics.active); n != 0 {
		t.Errorf("%v calls active", n)
	}
}

func TestCallFromTheCore(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	m := request("INVITE", coreSDP(1, "sendrecv"))
	m.Set("Route", "<sip:path-bob@mgc.example:5070;lr>")
	x := i.ask(callcore.LegCore, m, "")
	out := i.expectOut(callcore.LegAccess, "INVITE")
	if out.flow != "fb" || out.msg.RequestURI != "sip:bob@df7.invalid;transport=ws" || out.msg.Has("Route") {
		t.Errorf("INVITE over flow %s to %s, Route %q", out.flow, out.msg.RequestURI, out.msg.Get("Route"))
	}
	out.respond(486, "")
	x.expect(486)
	i.gone()
}
