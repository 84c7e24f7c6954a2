package ims

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
