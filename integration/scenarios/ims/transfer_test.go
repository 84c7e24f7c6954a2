package ims

import (
	"fmt"
	"net/url"
	"strings"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
)

// referTo is the URI of a message's Refer-To.
func referTo(m peer.Message) string {
	_, uri, _ := strings.Cut(m.Get("Refer-To"), "<")
	uri, _, _ = strings.Cut(uri, ">")
	return uri
}

// blindByBrowser: the browser hands bob on to carol: REFER, NOTIFY, bob's call to carol, the end of the browser's call.
func blindByBrowser(p *party) {
	bob := p.waits("bob", "uas_transferee", 440, params{"Outcome": "SIP/2.0 200 OK"})
	carol := p.waits("carol", "uas", 880, nil)
	id := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(id, bob)
	p.ok(p.alice.Transfer(p.ctx, id, carol.name))
	refer := bob.got(1, "REFER")
	p.has(refer, "Referred-By: <sip:"+p.user+"@"+domain+">")
	if got := referTo(refer); got != "sip:"+carol.name+"@"+domain {
		p.t.Errorf("Refer-To %q", got)
	}
	bob.got(1, "200 NOTIFY")
	p.until("the transfer to be under way", func() (bool, any) { c := p.call(id); return c.Transfer == "trying", c })
	again := p.called("bobs-new-call", "uac_call", 440, params{"Target": referTo(refer), "Headers": "Referred-By: " + refer.Get("Referred-By")})
	p.has(carol.got(1, "INVITE"), "Referred-By: ")
	again.got(1, "200 INVITE")
	bob.cue()
	if c := p.inState(id, "ended"); c.EndTitle != "Call transferred" {
		p.t.Errorf("the phone says %q", c.EndTitle)
	}
	bob.done()
	again.cue()
	again.done()
	carol.done()
}

// blindFails: whom bob is handed on to is busy: the browser's call goes on.
func blindFails(p *party) {
	bob := p.waits("bob", "uas_transferee", 440, params{"Outcome": "SIP/2.0 486 Busy Here"})
	id := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(id, bob)
	p.ok(p.alice.Transfer(p.ctx, id, "carol"))
	bob.got(1, "200 NOTIFY")
	bob.cue()
	bob.got(2, "200 NOTIFY")
	p.until("the transfer to have failed", func() (bool, any) { c := p.call(id); return c.Transfer == "failed", c })
	p.talking(id, bob)
	p.ok(p.alice.Hangup(p.ctx, id))
	bob.done()
}

// blindByFarEnd: bob hands the browser on to carol: the browser calls her, bob is told how it goes.
func blindByFarEnd(p *party) {
	carol := p.waits("carol", "uas", 880, params{"Told": true})
	bob := p.waits("bob", "uas_transferor", 440, params{"ReferTo": "Refer-To: <sip:" + carol.name + "@" + domain + ">"})
	first := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(first, bob)
	p.ok(p.alice.Hold(p.ctx, first)) // as it would when it follows
	bob.got(2, "ACK")
	bob.cue()
	p.until("the referral to be shown", func() (bool, any) {
		c := p.call(first)
		return c.ReferredTo == "sip:"+carol.name+"@"+domain, c
	})
	p.ok(p.alice.Follow(p.ctx, first))
	carol.media(carol.got(1, "INVITE").Body)
	for n, status := range []string{"SIP/2.0 100", "SIP/2.0 180", "SIP/2.0 200"} {
		if n == 2 { // not before: between the core's processes an answer can overtake the ringing
			carol.cue()
		}
		m := bob.got(n+1, "NOTIFY")
		p.has(m, "Event: refer;id=7", "message/sipfrag")
		if !strings.HasPrefix(m.Body, status) {
			p.t.Errorf("NOTIFY %d says %q, want %s", n+1, m.Body, status)
		}
	}
	second := p.newCall("connected").ID
	p.inState(first, "ended")
	bob.done()
	p.talking(second, carol)
	p.ok(p.alice.Hangup(p.ctx, second))
	carol.done()
}

// replacesOf is the value of Replaces for the dialog of which m is a 2xx (RFC 3891 §6.1), to be given by whom sent its INVITE.
func replacesOf(m peer.Message) string {
	return fmt.Sprintf("%s;to-tag=%s;from-tag=%s", m.Get("Call-ID"), m.Tag("To"), m.Tag("From"))
}

// attendedByBrowser: the browser talks to bob and to carol and connects them: bob calls carol in the place of the browser.
func attendedByBrowser(p *party) {
	bob := p.waits("bob", "uas_transferee", 440, params{"Held": true, "Outcome": "SIP/2.0 200 OK"})
	carol := p.waits("carol", "uas_hangs_up", 880, params{"Calls": 2})
	first := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(first, bob)
	second := p.dial(carol.name)
	carol.media(carol.got(1, "INVITE").Body)
	p.talking(second, carol)
	bob.got(2, "ACK") // of the hold
	consultation := carol.sent(1, "200 INVITE")

	p.ok(p.alice.Connect(p.ctx, first, second))
	refer := bob.got(1, "REFER")
	target, query, _ := strings.Cut(referTo(refer), "?")
	replaces, err := url.PathUnescape(strings.TrimPrefix(query, "Replaces="))
	p.ok(err)
	if target != "sip:"+carol.name+"@"+domain || !sameDialog(replaces, replacesOf(consultation)) {
		p.t.Fatalf("Refer-To %s, %s; want the dialog %s", target, replaces, replacesOf(consultation))
	}
	bob.got(1, "200 NOTIFY")
	again := p.called("bobs-new-call", "uac_hung_up", 440, params{"Target": target, "Headers": "Replaces: " + replaces})
	carol.media(carol.got(2, "INVITE").Body)
	again.media(carol.sent(2, "200 INVITE").Body)
	again.hears(carol.hz)
	carol.hears(again.hz)
	carol.got(2, "ACK")
	carol.cueCall(consultation.Get("Call-ID")) // its call with the browser has been replaced
	p.inState(second, "ended")
	bob.cue()
	if c := p.inState(first, "ended"); c.EndTitle != "Call transferred" {
		p.t.Errorf("the phone says %q", c.EndTitle)
	}
	bob.done()
	carol.cueCall(again.callID())
	again.done()
	carol.done()
}

// attendedByFarEnd: bob talks to carol and to the browser and connects them: the browser calls carol in the place of bob.
func attendedByFarEnd(p *party) {
	carol := p.waits("carol", "uas_hangs_up", 880, params{"Calls": 2})
	consulting := p.called("bobs-other-call", "uac_hung_up", 440, params{"Target": "sip:" + carol.name + "@" + domain})
	dialog := carol.sent(1, "200 INVITE")
	replaces := replacesOf(dialog)
	bob := p.waits("bob", "uas_transferor", 440, params{
		"ReferTo": "Refer-To: <sip:" + carol.name + "@" + domain + "?Replaces=" + strings.NewReplacer(";", "%3B", "=", "%3D", "@", "%40").Replace(replaces) + ">",
	})
	first := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(first, bob)
	p.ok(p.alice.Hold(p.ctx, first))
	bob.got(2, "ACK")
	bob.cue()
	p.until("the referral to be shown", func() (bool, any) { c := p.call(first); return c.ReferredTo != "", c })
	p.ok(p.alice.Follow(p.ctx, first))
	invite := carol.got(2, "INVITE")
	if got := invite.Get("Replaces"); !sameDialog(got, replaces) {
		p.t.Errorf("Replaces %q, want %q", got, replaces)
	}
	carol.media(invite.Body)
	second := p.newCall("connected").ID
	carol.got(1, "ACK")
	carol.cueCall(dialog.Get("Call-ID")) // its call with bob has been replaced
	consulting.done()
	p.inState(first, "ended")
	bob.done()
	p.talking(second, carol)
	carol.got(2, "ACK")
	carol.cueCall(invite.Get("Call-ID"))
	p.inState(second, "ended")
	carol.done()
}

// sameDialog compares values of Replaces, whose parameters come in any order.
func sameDialog(a, b string) bool {
	id := func(s string) (out [3]string) {
		for i, part := range strings.Split(s, ";") {
			switch name, value, _ := strings.Cut(part, "="); {
			case i == 0:
				out[0] = part
			case name == "to-tag":
				out[1] = value
			case name == "from-tag":
				out[2] = value
			}
		}
		return out
	}
	return id(a) == id(b)
}

// replacedByThirdParty: dave talks to the browser and hands it on to erin, who calls with Replaces: the browser talks to her without
// having to answer, and hangs up on dave.
func replacedByThirdParty(p *party) {
	dave := p.called("dave", "uac_hung_up", 440, nil)
	first := p.answer()
	answer := dave.got(1, "200 INVITE")
	dave.media(answer.Body)
	p.talking(first, dave)
	erin := p.called("erin", "uac_call", 880, params{"Headers": "Replaces: " + replacesOf(answer)})
	second := p.newCall("connected").ID
	erin.media(erin.got(1, "200 INVITE").Body)
	p.talking(second, erin)
	p.inState(first, "ended")
	dave.done()
	erin.cue()
	p.inState(second, "ended")
	erin.done()
}
