// Package runner starts and stops the parts of a daemon in order. Floor 1 of pkg. Each part's goroutine is owned by the
// Runner that started it; Stop waits for all.
package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Part is something that runs until its context ends. Run returns nil on an ordered stop.
type Part struct {
	Name string
	Run  func(ctx context.Context) error
}

// Runner holds running parts. Zero value is ready; not safe for use from several goroutines, except Failed.
type Runner struct {
	parts  []running
	once   sync.Once
	failed chan error
}

type running struct {
	name   string
	cancel context.CancelFunc
	done   chan error // capacity 1; written once by the part's goroutine
}

// Failed delivers the error of the first part that ended before it was told to. Capacity 1; later failures are
// reported by Stop only.
func (r *Runner) Failed() <-chan error {
	r.once.Do(func() { r.failed = make(chan error, 1) })
	return r.failed
}

// Start runs p in a goroutine of its own.
func (r *Runner) Start(p Part) {
	r.Failed()
	ctx, cancel := context.WithCancel(context.Background())
	run := running{name: p.Name, cancel: cancel, done: make(chan error, 1)}
	r.parts = append(r.parts, run)
	go func() {
		err := p.Run(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			err = fmt.Errorf("%s: %w", p.Name, err)
			select {
			case r.failed <- err:
			default: // one failure is enough to stop for
			}
		} else {
			err = nil
		}
		run.done <- err
	}()
}

// Stop ends the parts in reverse order of their start, waiting for each, and returns their errors joined. When ctx ends
// first, the remaining parts are cancelled at once and still waited for.
func (r *Runner) Stop(ctx context.Context) error {
	var errs []error
	for i := len(r.parts) - 1; i >= 0; i-- {
		p := r.parts[i]
		p.cancel()
		if ctx.Err() != nil {
			for j := range i {
				r.parts[j].cancel()
			}
		}
		errs = append(errs, <-p.done)
	}
	r.parts = nil
	return errors.Join(errs...)
}
