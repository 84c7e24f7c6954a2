package registrar

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// writeTimeout bounds one write with its look-ups.
const writeTimeout = 2 * time.Second

// repeats bounds the failed writes that are repeated in one second.
const repeats = 500

// write is what the record of a binding is to become. Writes of one binding are done one after the other by a goroutine that lives
// while there are any; the newest wins, those in between are left out.
type write struct {
	want  *Binding // nil: no record
	dirty bool     // want is not being written yet
}

// writeLocked has the record of a binding written, or deleted when b is nil. Callers hold mu, which is not held for the writing.
func (r *Registrar) writeLocked(id string, b *Binding) {
	delete(r.unsaved, id)
	if r.closed {
		return
	}
	if w := r.writes[id]; w != nil {
		w.want, w.dirty = b, true
		return
	}
	w := &write{want: b, dirty: true}
	r.writes[id] = w
	r.wg.Add(1)
	go r.writer(id, w)
}

// pendingLocked reports whether a write of the binding is under way or is to be repeated. Callers hold mu.
func (r *Registrar) pendingLocked(id string) bool {
	_, failed := r.unsaved[id]
	return failed || r.writes[id] != nil
}

// writer does the writes of one binding until none is left.
func (r *Registrar) writer(id string, w *write) {
	defer r.wg.Done()
	for {
		r.mu.Lock()
		if !w.dirty {
			delete(r.writes, id)
			r.mu.Unlock()
			return
		}
		want := w.want
		w.dirty = false
		r.mu.Unlock()
		err := r.put(id, want)
		if err == nil || r.ctx.Err() != nil {
			continue
		}
		r.metrics.storeErrors.Inc()
		r.deps.Log.Warn("binding not stored", zap.String("binding", id), zap.Error(err))
		r.mu.Lock()
		if !w.dirty {
			r.unsaved[id] = want
		}
		r.mu.Unlock()
	}
}

// writeAgain begins some of the writes that failed anew.
func (r *Registrar) writeAgain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for id, want := range r.unsaved {
		if n++; n > repeats {
			return
		}
		r.writeLocked(id, want)
	}
}

// put writes or deletes a record, whatever is there: the last REGISTER counts.
func (r *Registrar) put(id string, want *Binding) error {
	ctx, cancel := context.WithTimeout(r.ctx, writeTimeout)
	defer cancel()
	key := store.Key(id)
	if want == nil {
		return r.erase(ctx, key)
	}
	if !want.Expires.After(time.Now()) {
		return nil // over before it was written; the sweeper ends it
	}
	for {
		rev, err := r.place(ctx, key, *want)
		if err == nil {
			r.mirror.Put(key, *want, rev)
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// place writes the record over the one that is known. Errors: store.ErrConflict when it changed meanwhile.
func (r *Registrar) place(ctx context.Context, key string, b Binding) (uint64, error) {
	ttl := time.Until(b.Expires) + time.Second
	if _, known, ok := r.mirror.Get(key); ok { // mostly right, and saves the look
		if rev, err := r.table.Update(ctx, key, b, known, ttl); !errors.Is(err, store.ErrConflict) {
			return rev, err
		}
	}
	e, err := r.table.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return r.table.Create(ctx, key, b, ttl)
	case err != nil:
		return 0, err
	}
	return r.table.Update(ctx, key, b, e.Revision, ttl)
}

// erase deletes the record. One that another instance owns is claimed first: its owner then knows that it has moved, and does
// not take the deletion for a loss of the store, which it would make good.
func (r *Registrar) erase(ctx context.Context, key string) error {
	e, err := r.table.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	if e.Value.Owner != r.cfg.Instance {
		e.Value.Owner, e.Value.FlowID = r.cfg.Instance, ""
		if _, err := r.table.Update(ctx, key, e.Value, e.Revision, time.Until(e.Value.Expires)+time.Second); err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	rev, err := r.table.Delete(ctx, key, 0)
	if err == nil {
		r.mirror.Drop(key, rev)
	}
	return err
}

// onChange follows the records of the pool: called by the mirror, without lock.
func (r *Registrar) onChange(c store.Change[Binding]) {
	if c.New != nil {
		r.changed(*c.New)
		return
	}
	r.vanished(*c.Old)
}

// changed takes a record that was written, here or elsewhere, or in a former life of this instance.
func (r *Registrar) changed(b Binding) {
	r.mu.Lock()
	if r.pendingLocked(b.ID) { // what this instance is about to write is newer
		r.mu.Unlock()
		return
	}
	old := r.byID[b.ID]
	had := old != nil && old.Owner == r.cfg.Instance
	if b.Owner == r.cfg.Instance {
		if had { // an echo
			r.mu.Unlock()
			return
		}
		b.FlowID = "" // the connection died with the process
	}
	moved := had && b.Owner != r.cfg.Instance
	r.setLocked(&b)
	r.mu.Unlock()
	if r.deps.OnRoutes != nil {
		r.deps.OnRoutes(b.ServiceRoute)
	}
	switch {
	case !moved:
	case b.FlowID == "": // de-registered over the other instance
		call(r.deps.OnGone, b.ID)
	case r.deps.OnMoved != nil:
		r.deps.OnMoved(b.ID, b.Owner)
	}
}

// vanished takes the end of a record. This instance ends its own bindings itself: when the record of one is gone all the same, the store
// has lost it, and it is written again.
func (r *Registrar) vanished(b Binding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pendingLocked(b.ID) {
		return
	}
	have := r.byID[b.ID]
	switch {
	case have == nil:
	case have.Owner != r.cfg.Instance:
		r.dropLocked(b.ID)
	case have.Expires.After(time.Now()):
		r.writeLocked(b.ID, have)
	}
}
