package ims

import (
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
)

// tokenOf signs the browser out and gives a token of the user, good for life.
func (p *party) tokenOf(user string, life time.Duration) string {
	p.t.Helper()
	p.ok(p.alice.Unregister(p.ctx))
	p.unbound()
	token, err := p.issuer.Token(user, audience, life, nil)
	p.ok(err)
	return token
}

// unbound waits until the core has no binding of the user.
func (p *party) unbound() {
	p.t.Helper()
	p.until("the core to hold no binding", func() (bool, any) {
		b, err := p.core.Bindings(p.ctx, p.user)
		p.ok(err)
		return len(b) == 0, b
	})
}

// withToken: the browser registers with a token; the core takes the gateway's word for it and never sees the token. It calls.
func withToken(p *party) {
	token := p.tokenOf(p.user, time.Hour)
	before := len(p.fromGateway("REGISTER"))
	p.ok(p.alice.RegisterWithToken(p.ctx, p.user, token))
	after := p.fromGateway("REGISTER")[before:]
	if len(after) != 1 {
		p.t.Fatalf("%d REGISTERs at the core, want one, without a challenge", len(after))
	}
	p.has(after[0], `integrity-protected="auth-done"`, `username="`+p.user+"@"+domain+`"`, "Path: <sip:", "P-Charging-Vector: ")
	bob := p.waits("bob", "uas", 440, nil)
	id := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(id, bob)
	p.ok(p.alice.Hangup(p.ctx, id))
	bob.done()
	carol := p.called("carol", "uac_hung_up", 880, nil)
	id = p.answer()
	carol.media(carol.got(1, "200 INVITE").Body)
	p.talking(id, carol)
	p.ok(p.alice.Hangup(p.ctx, id))
	carol.done()
	all, err := p.core.Tap().Messages()
	p.ok(err)
	for _, m := range all {
		if strings.Contains(m.Text, "Bearer") || strings.Contains(m.Text, token[len(token)-40:]) {
			p.t.Errorf("the token reached the core:\n%s", m.Text)
		}
	}
}

// otherToken: a token does not sign anybody else in, and the core hears nothing of it.
func otherToken(p *party) {
	token := p.tokenOf("mallory", time.Hour)
	before := len(p.fromGateway("REGISTER"))
	if err := p.alice.RegisterWithToken(p.ctx, p.user, token); err == nil {
		p.t.Error("mallory's token signs " + p.user + " in")
	}
	if s, err := p.alice.State(p.ctx); err != nil || s.Registration != "failed" || s.Failure == nil || s.Failure.Status != 403 {
		p.t.Errorf("the phone: %+v, %v", s, err)
	}
	if n := len(p.fromGateway("REGISTER")) - before; n != 0 {
		p.t.Errorf("%d REGISTERs at the core", n)
	}
	p.unbound()
}

// tokenEnds: the token comes with the WebSocket's HTTP request. The registration ends with the token: the core is told, the call is hung up, the browser's connection closes.
func tokenEnds(p *party) {
	p.ok(p.alice.RegisterAt(p.ctx, p.user, "ws://localhost:8080/sip?access_token="+p.tokenOf(p.user, 8*time.Second)))
	bob := p.waits("bob", "uas", 440, nil)
	id := p.dial(bob.name)
	p.inState(id, "connected")
	closed := p.closings()
	bob.got(1, "BYE")
	p.inState(id, "ended")
	bob.done()
	p.unbound()
	p.until("the browser's connection to be closed", func() (bool, any) { n := p.closings(); return n > closed, n })
	ended := p.tapped(func(m kamailio.Message) bool {
		return strings.HasPrefix(m.Text, "REGISTER") && strings.Contains(m.Text, p.user)
	})
	p.has(ended[len(ended)-1], "Expires: 0", "auth-done")
}
