package ims

import (
	"strings"
)

// unmet and met are preconditions of an offer of the gateway's: its own resources are there, those of the peer are not, or are too.
var (
	unmet = []string{"a=curr:qos local sendrecv", "a=curr:qos remote none", "a=des:qos mandatory local sendrecv", "a=des:qos optional remote sendrecv"}
	met   = []string{"a=curr:qos local sendrecv", "a=curr:qos remote sendrecv"}
)

// originating: the browser calls a VoLTE user: preconditions, reliable provisional responses, UPDATE, early media only as the core
// authorises it, session timer.
func originating(p *party) {
	bob := p.waits("bob", "mo_preconditions", 440, nil)
	id := p.dial(bob.name)
	invite := bob.got(1, "INVITE")
	p.has(invite, append([]string{"Supported: 100rel, precondition, timer", "P-Early-Media: supported", "P-Asserted-Identity: ", "RTP/AVP"}, unmet...)...)
	bob.media(invite.Body)
	p.has(bob.got(1, "PRACK"), "RAck: 11 ")
	bob.sent(1, "200 PRACK")
	p.deaf(id, bob)

	bob.cue() // it has reserved
	p.has(bob.got(1, "200 UPDATE"), met...)
	p.deaf(id, bob) // the core does not let the early media pass

	bob.cue() // it rings, and plays something
	p.has(bob.got(2, "PRACK"), "RAck: 12 ")
	p.inState(id, "ringing")
	p.browserHears(id, 440)
	if n := bob.rec.Total(); n > 0 {
		p.t.Errorf("the VoLTE user hears the browser before the answer: %d samples", n)
	}
	bob.sent(2, "200 PRACK")
	bob.cue() // it answers
	p.talking(id, bob)
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
	bob.done()
	p.oneAnswer(id)
}

// oneAnswer checks that every description that the browser got for its INVITE is the same.
func (p *party) oneAnswer(id string) {
	p.t.Helper()
	all, err := p.alice.Ladder(p.ctx)
	p.ok(err)
	callID, first := p.call(id).CallID, ""
	for _, e := range all {
		_, body, _ := strings.Cut(e.Text, "\r\n\r\n")
		if e.Direction != "in" || e.Method != "INVITE" || e.Status == 0 || e.CallID != callID || body == "" {
			continue
		}
		if first == "" {
			first = body
		} else if body != first {
			p.t.Errorf("the browser's description changed from\n%s\nto\n%s", first, body)
		}
	}
	if first == "" {
		p.t.Error("the browser got no description")
	}
}

// forked: the core forks to three, each with early media of its own; the browser hears the newest and then the one that answers.
func forked(p *party) {
	one := p.waits("one", "uas_fork", 440, params{"Answers": true})
	two := p.waits("two", "uas_fork", 880, params{"Answers": false})
	three := p.waits("three", "uas_fork", 1320, params{"Answers": false})
	team := p.user + "-team"
	for _, u := range []*ue{one, two, three} {
		p.ok(p.core.Bind(p.ctx, team, "sip:ue@"+u.at.String()))
	}
	id := p.dial(team)
	for _, u := range []*ue{one, two, three} {
		u.media(u.got(1, "INVITE").Body)
		u.sent(1, "180 INVITE")
	}
	p.inState(id, "ringing")
	for _, u := range []*ue{one, two, three} {
		u.cue()
		u.got(1, "PRACK")
		p.browserHears(id, u.hz)
	}
	one.sent(1, "200 PRACK")
	one.cue()
	p.talking(id, one)
	two.done() // cancelled
	three.done()
	p.ok(p.alice.Hangup(p.ctx, id))
	one.done()
	p.oneAnswer(id)
}

// glare: both sides offer at once: the core's offer is refused with 491, the browser's goes on; then the core tries again.
func glare(p *party) {
	bob := p.waits("bob", "uas_glare", 440, nil)
	id := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(id, bob)
	p.ok(p.alice.Hold(p.ctx, id))
	bob.got(1, "491 INVITE")
	p.until("the phone to show hold", func() (bool, any) { c := p.call(id); return c.LocalHold, c })
	bob.got(2, "ACK")
	bob.hearsNothing()
	bob.cue()
	p.has(bob.got(1, "200 INVITE"), "a=sendonly") // still held
	p.ok(p.alice.Hangup(p.ctx, id))
	bob.done()
}

// tooShort: a session timer that is too short, refused by the callee and by the gateway.
func tooShort(p *party) {
	bob := p.waits("bob", "uas_422", 440, nil)
	id := p.dial(bob.name)
	p.inState(id, "connected")
	p.has(bob.got(2, "INVITE"), "Session-Expires: 3600", "Min-SE: 3600")
	p.ok(p.alice.Hangup(p.ctx, id))
	bob.done()
	carol := p.called("carol", "uac_short_timer", 440, nil)
	p.has(carol.got(1, "422 INVITE"), "Min-SE: 90")
	carol.done()
}

// refreshed: the gateway refreshes the session timer of its leg after half of it.
func refreshed(p *party) {
	bob := p.waits("bob", "uas_timer", 440, nil)
	id := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(id, bob)
	var update bool
	p.untilWithin(limit, "the refresh", func() (bool, any) {
		for _, e := range bob.proc.Trace() {
			update = update || !e.Sent && e.Is("UPDATE")
		}
		return update, nil
	})
	p.has(bob.got(1, "UPDATE"), "Session-Expires: 90;refresher=uac", "Content-Length: 0")
	bob.sent(1, "200 UPDATE")
	p.talking(id, bob)
	p.ok(p.alice.Hangup(p.ctx, id))
	bob.done()
}

// neverRefreshed: the caller is to refresh and does not: both sides are hung up.
func neverRefreshed(p *party) {
	bob := p.called("bob", "uac_timer", 440, nil)
	id := p.answer()
	answer := bob.got(1, "200 INVITE")
	p.has(answer, "Session-Expires: 90;refresher=uac", "Require: timer")
	bob.media(answer.Body)
	p.talking(id, bob)
	res := bob.done()
	bye := res.Received("BYE")
	if len(bye) == 0 {
		p.t.Fatal(res)
	}
	p.has(bye[0], "Reason: ", "Session timer expired")
	p.inState(id, "ended")
}

// redirected: the callee has moved; the browser is told so and where to.
func redirected(p *party) {
	bob := p.waits("bob", "uas_refuse", 440, params{"Status": "302 Moved Temporarily", "Headers": "Contact: <sip:bob@elsewhere.example>"})
	id := p.dial(bob.name)
	c := p.inState(id, "ended")
	if c.Failure == nil || c.Failure.Status != 302 {
		p.t.Errorf("the phone shows %+v", c.Failure)
	}
	bob.done()
	p.hasRung("INVITE", 302, c.CallID, "Contact: <sip:bob@elsewhere.example>")
}

// reasons: what a refusal, a BYE and a CANCEL of the core say as their reason reaches the browser.
func reasons(p *party) {
	const absent = `Reason: Q.850;cause=20;text="Subscriber absent"`
	bob := p.waits("bob", "uas_refuse", 440, params{"Status": "480 Temporarily Unavailable", "Headers": absent})
	c := p.inState(p.dial(bob.name), "ended")
	bob.done()
	p.hasRung("INVITE", 480, c.CallID, absent)

	const clearing = `Reason: Q.850;cause=16;text="Normal call clearing"`
	carol := p.waits("carol", "uas_hangs_up", 440, params{"Headers": clearing})
	id := p.dial(carol.name)
	p.inState(id, "connected")
	carol.got(1, "ACK")
	carol.cue()
	c = p.inState(id, "ended")
	carol.done()
	p.hasRung("BYE", 0, c.CallID, clearing)

	const elsewhere = `Reason: SIP;cause=200;text="Call completed elsewhere"`
	dave := p.called("dave", "uac_cancel", 440, params{"Headers": elsewhere})
	id = p.newCall("incoming").ID
	dave.got(1, "180 INVITE")
	dave.cue()
	c = p.inState(id, "ended")
	dave.done()
	p.hasRung("CANCEL", 0, c.CallID, elsewhere)
}

// hasRung checks that the browser got a message with the text.
func (p *party) hasRung(method string, status int, callID, text string) {
	p.t.Helper()
	all, err := p.alice.Ladder(p.ctx)
	p.ok(err)
	for _, e := range all {
		if e.Direction == "in" && e.Method == method && e.Status == status && e.CallID == callID {
			if !strings.Contains(e.Text, text) {
				p.t.Errorf("%q is missing in\n%s", text, e.Text)
			}
			return
		}
	}
	p.t.Errorf("the browser got no %s %d", method, status)
}
