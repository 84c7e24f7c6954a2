package flow

// connect makes the two flows between a and c. On their worker.
func connect(a, c *term) error {
	switch {
	case a.closed || c.closed:
		return ErrClosed
	case a.partner == c:
		return nil
	case a.partner != nil || c.partner != nil:
		return ErrConnected
	}
	a.partner, c.partner = c, a
	a.to, c.to = &Flow{src: a, dst: c}, &Flow{src: c, dst: a}
	for _, t := range [2]*term{a, c} {
		t.to.rebuild()
		// Another source now speaks to the peer, maybe with the same SSRC and other numbers.
		t.out.stamp.Switch()
	}
	a.aimSounds()
	c.aimSounds()
	return nil
}

// disconnect isolates t and its partner. On their worker.
func (t *term) disconnect() {
	p := t.partner
	if p == nil {
		return
	}
	for _, x := range [2]*term{t, p} {
		// Its figures belong to the source's stream and outlive the flow.
		x.went, x.coded = x.to.path(), x.to.transcoding()
		x.past.merge(x.to.end())
		x.partner, x.to = nil, nil
	}
	t.aimSounds()
	p.aimSounds()
}

// close ends t: a last report, no partner, no addresses. On its worker.
func (t *term) close() {
	if t.access != nil && t.first() {
		t.access.endStreams()
	}
	t.closed = true
	t.report(t.w.now, true)
	if t.sound != nil {
		t.sound.end()
	}
	t.disconnect()
	t.w.drain()
	t.tellDrops()
	if t.access != nil && t.first() {
		t.access.clear()
	}
	t.w.leave(t)
}
