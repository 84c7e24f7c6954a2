package flow

import "time"

const (
	defaultInactive = 30 * time.Second
	defaultConsent  = 30 * time.Second
)

// tellDrops adds what was refused since the last time to the worker's totals.
func (t *term) tellDrops() {
	for r, n := range t.in.drops {
		if d := n - t.in.told[r]; d != 0 {
			t.w.count.refused[r].Add(d)
		}
	}
	t.in.told = t.in.drops
}

// sweep does what is due a few times per second at most.
func (t *term) sweep(now int64) {
	if t.leg != nil && t.leg.Due() <= now {
		t.report(now, false)
	}
	limit := t.set.InactiveAfter
	if limit == 0 {
		limit = defaultInactive
	}
	if t.in.open && !t.in.silent && now-t.in.heard > int64(limit) && (t.set.WatchIn || !t.set.WatchOut) {
		t.in.silent = true
		t.emit(Event{Kind: MediaInactive})
	}
	if t.out.open && !t.out.silent && now-t.out.sent > int64(limit) && t.set.WatchOut {
		t.out.silent = true
		t.emit(Event{Kind: MediaInactive, Out: true})
	}
	for i := range t.in.formats {
		if f := &t.in.formats[i]; f.class == classEvent {
			f.keys.Poll(now)
			t.pressed(f)
		}
	}
	t.tellDrops()
	if t.to != nil {
		t.to.rest(now)
	}
	if t.watch.due(now) {
		t.judge(now)
	}
	if t.access != nil && t.first() {
		t.access.sweep(now)
	}
}

// emit reports an event if it is armed.
func (t *term) emit(e Event) {
	if t.access != nil && t.access.a.parent != nil {
		t.emitComponent2(e)
		return
	}
	if t.set.Armed&e.Kind.Bit() != 0 {
		t.tell(e)
	}
}

// ofTransport reports whether events of the kind concern all streams of a termination.
func (k EventKind) ofTransport() bool {
	switch k {
	case ICEConnected, ICEFailed, ConsentLost, DTLSConnected, DTLSFailed, DTLSClosed, PeerReflexive:
		return true
	}
	return false
}

// tell reports an event.
func (t *term) tell(e Event) {
	if t.w.cfg.Events == nil {
		return
	}
	e.Endpoint, e.At = t.owner, time.Now()
	if !e.Kind.ofTransport() {
		e.Stream = t.number
	}
	t.w.cfg.Events(e)
}
