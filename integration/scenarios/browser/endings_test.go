package browser

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
)

// status waits for a response to a request of a method at Kamailio, from or to the gateway, after the first n messages.
func (p *party) status(n int, line, method string) {
	p.t.Helper()
	p.onWire(n, line+" to "+method, func(m kamailio.Message) bool {
		return strings.HasPrefix(m.StartLine(), "SIP/2.0 "+line) && strings.HasSuffix(m.Header("CSeq"), method) &&
			(m.From.String() == gateway || m.To.String() == gateway)
	})
}

// cancelByBrowser: the browser gives up while baresip rings.
func cancelByBrowser(p *party) {
	n, mark := len(p.wire(0)), p.bob.Mark()
	id := p.dial("bob")
	p.told(p.bob, mark, "CALL_INCOMING")
	p.inState(id, "ringing")
	p.ok(p.alice.Hangup(p.ctx, id))
	p.told(p.bob, mark, "CALL_CLOSED")
	p.status(n, "487", "INVITE")
	if c := p.inState(id, "ended"); c.EndTitle != "Call cancelled" {
		p.t.Errorf("the phone says %q of a cancelled call", c.EndTitle)
	}
}

// cancelByBaresip: baresip gives up while the browser rings.
func cancelByBaresip(p *party) {
	n, mark := len(p.wire(0)), p.bob.Mark()
	p.tell(p.bob, "dial", "sip:alice@"+domain)
	c := p.incoming()
	p.told(p.bob, mark, "CALL_RINGING")
	p.tell(p.bob, "hangup", "")
	if c = p.inState(c.ID, "ended"); c.EndTitle != "Missed call" {
		p.t.Errorf("the phone says %q of a call that the caller gave up", c.EndTitle)
	}
	p.status(n, "487", "INVITE")
}

// baresipBusy: baresip refuses with 486 and the browser is told so.
func baresipBusy(p *party) {
	mark := p.bob.Mark()
	id := p.dial("bob")
	p.told(p.bob, mark, "CALL_INCOMING")
	p.inState(id, "ringing")
	p.tell(p.bob, "hangup", "")
	p.failed(id, "busy", 486)
}

// failed waits for the end of a call and checks the reason that the phone shows.
func (p *party) failed(id, code string, status int) {
	p.t.Helper()
	c := p.inState(id, "ended")
	if c.Failure == nil || c.Failure.Code != code || c.Failure.Status != status {
		p.t.Errorf("the phone shows %+v, want %s (%d)", c.Failure, code, status)
	}
}

// browserRejects: the browser refuses with 486 and baresip is told so.
func browserRejects(p *party) {
	n, mark := len(p.wire(0)), p.bob.Mark()
	p.tell(p.bob, "dial", "sip:alice@"+domain)
	c := p.incoming()
	p.ok(p.alice.Reject(p.ctx, c.ID, 486))
	if e := p.told(p.bob, mark, "CALL_CLOSED"); !strings.Contains(e.Param, "486") {
		p.t.Errorf("baresip was told %q, want 486", e.Param)
	}
	p.status(n, "486", "INVITE")
	p.inState(c.ID, "ended")
}

// nobodyAnswers: the core gives up with 408; the far end stops ringing and the browser is told. And the other way round.
func nobodyAnswers(p *party) {
	mark := p.bob.Mark()
	id := p.dial("unanswered-bob")
	p.told(p.bob, mark, "CALL_INCOMING")
	p.inState(id, "ringing")
	p.told(p.bob, mark, "CALL_CLOSED")
	p.failed(id, "timeout", 408)

	mark = p.bob.Mark()
	p.tell(p.bob, "dial", "sip:unanswered-alice@"+domain)
	c := p.incoming()
	if e := p.told(p.bob, mark, "CALL_CLOSED"); !strings.Contains(e.Param, "408") {
		p.t.Errorf("baresip was told %q, want 408", e.Param)
	}
	if c = p.inState(c.ID, "ended"); c.EndTitle != "Missed call" {
		p.t.Errorf("the phone says %q of a call that it did not answer", c.EndTitle)
	}
}

// unknownUser: the registrar's 404 reaches the browser.
func unknownUser(p *party) { p.failed(p.dial("nobody"), "not-found", 404) }

// callChallenged: the proxy asks for credentials (407) and the phone's digest passes through the gateway.
func callChallenged(p *party) {
	p.ok(p.core.ChallengeCalls(p.ctx, true))
	defer func() { p.ok(p.core.ChallengeCalls(p.ctx, false)) }()
	n := len(p.wire(0))
	id := p.talk()
	p.status(n, "407", "INVITE")
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}
