package siptx

import (
	"sync"
	"time"
)

// timer is one named timer of a transaction. It is used with the transaction's lock held; a callback that has already been
// started when the timer is stopped or set anew does nothing.
type timer struct {
	t   *time.Timer
	gen uint64
}

// set (re)starts the timer: after d, f runs with mu held, and then after without it. Nothing runs once the layer is closed.
func (t *timer) set(l *Layer, mu *sync.Mutex, d time.Duration, f, after func()) {
	t.stop()
	gen := t.gen
	t.t = time.AfterFunc(d, func() {
		if !l.enter() {
			return
		}
		defer l.running.Done()
		mu.Lock()
		if gen != t.gen {
			mu.Unlock()
			return
		}
		f()
		mu.Unlock()
		if after != nil {
			after()
		}
	})
}

func (t *timer) stop() {
	t.gen++
	if t.t != nil {
		t.t.Stop()
	}
}
