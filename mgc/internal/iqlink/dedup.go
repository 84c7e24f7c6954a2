package iqlink

import (
	"container/list"
	"context"
	"sync"
)

// maxDedup bounds the contexts that are remembered; the least recently used is forgotten first.
const maxDedup = 64 << 10

// dedupKey names one context of one boot of an MGW.
type dedupKey struct{ mgw, boot, context string }

// dedup remembers the last acknowledged event_seq of each context and lets one Notify per context in at a time.
type dedup struct {
	mu    sync.Mutex // guards below
	limit int
	byKey map[dedupKey]*list.Element
	lru   *list.List // of *dedupEntry, most recent first
}

type dedupEntry struct {
	key   dedupKey
	acked uint64
	busy  chan struct{} // not nil: a Notify is inside; closed when it leaves
}

func newDedup(limit int) *dedup {
	return &dedup{limit: limit, byKey: map[dedupKey]*list.Element{}, lru: list.New()}
}

// enter waits for its turn at the context. seen: seq was acknowledged before; otherwise release must be called with
// whether it is acknowledged now. The error is that of ctx.
func (d *dedup) enter(ctx context.Context, k dedupKey, seq uint64) (release func(acked bool), seen bool, err error) {
	for {
		d.mu.Lock()
		e := d.entryLocked(k)
		if e.busy == nil {
			if seq <= e.acked {
				d.mu.Unlock()
				return nil, true, nil
			}
			e.busy = make(chan struct{})
			d.mu.Unlock()
			return func(acked bool) { d.leave(e, seq, acked) }, false, nil
		}
		busy := e.busy
		d.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (d *dedup) leave(e *dedupEntry, seq uint64, acked bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if acked {
		e.acked = max(e.acked, seq)
	}
	close(e.busy)
	e.busy = nil
}

// entryLocked returns the entry of k, made when there is none, and makes it the most recent.
func (d *dedup) entryLocked(k dedupKey) *dedupEntry {
	if el := d.byKey[k]; el != nil {
		d.lru.MoveToFront(el)
		return el.Value.(*dedupEntry)
	}
	for el := d.lru.Back(); el != nil && d.lru.Len() >= d.limit; {
		prev := el.Prev()
		if old := el.Value.(*dedupEntry); old.busy == nil {
			d.lru.Remove(el)
			delete(d.byKey, old.key)
		}
		el = prev
	}
	e := &dedupEntry{key: k}
	d.byKey[k] = d.lru.PushFront(e)
	return e
}
