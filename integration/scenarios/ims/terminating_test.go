package ims

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
)

// terminating: a VoLTE user calls the browser with preconditions that are not met: it rings only when they are.
func terminating(p *party) {
	bob := p.called("bob", "mt_preconditions", 440, nil)
	progress := bob.got(1, "183 INVITE")
	p.has(progress, "Require: precondition, 100rel", "a=curr:qos local sendrecv", "a=curr:qos remote none", "a=conf:qos remote sendrecv", "RTP/AVP")
	bob.media(progress.Body)
	bob.got(1, "200 PRACK")
	p.notRinging()

	bob.cue() // it has reserved
	p.has(bob.got(1, "200 UPDATE"), "a=curr:qos remote sendrecv", "!a=conf")
	c := p.newCall("incoming")
	bob.got(1, "180 INVITE")
	p.ok(p.alice.Answer(p.ctx, c.ID))
	answer := bob.got(1, "200 INVITE")
	if answer.Body != "" {
		p.t.Errorf("the 200 repeats the description:\n%s", answer.Body)
	}
	p.has(answer, "Session-Expires: 90;refresher=uac", "P-Asserted-Identity: ")
	p.talking(c.ID, bob)

	bob.cue() // it refreshes
	p.has(bob.got(2, "200 UPDATE"), "Session-Expires: 90;refresher=uac")
	bob.cue() // it hangs up
	p.inState(c.ID, "ended")
	bob.done()
}

// reserved: a caller whose resources are there rings at once.
func reserved(p *party) {
	bob := p.called("bob", "uac_reserved", 440, nil)
	id := p.answer()
	answer := bob.got(1, "200 INVITE")
	p.has(answer, append([]string{"RTP/AVP"}, met...)...)
	bob.media(answer.Body)
	p.talking(id, bob)
	bob.cue()
	p.inState(id, "ended")
	bob.done()
}

// neverAcknowledged: the caller's PRACK is lost for good: the response is repeated, then the call fails; no browser rings.
func neverAcknowledged(p *party) {
	bob := p.called("bob", "uac_no_prack", 440, nil)
	bob.got(1, "183 INVITE")
	p.untilWithin(limit, "the end of the call", func() (bool, any) { return bob.over504(), nil })
	bob.done()
	all, err := p.core.Tap().Messages()
	p.ok(err)
	n := 0
	for _, m := range all {
		if m.To == bob.at && strings.HasPrefix(m.StartLine(), "SIP/2.0 183") {
			n++
		}
	}
	if n < 5 {
		p.t.Errorf("the 183 was sent %d times, want it repeated", n)
	}
	p.notRinging()
}

// over504 reports whether the equipment has its 504.
func (u *ue) over504() bool {
	for _, m := range u.p.tapped(func(m kamailio.Message) bool { return m.To == u.at }) {
		if m.Is("504 INVITE") {
			return true
		}
	}
	return false
}

// neverReserved: the caller's resources never come: 580 with the failed precondition; no browser rings.
func neverReserved(p *party) {
	bob := p.called("bob", "uac_no_reservation", 440, nil)
	res := bob.done()
	refusal := res.Received("580 INVITE")
	if len(refusal) == 0 {
		p.t.Fatal(res)
	}
	p.has(refusal[0], "a=des:qos failure remote sendrecv")
	p.notRinging()
}

// lateOffer: an INVITE without a description; the browser gets an offer all the same. Then hold and resume by INVITEs without one.
func lateOffer(p *party) {
	bob := p.called("bob", "uac_late", 440, nil)
	id := p.answer()
	offer := bob.got(1, "200 INVITE")
	p.has(offer, "RTP/AVP", "PCMA/8000")
	bob.media(offer.Body)
	p.talking(id, bob)
	bob.cue()
	p.has(bob.got(2, "200 INVITE"), "RTP/AVP", "a=sendrecv")
	p.until("the phone to show that it is held", func() (bool, any) { c := p.call(id); return c.RemoteHold, c })
	p.told(2, "ACK", id)
	bob.hearsNothing()
	bob.sent(2, "ACK")
	bob.cue()
	bob.got(3, "200 INVITE")
	p.until("the phone to show that it is no longer held", func() (bool, any) { c := p.call(id); return !c.RemoteHold, c })
	p.talking(id, bob)
	bob.cue()
	p.inState(id, "ended")
	bob.done()
}

// lateOfferReliable: the caller requires reliable responses: the offer is in the first one, the answer in the PRACK.
func lateOfferReliable(p *party) {
	bob := p.called("bob", "uac_late_reliable", 440, nil)
	id := p.answer()
	offer := bob.got(1, "180 INVITE")
	p.has(offer, "Require: 100rel", "RSeq: ", "RTP/AVP")
	bob.media(offer.Body)
	bob.got(1, "200 INVITE")
	p.talking(id, bob)
	bob.cue()
	p.inState(id, "ended")
	bob.done()
}

// heldByUpdate: the caller holds and resumes by UPDATE.
func heldByUpdate(p *party) {
	bob := p.called("bob", "uac_update", 440, nil)
	id := p.answer()
	bob.media(bob.got(1, "200 INVITE").Body)
	p.talking(id, bob)
	bob.cue()
	p.has(bob.got(1, "200 UPDATE"), "a=recvonly")
	p.until("the phone to show that it is held", func() (bool, any) { c := p.call(id); return c.RemoteHold, c })
	p.told(2, "ACK", id)
	bob.hearsNothing()
	bob.cue()
	p.has(bob.got(2, "200 UPDATE"), "a=sendrecv")
	p.until("the phone to show that it is no longer held", func() (bool, any) { c := p.call(id); return !c.RemoteHold, c })
	p.talking(id, bob)
	bob.cue()
	p.inState(id, "ended")
	bob.done()
}
