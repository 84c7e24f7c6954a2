package control

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
)

// Drain takes the gateway out of service and back (H.248.1 §7.2.8). Safe from any goroutine.
type Drain struct {
	contexts *contexts.Manager
	log      *zap.Logger
	wg       sync.WaitGroup // deadlines being carried out

	mu       sync.Mutex  // guards what follows
	draining bool        // no new contexts
	deadline *time.Timer // of a graceful drain; nil: none
	closed   bool
}

// NewDrain makes a Drain in service.
func NewDrain(m *contexts.Manager, log *zap.Logger) *Drain { return &Drain{contexts: m, log: log} }

// Draining reports whether new contexts are refused.
func (d *Drain) Draining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.draining
}

// Graceful refuses new contexts and, when delay is above 0, releases what is left after it.
func (d *Drain) Graceful(delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(true)
	if delay <= 0 || d.closed {
		return
	}
	var timer *time.Timer
	d.wg.Add(1)
	timer = time.AfterFunc(delay, func() {
		defer d.wg.Done()
		d.mu.Lock()
		current := d.deadline == timer
		d.mu.Unlock()
		if current {
			d.contexts.ReleaseAll("drain deadline")
		}
	})
	d.deadline = timer
}

// Forced refuses new contexts and releases all that there are, before it returns.
func (d *Drain) Forced() {
	d.mu.Lock()
	d.set(true)
	d.mu.Unlock()
	d.contexts.ReleaseAll("forced out of service")
}

// Cancel takes the gateway back into service.
func (d *Drain) Cancel() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set(false)
}

// Close stops a deadline and waits for one that is being carried out.
func (d *Drain) Close() {
	d.mu.Lock()
	d.closed = true
	d.stopDeadline()
	d.mu.Unlock()
	d.wg.Wait()
}

// set changes the state and stops the deadline of the one before. Callers hold mu.
func (d *Drain) set(on bool) {
	d.stopDeadline()
	if on != d.draining {
		d.log.Info("service state", zap.Bool("draining", on), zap.Int("contexts", d.contexts.Count()))
	}
	d.draining = on
	d.contexts.SetDraining(on)
}

// stopDeadline ends the deadline. Callers hold mu.
func (d *Drain) stopDeadline() {
	if d.deadline != nil && d.deadline.Stop() {
		d.wg.Done()
	}
	d.deadline = nil
}
