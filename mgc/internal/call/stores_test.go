package call

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// faulty is a store that can be away, and whose look-ups and writes can be held.
type faulty struct {
	store.Store
	away    atomic.Bool
	waiting atomic.Int32 // operations that are held

	mu   sync.Mutex
	hold map[string]chan struct{} // by operation: closed when it may go on
}

// stop holds the operation ("get", "update") until the returned function is called.
func (f *faulty) stop(op string) (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hold == nil {
		f.hold = map[string]chan struct{}{}
	}
	ch := make(chan struct{})
	f.hold[op] = ch
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.hold, op)
		close(ch)
	})
}

func (f *faulty) before(ctx context.Context, op string) error {
	f.mu.Lock()
	ch := f.hold[op]
	f.mu.Unlock()
	if ch != nil {
		f.waiting.Add(1)
		defer f.waiting.Add(-1)
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	}
	if f.away.Load() {
		return fmt.Errorf("%s: %w: away", op, store.ErrUnavailable)
	}
	return nil
}

func (f *faulty) Get(ctx context.Context, key string) (store.Record, error) {
	if err := f.before(ctx, "get"); err != nil {
		return store.Record{}, err
	}
	return f.Store.Get(ctx, key)
}

func (f *faulty) Create(ctx context.Context, key string, v []byte, ttl time.Duration) (uint64, error) {
	if err := f.before(ctx, "create"); err != nil {
		return 0, err
	}
	return f.Store.Create(ctx, key, v, ttl)
}

func (f *faulty) Update(ctx context.Context, key string, v []byte, rev uint64, ttl time.Duration) (uint64, error) {
	if err := f.before(ctx, "update"); err != nil {
		return 0, err
	}
	return f.Store.Update(ctx, key, v, rev, ttl)
}

func (f *faulty) Delete(ctx context.Context, key string, rev uint64) (uint64, error) {
	if err := f.before(ctx, "delete"); err != nil {
		return 0, err
	}
	return f.Store.Delete(ctx, key, rev)
}

// newFaultyPool is newPool behind a faulty store.
func newFaultyPool(t *testing.T) (*pool, *faulty) {
	t.Helper()
	p := newPool(t)
	f := &faulty{Store: p.store}
	p.store = f
	return p, f
}

// TestStoreAway: new calls are refused with 503, running ones go on and end; what could not be written or deleted meanwhile is
// made good when the store is back.
func TestStoreAway(t *testing.T) {
	p, f := newFaultyPool(t)
	i := p.instance("m1")
	r := i.establish()
	f.away.Store(true)

	x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
	if m := x.expect(503); m.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if n := len(i.mgw.kindsSeen()); n != 2 {
		t.Errorf("a call began without its record: %v", i.mgw.kindsSeen())
	}

	hold := i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INVITE", holdSDP()), "fa")
	i.expectOut(callcore.LegCore, "INVITE").respond(200, coreSDP(2, "recvonly"))
	i.expectOut(callcore.LegCore, "ACK")
	hold.expect(200)
	i.OnAck(callcore.LegAccess, r.in(callcore.LegAccess, "ACK", ""), "fa")

	i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa").expect(200)
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	wait.Until(t, "the call has ended", func() bool { return len(i.Keys()) == 0 })
	if !has(i.mgw.kindsSeen(), "g-m1: Add Add", "g-m1: Modify Modify", "g-m1: Modify Modify", "g-m1: Subtract") {
		t.Errorf("MGW was told %v", i.mgw.kindsSeen())
	}
	// The record is still there. A late message must not bring the call back to life.
	i.refused(i.ask(callcore.LegCore, r.in(callcore.LegCore, "BYE", ""), ""), 481)
	if v := i.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"}); v != iqv1.NotifyReply_VERDICT_ACK {
		t.Errorf("Notify for the ended call: %v", v)
	}
	f.away.Store(false)
	i.gone()
	if n := count(t, i.deps.Metrics.adopted); n != 0 {
		t.Errorf("%v calls adopted", n)
	}
}

func holdSDP() string {
	return strings.Replace(strings.Replace(browserSDP, "a=sendrecv", "a=sendonly", 1), "4611 2", "4611 3", 1)
}

// TestStoreAwayIsNoUnknownDialog: a dialog that cannot be looked up is not declared dead (481), the peer is asked to come again.
func TestStoreAwayIsNoUnknownDialog(t *testing.T) {
	p, f := newFaultyPool(t)
	a, b := p.instance("a"), p.instance("b")
	r := a.establish()
	a.kill()
	f.away.Store(true)
	b.refused(b.ask(callcore.LegAccess, r.in(callcore.LegAccess, "INFO", ""), "fa"), 503)
	if v := b.Notify(&iqv1.NotifyRequest{CorrelationId: r.key, ContextId: "cx1"}); v != iqv1.NotifyReply_VERDICT_RETRY_LATER {
		t.Errorf("Notify: %v", v)
	}
	f.away.Store(false)
	b.hangUp(r)
}
