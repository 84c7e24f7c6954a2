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
	bob := p.waits("bob", "mo_preconditions", 440, params{"Refresh": false})
	id := p.dial(bob.name)
	invite := bob.got(1, "INVITE")
	p.has(invite, append([]string{"Supported: 100rel, precondition, timer", "P-Early-Media: supported", "P-Asserted-Identity: ", "RTP/AVP"}, unmet...)...)
	bob.media(invite.Body)
	p.has(bob.got(1, "PRACK"), "RAck: 11 ")
	bob.sent(1, "200 PRACK")
	p.browserHearsNothing(id)

	bob.cue() // it has reserved
	p.has(bob.got(1, "200 UPDATE"), met...)
	p.browserHearsNothing(id) // the core does not let the early media pass

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
