package flow

import "time"

// When a datagram came. A worker is late now and then: it lets datagrams gather, codes other calls' frames, or waits for a processor. What it
// reads then has waited in the kernel, and that is neither jitter of the network nor of the peer: a jitter buffer that took it for such would
// wait longer, and RTCP would report it (RFC 3550 §A.8). Hence sockets whose media are transcoded have their datagrams stamped by the
// kernel. Relayed media are not: they wait a millisecond at most, and a stamp costs them more than it is worth.

// clockStep is how much the wall clock may move against monotonic time from one round to the next: more is a step, and stamps from before it say
// nothing. So much can an arrival be wrong by.
const clockStep = int64(time.Millisecond)

// arrivals turns stamps of the wall clock into times of waiting, whatever happens to that clock. The zero value is ready. Owned by the worker.
type arrivals struct {
	known bool
	last  int64 // monotonic time of the last look
	wall  int64 // and of the wall clock, ns
	most  int64 // what is read in this round can have waited for so long: what came before the last round was read in that one
}

// look begins a round at a monotonic time that is the wall clock's time wall.
func (a *arrivals) look(now, wall int64) {
	step := wall - a.wall - (now - a.last)
	if a.most = 0; a.known && -clockStep <= step && step <= clockStep {
		a.most = now - a.last
	}
	a.known, a.last, a.wall = true, now, wall
}

// forget begins a round without a look: nothing is stamped.
func (a *arrivals) forget() { *a = arrivals{} }

// waited is how long a datagram with a stamp had waited when the round began, ns; 0 stamp: not known, as if it had come then.
func (a *arrivals) waited(stamp int64) int64 {
	if stamp == 0 {
		return 0
	}
	return min(max(0, a.wall-stamp), a.most)
}

// begin notes the time at which a round begins.
func (w *worker) begin() {
	w.round++
	if w.timed == 0 {
		w.now = w.monotonic()
		w.began = w.now
		w.arrivals.forget()
		return
	}
	t := time.Now()
	w.now = int64(t.Sub(w.base))
	w.began = w.now
	w.arrivals.look(w.now, t.UnixNano())
}

// timeSource has the source's packets timed as long as they are transcoded, and before the first where that is to be expected: the delay of a jitter
// buffer begins with it.
func (f *Flow) timeSource() {
	coded := f.active != nil
	for i := 0; !coded && i < len(f.routes); i++ {
		if f.src.in.formats[i].class == classAudio {
			coded = f.routes[i].kind == routeTranscode
			break // the format that the source prefers
		}
	}
	f.src.setTimed(coded)
	f.weighSource(coded)
}

// setTimed lets the sockets that bring media of t tell when they came, or no longer. An access socket, which many share, does so as long as one of
// them wants it.
func (t *term) setTimed(on bool) {
	if t.in.timed == on {
		return
	}
	t.in.timed = on
	n := -1
	if on {
		n = 1
	}
	t.w.timed += n
	if t.core != nil {
		t.core.rtp.StampArrivals(on)
		return
	}
	as := t.access.sock
	if as.timed += n; as.timed > 1 || as.timed == 1 && !on {
		return
	}
	as.sock.StampArrivals(on)
	if as.second != nil {
		as.second.StampArrivals(on)
	}
	for _, st := range as.streams {
		st.StampArrivals(on)
	}
}
