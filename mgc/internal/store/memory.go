package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is the engine that lives in a map of this process: that of a controller that is alone, and of tests. It holds the same
// contract as the NATS engine, needs no goroutine but one per watch, and follows the fake clock of testing/synctest.
type Memory struct {
	mu       sync.Mutex // guards all below
	rev      uint64
	recs     map[string]*memRecord
	watchers map[*memWatcher]struct{}
	failing  error // set by Fail
	closed   bool
}

type memRecord struct {
	value []byte
	rev   uint64
	timer *time.Timer // nil: does not expire
}

// NewMemory returns an empty engine; Close it.
func NewMemory() *Memory {
	return &Memory{recs: map[string]*memRecord{}, watchers: map[*memWatcher]struct{}{}}
}

var _ Store = (*Memory)(nil)

// Fail makes every operation but watches fail with err until called with nil: the outage of a store, for tests.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

// Close drops all records and ends all watches.
func (m *Memory) Close() {
	m.mu.Lock()
	m.closed = true
	for _, r := range m.recs {
		r.stop()
	}
	m.recs = map[string]*memRecord{}
	ws := make([]*memWatcher, 0, len(m.watchers))
	for w := range m.watchers {
		ws = append(ws, w)
	}
	m.mu.Unlock()
	for _, w := range ws {
		w.Stop()
	}
}

func (r *memRecord) stop() {
	if r.timer != nil {
		r.timer.Stop()
	}
}

// ready checks what every operation checks. Callers hold mu.
func (m *Memory) readyLocked(ctx context.Context, op, key string) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case m.closed:
		return fmt.Errorf("%s %s: %w", op, key, ErrClosed)
	case m.failing != nil:
		return fmt.Errorf("%s %s: %w", op, key, m.failing)
	}
	return nil
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) (Record, error) {
	if err := checkKey(key); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readyLocked(ctx, "get", key); err != nil {
		return Record{}, err
	}
	r, ok := m.recs[key]
	if !ok {
		return Record{}, fmt.Errorf("get %s: %w", key, ErrNotFound)
	}
	return Record{Key: key, Value: slices.Clone(r.value), Revision: r.rev}, nil
}

// Create implements Store.
func (m *Memory) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	return m.put(ctx, "create", key, value, 0, ttl)
}

// Update implements Store.
func (m *Memory) Update(ctx context.Context, key string, value []byte, rev uint64, ttl time.Duration) (uint64, error) {
	if rev == 0 {
		return 0, fmt.Errorf("update %s: %w: revision 0", key, ErrConflict)
	}
	return m.put(ctx, "update", key, value, rev, ttl)
}

func (m *Memory) put(ctx context.Context, op, key string, value []byte, rev uint64, ttl time.Duration) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if err := checkValue(value); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readyLocked(ctx, op, key); err != nil {
		return 0, err
	}
	var have uint64
	old := m.recs[key]
	if old != nil {
		have = old.rev
	}
	if have != rev {
		return 0, fmt.Errorf("%s %s: %w: at revision %d, not %d", op, key, ErrConflict, have, rev)
	}
	if old != nil {
		old.stop()
	}
	m.rev++
	r := &memRecord{value: value, rev: m.rev}
	if ttl = wholeSeconds(ttl); ttl > 0 {
		r.timer = time.AfterFunc(ttl, func() { m.expire(key, r.rev) })
	}
	m.recs[key] = r
	m.tellLocked(Event{Kind: EventPut, Record: Record{Key: key, Value: r.value, Revision: r.rev}})
	return r.rev, nil
}

func (m *Memory) expire(key string, rev uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.recs[key]; r != nil && r.rev == rev {
		m.removeLocked(key)
	}
}

func (m *Memory) removeLocked(key string) {
	m.recs[key].stop()
	delete(m.recs, key)
	m.rev++
	m.tellLocked(Event{Kind: EventDelete, Record: Record{Key: key, Revision: m.rev}})
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, key string, rev uint64) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readyLocked(ctx, "delete", key); err != nil {
		return 0, err
	}
	r := m.recs[key]
	if rev != 0 && (r == nil || r.rev != rev) {
		return 0, fmt.Errorf("delete %s: %w", key, ErrConflict)
	}
	if r != nil {
		m.removeLocked(key)
	}
	return m.rev, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix string) ([]Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readyLocked(ctx, "list", prefix); err != nil {
		return nil, err
	}
	return m.listLocked(prefix), nil
}

// Count returns the number of records by the first part of their keys, such as "call". Errors: ErrClosed.
func (m *Memory) Count(ctx context.Context) (map[string]int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readyLocked(ctx, "count", ""); err != nil {
		return nil, err
	}
	out := map[string]int{}
	for k := range m.recs {
		kind, _, _ := strings.Cut(k, ".")
		out[kind]++
	}
	return out, nil
}

// Healthy tells the error that Fail has set.
func (m *Memory) Healthy() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failing
}

func (m *Memory) listLocked(prefix string) []Record {
	var out []Record
	for k, r := range m.recs {
		if under(k, prefix) {
			out = append(out, Record{Key: k, Value: slices.Clone(r.value), Revision: r.rev})
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return int(a.Revision) - int(b.Revision) })
	return out
}

// Watch implements Store.
func (m *Memory) Watch(ctx context.Context, prefix string) (Watcher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.readyLocked(ctx, "watch", prefix); err != nil {
		return nil, err
	}
	wctx, cancel := context.WithCancel(ctx)
	w := &memWatcher{m: m, prefix: prefix, out: make(chan Event, 256), wake: make(chan struct{}, 1),
		cancel: cancel, ended: make(chan struct{})}
	for _, r := range m.listLocked(prefix) {
		w.queue = append(w.queue, Event{Kind: EventPut, Record: r})
	}
	w.queue = append(w.queue, Event{Kind: EventSynced})
	m.watchers[w] = struct{}{}
	go w.run(wctx)
	return w, nil
}

func (m *Memory) tellLocked(e Event) {
	for w := range m.watchers {
		if under(e.Key, w.prefix) {
			w.queue = append(w.queue, e)
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// memWatcher hands its queue to the reader; run is its goroutine, ended by Stop.
type memWatcher struct {
	m      *Memory
	prefix string
	queue  []Event // guarded by m.mu; at most the records that were written while the reader worked on its last batch
	out    chan Event
	wake   chan struct{} // cap 1; writer: tellLocked; full: a wake is already pending
	cancel context.CancelFunc
	ended  chan struct{}
}

func (w *memWatcher) Events() <-chan Event { return w.out }

func (w *memWatcher) Stop() {
	w.cancel()
	<-w.ended
}

func (w *memWatcher) run(ctx context.Context) {
	defer close(w.ended)
	defer close(w.out)
	defer func() {
		w.m.mu.Lock()
		delete(w.m.watchers, w)
		w.m.mu.Unlock()
	}()
	for {
		w.m.mu.Lock()
		batch := w.queue
		w.queue = nil
		w.m.mu.Unlock()
		for _, e := range batch {
			e.Value = slices.Clone(e.Value)
			select {
			case w.out <- e:
			case <-ctx.Done():
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}
