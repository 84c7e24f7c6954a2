package flow

import (
	"unsafe"

	"github.com/isthmus-gateway/isthmus/mgw/internal/prefetch"
)

// A call's state is cold when its next packet comes: 20 ms of other calls have gone through the caches. So before the packets of a parcel are processed, what
// they will touch is asked for, of all of them at once and level by level: what a pointer leads to is asked for when the pointer itself has had time to come.
// Nothing waits for memory then that could have been on its way.

// outHot is what a packet touches of where it leaves.
const outHot = unsafe.Offsetof(outbound{}.rtcp)

// fetch asks for what packets of the peers of ts touch. A term may be nil, or there twice.
func fetch(ts []*term) {
	for _, t := range ts {
		if t == nil {
			continue
		}
		t.leg.FetchReceived()
		t.in.rx.Fetch()
		if len(t.in.formats) > 0 {
			prefetch.Of(&t.in.formats[0], 1)
		}
		prefetch.Of(t.to, unsafe.Offsetof(t.to.switched))
		if t.partner != nil {
			prefetch.Of(&t.partner.out, outHot)
			prefetch.Of(&t.partner.leg, 1)
		}
	}
	for _, t := range ts {
		if t == nil {
			continue
		}
		t.in.rx.FetchKey()
		if f := t.to; f == nil || f.active != nil || t.partner == nil {
			continue // nothing leaves now
		} else if len(f.routes) > 0 {
			prefetch.Of(&f.routes[0], 8)
		}
		t.partner.leg.FetchSent()
		o := &t.partner.out
		o.stamp.Fetch()
		o.tx.Fetch()
		o.sock.Fetch()
	}
	for _, t := range ts {
		if t != nil && t.to != nil && t.to.active == nil && t.partner != nil {
			t.partner.out.tx.FetchKey()
		}
	}
}

// fetchTerm is what stands before that: t itself, when the pointer to it is at hand.
func fetchTerm(t *term) { prefetch.Of(t, unsafe.Offsetof(t.in)+unsafe.Offsetof(t.in.drops)) }

// findPaths finds the authenticated sources of the first n messages, and asks for what these will touch.
func (w *worker) findPaths(as *accessSock, n int) {
	for i := range w.msgs[:n] {
		p := as.paths[w.msgs[i].From]
		w.found[i] = p
		prefetch.Of(p, 1)
	}
	for _, p := range w.found[:n] {
		if p != nil {
			prefetch.Of(p.owner, unsafe.Offsetof(p.owner.a))
		}
	}
	for i, p := range w.found[:n] {
		w.flight[i] = nil
		if p != nil {
			w.flight[i] = p.owner.t
			fetchTerm(p.owner.t)
		}
	}
	fetch(w.flight[:n])
}

// fetchSockets asks for what reading from the first n ready sockets, and what comes from them, touches, as far as they are of the core side.
func (w *worker) fetchSockets(n int) {
	for i := range n {
		w.fetchCore(w.poll.Ready(i))
	}
	for i := range n {
		w.fetchBehind(w.poll.Ready(i))
	}
}

func (w *worker) fetchCore(key uint32) {
	prefetch.Of(w.socks[key].core, unsafe.Offsetof(coreState{}.c))
}

func (w *worker) fetchBehind(key uint32) {
	if ref := &w.socks[key]; ref.core != nil {
		ref.core.rtp.Fetch()
		fetchTerm(ref.core.t)
	}
}

// fetchSweep asks for what a look at the next n terminations touches.
func (w *worker) fetchSweep(n int) {
	each := func(do func(t *term)) {
		for i := range n {
			do(w.terms[(w.sweepNext+i)%len(w.terms)])
		}
	}
	each(func(t *term) {
		fetchTerm(t)
		prefetch.Of(&t.set.InactiveAfter, 64)
		prefetch.Of(&t.watch, 8)
	})
	each(func(t *term) {
		t.leg.FetchDue()
		if n := len(t.in.formats); n > 0 { // events are the last, as a rule
			prefetch.Of(&t.in.formats[n-1], unsafe.Sizeof(format{}))
		}
		prefetch.Of(t.to, unsafe.Offsetof(t.to.switched))
		prefetch.Of(t.access, unsafe.Sizeof(accessState{}))
	})
	each(func(t *term) {
		if s := t.access; s != nil && len(s.paths) > 0 {
			prefetch.Of(&s.paths[0], 1)
		}
	})
}
