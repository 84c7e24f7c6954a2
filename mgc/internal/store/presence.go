package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Instance is the record of one live controller instance.
type Instance struct {
	ID      string    `json:"id"`   // configured name, unique in the pool
	Boot    string    `json:"boot"` // new at each start of the process
	Started time.Time `json:"at"`
}

// presenceTTL is how long an instance that stopped refreshing counts as alive; it refreshes three times as often.
const presenceTTL = 6 * time.Second

// Presence announces this instance and knows which others are alive. It is the lease of everything that names an
// instance as its owner. During an outage of the store all instances keep their last known state.
type Presence struct {
	self   Instance
	table  Table[Instance]
	mirror *Mirror[Instance]
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex // guards rev, err
	rev uint64
	err error
}

// Announce enters the instance into the pool and keeps it there until Close. onGone (may be nil) is called from the
// mirror's goroutine with each instance that left or stopped refreshing; it must not block for long.
func Announce(ctx context.Context, s Store, self Instance, onGone func(Instance)) (*Presence, error) {
	p := &Presence{self: self, table: NewTable[Instance](s, "inst")}
	if err := p.refresh(ctx); err != nil {
		return nil, err
	}
	mirror, err := NewMirror(ctx, p.table, func(c Change[Instance]) {
		if onGone != nil && c.Old != nil && (c.New == nil || c.New.Boot != c.Old.Boot) {
			onGone(*c.Old)
		}
	})
	if err != nil {
		return nil, err
	}
	p.mirror = mirror
	rctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Add(1)
	go p.run(rctx)
	return p, nil
}

// Close takes the instance out of the pool and waits for its goroutines.
func (p *Presence) Close() {
	p.cancel()
	p.wg.Wait()
	p.mirror.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = p.table.Delete(ctx, Key(p.self.ID), p.rev) // else it expires
}

// Alive reports whether the instance is in the pool; this instance always is.
func (p *Presence) Alive(instance string) bool {
	if instance == p.self.ID {
		return true
	}
	if instance == "" {
		return false
	}
	_, _, ok := p.mirror.Get(Key(instance))
	return ok
}

// Instances lists the pool's live instances.
func (p *Presence) Instances() []Instance {
	var out []Instance
	for _, e := range p.mirror.All() {
		out = append(out, e.Value)
	}
	return out
}

// Err is the outcome of the last refresh: nil, ErrUnavailable, or ErrConflict when another live process uses the same
// instance name.
func (p *Presence) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *Presence) run(ctx context.Context) {
	defer p.wg.Done()
	t := time.NewTicker(presenceTTL / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			err := p.refresh(ctx)
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
		}
	}
}

// refresh writes the record anew. At the start a record left by a predecessor of the same name is taken over; later a
// foreign one means that two processes use one name.
func (p *Presence) refresh(ctx context.Context) error {
	p.mu.Lock()
	rev := p.rev
	p.mu.Unlock()
	id := Key(p.self.ID)
	newRev, err := uint64(0), error(nil)
	if rev == 0 {
		newRev, err = p.table.Create(ctx, id, p.self, presenceTTL)
	} else {
		newRev, err = p.table.Update(ctx, id, p.self, rev, presenceTTL)
	}
	if errors.Is(err, ErrConflict) {
		newRev, err = p.reclaim(ctx, id, rev == 0)
	}
	if err != nil {
		return fmt.Errorf("announce instance %s: %w", p.self.ID, err)
	}
	p.mu.Lock()
	p.rev = newRev
	p.mu.Unlock()
	return nil
}

func (p *Presence) reclaim(ctx context.Context, id string, takeOver bool) (uint64, error) {
	e, err := p.table.Get(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound): // expired while the store was away
		return p.table.Create(ctx, id, p.self, presenceTTL)
	case err != nil:
		return 0, err
	case e.Value.Boot != p.self.Boot && !takeOver:
		return 0, ErrConflict
	}
	return p.table.Update(ctx, id, p.self, e.Revision, presenceTTL)
}
