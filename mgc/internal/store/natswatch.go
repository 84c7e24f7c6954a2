package store

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// natsWatcher forwards one watch; run is its goroutine, owned by the engine. When the server's watch ends or the
// bucket was looked at after a reconnection, it starts over with EventReset.
type natsWatcher struct {
	e      *Engine
	prefix string
	out    chan Event // cap 256; writer: run; full: run waits for the reader
	cancel context.CancelFunc
	ended  chan struct{}
	once   sync.Once
}

// Watch implements Store.
func (e *Engine) Watch(ctx context.Context, prefix string) (Watcher, error) {
	wctx, cancel := context.WithCancel(ctx)
	w := &natsWatcher{e: e, prefix: prefix, out: make(chan Event, 256), cancel: cancel, ended: make(chan struct{})}
	gen := e.currentGeneration()
	kw, err := (*e.kv.Load()).Watch(wctx, wildcard(prefix))
	if err != nil {
		cancel()
		return nil, e.fail("watch", prefix, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		cancel()
		stopWatcher(kw)
		return nil, ErrClosed
	}
	e.wg.Add(1)
	go w.run(wctx, kw, gen)
	return w, nil
}

func (w *natsWatcher) Events() <-chan Event { return w.out }

func (w *natsWatcher) Stop() {
	w.once.Do(w.cancel)
	<-w.ended
}

func (w *natsWatcher) run(ctx context.Context, kw jetstream.KeyWatcher, gen chan struct{}) {
	defer w.e.wg.Done()
	defer close(w.ended)
	defer close(w.out)
	defer w.cancel()
	stopEngine := context.AfterFunc(w.e.ctx, w.cancel)
	defer stopEngine()
	for {
		w.forward(ctx, kw, gen)
		stopWatcher(kw)
		if ctx.Err() != nil || !w.send(ctx, Event{Kind: EventReset}) {
			return
		}
		if kw, gen = w.again(ctx); kw == nil {
			return
		}
	}
}

// forward delivers events until ctx ends, the server's watch ends, or gen is closed.
func (w *natsWatcher) forward(ctx context.Context, kw jetstream.KeyWatcher, gen chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-gen:
			return
		case kve, ok := <-kw.Updates():
			if !ok || !w.send(ctx, eventOf(kve)) {
				return
			}
		}
	}
}

func eventOf(kve jetstream.KeyValueEntry) Event {
	if kve == nil {
		return Event{Kind: EventSynced}
	}
	e := Event{Kind: EventPut, Record: Record{Key: kve.Key(), Value: kve.Value(), Revision: kve.Revision()}}
	if kve.Operation() != jetstream.KeyValuePut {
		e.Kind, e.Value = EventDelete, nil
	}
	return e
}

func (w *natsWatcher) send(ctx context.Context, e Event) bool {
	select {
	case w.out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// again makes the server's watch anew, trying until ctx ends; nil then.
func (w *natsWatcher) again(ctx context.Context) (jetstream.KeyWatcher, chan struct{}) {
	for {
		gen := w.e.currentGeneration()
		kw, err := (*w.e.kv.Load()).Watch(ctx, wildcard(w.prefix))
		if err == nil {
			return kw, gen
		}
		w.e.look()
		select {
		case <-ctx.Done():
			return nil, nil
		case <-gen:
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// stopWatcher ends the server's watch and reads it to its end: its callback may be blocked on the full channel, and the
// client closes the channel when its goroutine has ended.
func stopWatcher(kw jetstream.KeyWatcher) {
	_ = kw.Stop()            // an error says that it has ended already
	for range kw.Updates() { //nolint:revive // drained on purpose
	}
}
