package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Journal is the write path of one record that changes often, such as a call. Save takes a snapshot and returns at
// once; at most one write per journal is in flight, and snapshots that come meanwhile are merged into the newest.
// Sync is the write-ahead barrier: it returns when everything saved before it is in the store, and must have returned
// nil before an effect that the snapshot records leaves the process.
//
// A write whose outcome is unknown is repeated; when it turns out to have happened it is recognised by its value. A
// record that another instance has changed makes the journal fail with ErrConflict for ever: the call is no longer ours.
type Journal struct {
	store  Store
	key    string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the writer

	mu      sync.Mutex // guards below
	rev     uint64     // of the record; 0: not created
	next    []byte     // newest snapshot not yet being written; nil: none
	ttl     time.Duration
	saved   uint64   // snapshots taken
	written uint64   // snapshots in the store, merged ones included
	failed  uint64   // attempts that ended with ErrUnavailable
	err     error    // final failure
	lastErr error    // of the last failed attempt
	inDoubt [][]byte // snapshots whose writes have an unknown outcome; at most maxDoubt, the first ones
	writing bool
	moved   chan struct{} // closed and replaced when written, failed or err changes
}

// maxDoubt bounds what is kept to recognise own writes; during a long outage the later attempts never left the process.
const maxDoubt = 8

// NewJournal returns the journal of the record at key; rev is its present revision, 0 when it does not exist yet.
// The journal has a goroutine only while it writes; Close it.
func NewJournal(s Store, key string, rev uint64) *Journal {
	j := &Journal{store: s, key: key, rev: rev, moved: make(chan struct{})}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	return j
}

// Save takes value as the record's newest state; the caller must not change it afterwards. It never blocks.
// ttl as of Store.Create, counted from the write.
func (j *Journal) Save(value []byte, ttl time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return
	}
	j.next, j.ttl = value, ttl
	j.saved++
	if !j.writing {
		j.writing = true
		j.wg.Add(1)
		go j.write()
	}
}

// Sync waits until all that was saved before is in the store. Errors: ErrConflict (the record is another's),
// ErrUnavailable (an attempt failed while waiting; the journal keeps trying), ErrClosed, or the context's.
func (j *Journal) Sync(ctx context.Context) error {
	j.mu.Lock()
	target, failed := j.saved, j.failed
	for {
		switch {
		case j.written >= target:
			j.mu.Unlock()
			return nil
		case j.err != nil:
			defer j.mu.Unlock()
			return j.err
		case j.failed > failed:
			defer j.mu.Unlock()
			return j.lastErr
		}
		moved := j.moved
		j.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("sync %s: %w: %w", j.key, ErrUnavailable, ctx.Err())
		}
		j.mu.Lock()
	}
}

// Err is the final failure: nil, ErrConflict (the record is another's now), ErrInvalid or ErrClosed.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Revision is the revision of the last write that is known to have happened.
func (j *Journal) Revision() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rev
}

// Delete writes nothing more, waits for a write in flight and removes the record. The journal is closed afterwards,
// also when it returns an error; the record then ends with its time to live.
func (j *Journal) Delete(ctx context.Context) error {
	j.mu.Lock()
	j.next = nil
	final := j.err
	j.mu.Unlock()
	j.Close()
	if errors.Is(final, ErrConflict) {
		return final
	}
	j.mu.Lock()
	rev, doubt := j.rev, len(j.inDoubt) > 0
	j.mu.Unlock()
	if rev == 0 && !doubt {
		return nil
	}
	if doubt {
		rev = 0 // the revision is not known; the record was ours at the last look
	}
	_, err := j.store.Delete(ctx, j.key, rev)
	return err
}

// Close gives up what is not written, and waits for the writer. A write in flight is let finish by the engine's
// time-out only when Sync was not used; call Sync first when it matters.
func (j *Journal) Close() {
	j.mu.Lock()
	if j.err == nil {
		j.err = fmt.Errorf("journal %s: %w", j.key, ErrClosed)
	}
	if j.next == nil && j.writing { // let the write in flight finish: its outcome matters to Delete
		j.mu.Unlock()
		j.wg.Wait()
		j.cancel()
		return
	}
	j.mu.Unlock()
	j.cancel()
	j.wg.Wait()
}

// write is the journal's goroutine: it writes the newest snapshot until none is left.
func (j *Journal) write() {
	defer j.wg.Done()
	backoff := 100 * time.Millisecond
	for {
		j.mu.Lock()
		value, ttl, rev, upto := j.next, j.ttl, j.rev, j.saved
		if value == nil || j.ctx.Err() != nil || errors.Is(j.err, ErrConflict) {
			j.writing = false
			j.signalLocked()
			j.mu.Unlock()
			return
		}
		j.next = nil
		j.mu.Unlock()

		newRev, err := j.put(value, rev, ttl)
		if errors.Is(err, ErrConflict) {
			newRev, err = j.resolve(value, ttl, err)
		}
		if again := j.settle(value, newRev, upto, err); !again {
			backoff = 100 * time.Millisecond
			continue
		}
		select {
		case <-j.ctx.Done():
		case <-time.After(backoff):
			backoff = min(2*backoff, 2*time.Second)
		}
	}
}

func (j *Journal) put(value []byte, rev uint64, ttl time.Duration) (uint64, error) {
	if rev == 0 {
		return j.store.Create(j.ctx, j.key, value, ttl)
	}
	return j.store.Update(j.ctx, j.key, value, rev, ttl)
}

// resolve asks whether the conflict is with our own earlier write of unknown outcome, and then writes on top of it.
func (j *Journal) resolve(value []byte, ttl time.Duration, conflict error) (uint64, error) {
	j.mu.Lock()
	doubt := slices.Clone(j.inDoubt)
	j.mu.Unlock()
	if len(doubt) == 0 {
		return 0, conflict
	}
	r, err := j.store.Get(j.ctx, j.key)
	switch {
	case errors.Is(err, ErrNotFound):
		return 0, conflict
	case err != nil:
		return 0, err
	case !slices.ContainsFunc(doubt, func(d []byte) bool { return bytes.Equal(d, r.Value) }):
		return 0, conflict
	case bytes.Equal(r.Value, value):
		return r.Revision, nil
	}
	return j.put(value, r.Revision, ttl)
}

// settle enters the outcome of a write and reports whether it must be repeated after a pause.
func (j *Journal) settle(value []byte, rev, upto uint64, err error) (again bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.signalLocked()
	switch {
	case err == nil:
		j.rev, j.written, j.inDoubt = rev, upto, nil
		return false
	case errors.Is(err, ErrConflict), errors.Is(err, ErrInvalid):
		j.err = err
		j.next = nil
		return false
	}
	j.failed++
	j.lastErr = err
	if len(j.inDoubt) < maxDoubt {
		j.inDoubt = append(j.inDoubt, value)
	}
	if j.next == nil && j.err == nil {
		j.next = value
	}
	return true
}

func (j *Journal) signalLocked() {
	close(j.moved)
	j.moved = make(chan struct{})
}
