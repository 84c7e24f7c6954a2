package flow

// A call's state is cold when its next packet comes: 20 ms of other calls have gone through the caches. So before the packets of a round
// are processed, one small read is done in each place that they will need, with nothing waiting for the result: the processor fetches
// the lines of many calls at once instead of one after the other.

// warm reads where media of the peer will look, and returns a sum of no meaning so that the reads are done.
func (t *term) warm() (n uint64) {
	n = t.in.packets
	if len(t.in.formats) > 0 {
		n += uint64(t.in.types[t.in.formats[0].codec.PT])
	}
	if t.in.rx != nil {
		n += t.in.rx.Warm()
	}
	if t.out.leg != nil {
		n += t.out.leg.Warm()
	}
	if t.to == nil || t.to.active != nil || len(t.to.routes) == 0 {
		return n
	}
	o := &t.to.dst.out
	n += uint64(t.to.routes[0].kind) + o.packets + o.stamp.Warm()
	if o.tx != nil {
		n += o.tx.Warm()
	}
	return n
}

// warmAccess does it for the senders of the first n messages.
func (w *worker) warmAccess(as *accessSock, n int) {
	for i := range w.msgs[:n] {
		if p := as.paths[w.msgs[i].From]; p != nil {
			w.warmth += p.owner.t.warm()
		}
	}
}

// warmCore does it for the first n ready sockets, as far as they are of the core side.
func (w *worker) warmCore(n int) {
	for i := range n {
		if c := w.socks[w.poll.Ready(i)].core; c != nil {
			w.warmth += c.t.warm()
		}
	}
}
