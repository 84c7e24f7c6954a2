package browser

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
)

// bindings of alice at Kamailio.
func (p *party) bindings() []kamailio.Binding {
	p.t.Helper()
	b, err := p.core.Bindings(p.ctx, "alice")
	p.ok(err)
	return b
}

// oneBinding checks that alice is registered once, through the gateway.
func (p *party) oneBinding() kamailio.Binding {
	p.t.Helper()
	all := p.bindings()
	if len(all) != 1 {
		p.t.Fatalf("alice has %d bindings, want 1: %+v", len(all), all)
	}
	if !strings.Contains(all[0].Path, "@"+gateway) || !strings.Contains(all[0].Path, ";lr") {
		p.t.Fatalf("the Path %q does not lead to the gateway", all[0].Path)
	}
	return all[0]
}

// registered: the browser's REGISTER was challenged by Kamailio, answered by the browser, and stored with our Path.
func registered(p *party) {
	p.oneBinding()
	challenged, accepted := false, false
	for _, m := range p.wire(0) {
		if m.From == addr(sipCore) && m.To == addr(gateway) && strings.HasSuffix(m.Header("CSeq"), "REGISTER") {
			challenged = challenged || strings.HasPrefix(m.StartLine(), "SIP/2.0 401")
			accepted = accepted || challenged && strings.HasPrefix(m.StartLine(), "SIP/2.0 200")
		}
	}
	if !challenged || !accepted {
		p.t.Errorf("challenged %v, then accepted %v; want both", challenged, accepted)
	}
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// wrongPassword: a clear text for the user, and no binding.
func wrongPassword(p *party) {
	mallory, err := p.browser.Open(p.ctx, "mallory", phoneURL, micHz)
	p.ok(err)
	defer func() { p.ok(mallory.Close(p.ctx)) }()
	err = mallory.Register(p.ctx, "bob", "guess")
	if err == nil || !strings.Contains(err.Error(), "Wrong user name or password") {
		p.t.Errorf("the phone says %v", err)
	}
	s, err := mallory.State(p.ctx)
	p.ok(err)
	if s.Registration != "failed" || s.Failure == nil || s.Failure.Code != "auth" {
		p.t.Errorf("the phone is %s, %+v; want failed, auth", s.Registration, s.Failure)
	}
	bobs, err := p.core.Bindings(p.ctx, "bob")
	p.ok(err)
	for _, b := range bobs {
		if strings.Contains(b.Path, gateway) {
			p.t.Errorf("bob is bound through the gateway: %+v", b)
		}
	}
}

// refreshed: with a short expiry the phone registers again by itself; the binding is renewed, not doubled, and works.
func refreshed(p *party) {
	p.ok(p.core.LongestBinding(p.ctx, 10))
	defer func() { p.ok(p.core.LongestBinding(p.ctx, 0)) }()
	p.ok(p.alice.Register(p.ctx, "alice", "wonderland")) // signs out and in
	before := p.oneBinding()
	if before.Expires > 10 {
		p.t.Fatalf("the binding lasts %d s, want at most 10", before.Expires)
	}
	p.untilWithin(12*time.Second, "a refreshed binding", func() (bool, any) {
		b := p.oneBinding()
		return b.CSeq > before.CSeq && b.Contact == before.Contact, b
	})
	p.ok(p.core.LongestBinding(p.ctx, 0))
	p.ok(p.alice.Register(p.ctx, "alice", "wonderland"))
	p.oneBinding()
	id := p.talk()
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// signInAgain: the old registration is gone before the new one begins. Both have the same instance-id, so that a registrar takes the
// removal of the old contact for that of the new one (RFC 5626 §6).
func signInAgain(p *party) {
	p.ok(p.core.DawdleOverGoodbyes(p.ctx, true))
	defer func() { p.ok(p.core.DawdleOverGoodbyes(p.ctx, false)) }()
	n := len(p.wire(0))
	p.ok(p.alice.Register(p.ctx, "alice", "wonderland"))
	old, removed := "", false
	for _, m := range p.wire(n) {
		id, isRegister := m.Header("Call-ID"), strings.HasSuffix(m.Header("CSeq"), "REGISTER")
		switch {
		case !isRegister || m.From != addr(gateway) && m.To != addr(gateway):
		case old == "":
			old = id
		case id == old:
			removed = removed || strings.HasPrefix(m.StartLine(), "SIP/2.0 200")
		case !removed:
			p.t.Fatalf("the new registration began before the old one was gone: %s", m.StartLine())
		}
	}
	p.oneBinding()
	id := p.talk()
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// pageReload: the page comes back, is registered once, and calls work in both directions.
func pageReload(p *party) {
	p.ok(p.alice.Reload(p.ctx, micHz))
	p.ok(p.alice.Register(p.ctx, "alice", "wonderland"))
	p.oneBinding()
	browserCalls(p)
	p.bob.Forget()
	baresipCalls(p)
}

// signOut: the binding is gone and a call to alice ends with 480; then alice signs in again.
func signOut(p *party) {
	p.ok(p.alice.Unregister(p.ctx))
	p.until("alice's binding to be gone", func() (bool, any) { b := p.bindings(); return len(b) == 0, b })
	mark := p.bob.Mark()
	p.tell(p.bob, "dial", "sip:alice@"+domain)
	if e := p.told(p.bob, mark, "CALL_CLOSED"); !strings.Contains(e.Param, "480") {
		p.t.Errorf("baresip was told %q, want 480", e.Param)
	}
	p.ok(p.alice.Register(p.ctx, "alice", "wonderland"))
	p.oneBinding()
}

// messages: a text each way, in its exact words.
func messages(p *party) {
	const there, back = "Grüße, bob! <1>", "hello alice, all is well"
	n := len(p.wire(0))
	p.ok(p.alice.Message(p.ctx, "sip:bob@"+domain, there))
	m := p.onWire(n, "bob's copy of the text", func(m kamailio.Message) bool {
		return strings.HasPrefix(m.StartLine(), "MESSAGE") && m.To.Port() == 5070 && m.To.Addr().String() == "10.77.0.2"
	})
	if m.Body() != there {
		p.t.Errorf("bob got %q, want %q", m.Body(), there)
	}
	p.tell(p.bob, "message", back)
	p.until("both texts in the phone", func() (bool, any) {
		texts, err := p.alice.Messages(p.ctx)
		sent, got := false, false
		for _, x := range texts {
			sent = sent || x.Direction == "out" && x.Text == there && x.Status == "sent"
			got = got || x.Direction == "in" && x.Text == back && x.Peer == "bob"
		}
		return sent && got, fmt.Sprint(texts, err)
	})
}

// webRTC are words that belong to a browser's description and mean nothing, or harm, in a SIP core.
var webRTC = []string{
	"SAVPF", "UDP/TLS", "fingerprint", "ice-ufrag", "ice-pwd", "ice-options", "candidate", "a=setup", "a=group", "a=mid", "a=msid",
	"a=extmap", "rtcp-mux", "bundle", "opus", "a=ssrc", "rtcp-fb", "tls-id",
}

// coreIsPlain looks at every description that the gateway gave Kamailio.
func (w *world) coreIsPlain(t *testing.T) {
	all, err := w.core.Tap().Messages()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range all {
		if m.From != addr(gateway) || m.Header("Content-Type") != "application/sdp" {
			continue
		}
		seen++
		for _, word := range webRTC {
			if strings.Contains(strings.ToLower(m.Body()), strings.ToLower(word)) {
				t.Errorf("%s: %q in\n%s", m.StartLine(), word, m.Body())
			}
		}
		if !strings.Contains(m.Body(), " RTP/AVP ") {
			t.Errorf("%s: no RTP/AVP in\n%s", m.StartLine(), m.Body())
		}
	}
	if seen == 0 {
		t.Error("no description of the gateway was seen")
	}
}
