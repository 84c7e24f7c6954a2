package flow

import (
	"sync/atomic"
	"time"
)

// Where a new call goes. A wake-up costs a worker as much as some packets, and what it finds has gathered since the last one: one worker that is half
// busy relays for less than two that are a quarter busy each. So calls fill one worker after the other, each up to a share of a core
// (Config.Fill) that leaves it punctual and its calls room to become dearer: they cannot move later (ADR 017).
//
// What a worker does is measured. What it is going to do is estimated, since a call is placed long before its media come; the larger counts.

// cost is what a termination's source is expected to take of its worker, millionths of a core.
type cost int64

const (
	costRelayed = cost(500)  // 50 packets/s of 6 us, and as much for slower machines
	costCoded   = cost(3000) // Opus to G.711
	costUnknown = costCoded  // not connected yet, or without a codec: it may become anything
)

// shareWindow is how long a share is measured.
const shareWindow = int64(time.Second)

// shares is what placement knows of a worker.
type shares struct {
	expected atomic.Int64 // sum of its terminations' costs
	measured atomic.Int64 // what its rounds took in the last window, millionths of a core

	// Below: owned by the worker.
	from, spent int64
}

// add notes a round. On a machine that has no time for the worker its rounds take longer, which is as good a reason to place calls elsewhere.
func (s *shares) add(began, now int64) {
	s.spent += now - began
	if d := now - s.from; d >= shareWindow {
		s.measured.Store(min(s.spent*1e6/d, 1e6))
		s.from, s.spent = now, 0
	}
}

// load is the share of a core that the worker has or will have to give, millionths. Safe for any goroutine.
func (s *shares) load() int64 {
	e := s.expected.Load()
	if e == 0 {
		return 0 // it sleeps, and what was measured is of calls that have gone
	}
	return max(e, s.measured.Load())
}

// weigh changes what t is expected to cost.
func (t *term) weigh(c cost) {
	t.w.shares.expected.Add(int64(c - t.cost))
	t.cost = c
}

// weighSource does it for the source of f. coded: it is or will be transcoded.
func (f *Flow) weighSource(coded bool) {
	c := costUnknown
	for i := 0; !coded && i < len(f.routes); i++ {
		if f.src.in.formats[i].class == classAudio && f.routes[i].kind != routeNone {
			c = costRelayed
			break
		}
	}
	f.src.weigh(c)
}

// pick is the worker for a call that may go to any: the first with room, else the one with the least load, of several the one with the fewest terminations.
// Under e.mu.
func (e *Engine) pick() *worker {
	var best *worker
	var least int64
	for _, w := range e.workers {
		l := int64(0)
		if e.cfg.Fill > 0 {
			if l = w.shares.load(); l < int64(e.cfg.Fill)*1e4 {
				return w
			}
		}
		if best == nil || l < least || l == least && e.placed[w] < e.placed[best] {
			best, least = w, l
		}
	}
	return best
}

// Shares is what each worker took of a core in the last second in which it had something to do, 0 to 1; it does not stop the packet path.
func (e *Engine) Shares() []float64 {
	out := make([]float64, len(e.workers))
	for i, w := range e.workers {
		if w.shares.expected.Load() != 0 {
			out[i] = float64(w.shares.measured.Load()) / 1e6
		}
	}
	return out
}
