package coreedge

import (
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Blacklist says how long a target that failed is tried last; a zero field takes its default.
type Blacklist struct {
	// For is the time after a first failure, default 30 s. Each further failure in a row doubles it.
	For time.Duration
	// Max bounds the time, Retry-After of a 503 included, default 10 min.
	Max time.Duration
}

func (b Blacklist) withDefaults() Blacklist {
	if b.For == 0 {
		b.For = 30 * time.Second
	}
	if b.Max == 0 {
		b.Max = 10 * time.Minute
	}
	b.Max = max(b.Max, b.For)
	return b
}

const (
	// maxDown bounds the list. A full one forgets what has expired, else takes no more.
	maxDown = 1024
	// trial is how long one request may try a target whose time is up, while others still go elsewhere.
	trial = 5 * time.Second
)

// downList remembers hops that failed. A hop leaves it by an answer; when its time is up one request at a time may try it.
type downList struct {
	cfg Blacklist

	mu    sync.Mutex // guards hops
	hops  map[siptransport.Hop]*downHop
	peeks map[siptransport.Hop]time.Time // until when the trial of a hop lasts
}

type downHop struct {
	until time.Time
	times uint // failures in a row, of which those during one listing are one
}

func newDownList(cfg Blacklist) *downList {
	return &downList{cfg: cfg.withDefaults(), hops: make(map[siptransport.Hop]*downHop), peeks: make(map[siptransport.Hop]time.Time)}
}

func keyOf(h siptransport.Hop) siptransport.Hop {
	h.Fallback = false
	return h
}

// add notes a failure; retryAfter is the time that the hop asked for, 0 for none. It reports whether the hop is newly listed.
func (d *downList) add(h siptransport.Hop, now time.Time, retryAfter time.Duration) bool {
	h = keyOf(h)
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.hops[h]
	if x != nil && now.Before(x.until) { // others were on their way, too
		x.until = later(x.until, now.Add(min(retryAfter, d.cfg.Max)))
		return false
	}
	if x == nil {
		if !d.room(now) {
			return false
		}
		x = &downHop{}
		d.hops[h] = x
	}
	x.times = min(x.times+1, 20) // keeps the shift below from running over
	x.until = now.Add(min(max(d.cfg.For<<(x.times-1), retryAfter), d.cfg.Max))
	delete(d.peeks, h)
	return true
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// room makes place for one more and is called with the lock held.
func (d *downList) room(now time.Time) bool {
	if len(d.hops) < maxDown {
		return true
	}
	for h, x := range d.hops {
		if now.After(x.until) {
			delete(d.hops, h)
			delete(d.peeks, h)
		}
	}
	return len(d.hops) < maxDown
}

// remove takes a hop off; true when it was listed or on trial.
func (d *downList) remove(h siptransport.Hop) bool {
	h = keyOf(h)
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.hops[h]
	delete(d.hops, h)
	delete(d.peeks, h)
	return ok
}

// has reports whether a hop is listed.
func (d *downList) has(h siptransport.Hop, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.hops[keyOf(h)]
	return x != nil && now.Before(x.until)
}

// avoid is has for the caller that is about to send: of those that come after the time is up one per trial may try the hop. What
// has long been over is forgotten: a target that nobody used may begin anew.
func (d *downList) avoid(h siptransport.Hop, now time.Time) bool {
	h = keyOf(h)
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.hops[h]
	switch {
	case x == nil:
		return false
	case now.Before(x.until), now.Before(d.peeks[h]):
		return true
	case now.After(x.until.Add(d.cfg.Max)):
		delete(d.hops, h)
		delete(d.peeks, h)
		return false
	}
	d.peeks[h] = now.Add(trial)
	return false
}

// count returns how many hops are listed.
func (d *downList) count(now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, x := range d.hops {
		if now.Before(x.until) {
			n++
		}
	}
	return n
}
