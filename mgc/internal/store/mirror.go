package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Change is one difference that a Mirror saw.
type Change[T any] struct {
	ID  string
	Old *T // nil: the entry is new
	New *T // nil: the entry was deleted or expired
}

// Mirror is a local copy of a table for reads that must not wait. It follows the table by watch; own writes are put
// in at once (Put, Drop), so that an instance always reads what it wrote. During an outage of the store it keeps
// what it knew. Values handed out are shared: treat them as read-only.
type Mirror[T any] struct {
	table  Table[T]
	onDiff func(Change[T])
	w      Watcher
	synced chan struct{} // closed after the first EventSynced
	ended  chan struct{}

	mu    sync.RWMutex // guards below
	items map[string]mirrored[T]
	last  uint64 // newest revision that the watch has told since the last EventReset
	bad   uint64 // records that could not be decoded
}

type mirrored[T any] struct {
	value T
	rev   uint64
	gone  bool // deleted here, waiting for the watch to say so: older echoes must not bring it back
	seen  bool // seen since the last EventReset
}

// NewMirror starts a mirror and waits until it has all present entries or ctx ends. onDiff (may be nil) is called for
// each difference, in order for each entry: from the mirror's goroutine, or from the caller of Put and Drop. It is
// called without a lock held and must not block for long; entries present at the start are reported as new.
func NewMirror[T any](ctx context.Context, t Table[T], onDiff func(Change[T])) (*Mirror[T], error) {
	w, err := t.store.Watch(context.WithoutCancel(ctx), t.prefix)
	if err != nil {
		return nil, err
	}
	m := &Mirror[T]{table: t, onDiff: onDiff, w: w, items: map[string]mirrored[T]{},
		synced: make(chan struct{}), ended: make(chan struct{})}
	go m.run()
	select {
	case <-m.synced:
		return m, nil
	case <-m.ended:
		return nil, fmt.Errorf("mirror %s: %w", t.prefix, ErrClosed)
	case <-ctx.Done():
		m.Close()
		return nil, fmt.Errorf("mirror %s: %w: %w", t.prefix, ErrUnavailable, ctx.Err())
	}
}

// Close stops the mirror and waits for its goroutine; reads keep answering with what was known.
func (m *Mirror[T]) Close() {
	m.w.Stop()
	<-m.ended
}

// Get returns the entry and its revision, and whether there is one.
func (m *Mirror[T]) Get(id string) (T, uint64, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	it, ok := m.items[id]
	if !ok || it.gone {
		var zero T
		return zero, 0, false
	}
	return it.value, it.rev, true
}

// All returns a snapshot of all entries in no given order.
func (m *Mirror[T]) All() []Entry[T] {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]Entry[T], 0, len(m.items))
	for id, it := range m.items {
		if !it.gone {
			out = append(out, Entry[T]{ID: id, Value: it.value, Revision: it.rev})
		}
	}
	return out
}

// Undecodable counts the records met that were no T.
func (m *Mirror[T]) Undecodable() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.bad
}

// Put enters what this instance has written, or read, at revision rev. What the watch has told of since, it knows better.
func (m *Mirror[T]) Put(id string, v T, rev uint64) { m.put(id, v, rev, true) }

// Drop enters what this instance has deleted; rev is the revision that Delete returned.
func (m *Mirror[T]) Drop(id string, rev uint64) { m.remove(id, rev, true) }

func (m *Mirror[T]) put(id string, v T, rev uint64, own bool) {
	m.mu.Lock()
	old, had := m.items[id]
	passed := m.passed(rev, own)
	if !had && own && passed { // deleted since
		m.mu.Unlock()
		return
	}
	if had && old.rev >= rev { // an echo, or older than what is known
		if old.rev == rev {
			old.seen = true
			m.items[id] = old
		}
		m.mu.Unlock()
		return
	}
	m.items[id] = mirrored[T]{value: v, rev: rev, seen: true}
	m.mu.Unlock()
	c := Change[T]{ID: id, New: &v}
	if had && !old.gone {
		c.Old = &old.value
	}
	m.tell(c)
}

func (m *Mirror[T]) remove(id string, rev uint64, own bool) {
	m.mu.Lock()
	old, had := m.items[id]
	passed := m.passed(rev, own)
	if had && old.rev > rev {
		m.mu.Unlock()
		return
	}
	if own && !passed {
		m.items[id] = mirrored[T]{rev: rev, gone: true, seen: true}
	} else {
		delete(m.items, id)
	}
	m.mu.Unlock()
	if had && !old.gone {
		m.tell(Change[T]{ID: id, Old: &old.value})
	}
}

// passed reports whether the watch has told of rev; what is not our own word is the watch's. Called with mu held.
func (m *Mirror[T]) passed(rev uint64, own bool) bool {
	if !own {
		m.last = max(m.last, rev)
	}
	return rev <= m.last
}

func (m *Mirror[T]) tell(c Change[T]) {
	if m.onDiff != nil {
		m.onDiff(c)
	}
}

// run follows the watch; owned by the mirror, ended by Close.
func (m *Mirror[T]) run() {
	defer close(m.ended)
	first := true
	for e := range m.w.Events() {
		switch e.Kind {
		case EventPut:
			if m.echo(m.id(e.Key), e.Revision) {
				continue
			}
			var v T
			if err := json.Unmarshal(e.Value, &v); err != nil {
				m.mu.Lock()
				m.bad++
				m.passed(e.Revision, false)
				m.mu.Unlock()
				continue
			}
			m.put(m.id(e.Key), v, e.Revision, false)
		case EventDelete:
			m.remove(m.id(e.Key), e.Revision, false)
		case EventReset:
			m.forget()
		case EventSynced:
			m.dropUnseen()
			if first {
				first = false
				close(m.synced)
			}
		}
	}
}

// echo reports whether what was written at rev is known already; its value need not be decoded then.
func (m *Mirror[T]) echo(id string, rev uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.items[id]
	if !ok || it.rev < rev {
		return false
	}
	if it.rev == rev && !it.seen {
		it.seen = true
		m.items[id] = it
	}
	m.passed(rev, false)
	return true
}

func (m *Mirror[T]) id(key string) string { return key[len(m.table.prefix)+1:] }

// forget marks all entries as not seen. Revisions are forgotten too: a store that came back empty counts anew.
func (m *Mirror[T]) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = 0
	for id, it := range m.items {
		it.seen, it.rev = false, 0
		m.items[id] = it
	}
}

func (m *Mirror[T]) dropUnseen() {
	m.mu.RLock()
	ids := slices.Collect(maps.Keys(m.items))
	m.mu.RUnlock()
	for _, id := range ids {
		m.mu.Lock()
		it := m.items[id]
		if it.seen {
			m.mu.Unlock()
			continue
		}
		delete(m.items, id)
		m.mu.Unlock()
		if !it.gone {
			m.tell(Change[T]{ID: id, Old: &it.value})
		}
	}
}
