package registrar

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// records returns the stored bindings once everything has come to rest.
func records(t *testing.T, s store.Store) []Binding {
	t.Helper()
	synctest.Wait()
	list, err := store.NewTable[Binding](s, "reg").List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []Binding
	for _, e := range list {
		out = append(out, e.Value)
	}
	return out
}

// inPair runs a test with two instances of the pool.
func inPair(t *testing.T, body func(t *testing.T, s *store.Memory, a, b *fixture)) {
	inPool(t, func(t *testing.T, s *store.Memory) {
		a, b := newFixture(t, s, "a"), newFixture(t, s, "b")
		body(t, s, a, b)
		a.Close()
		b.Close()
	})
}

// TestREG14_REG29_AnyInstanceKnowsThePath: a token that one instance gave the core is understood by all, with the owner's name; nobody
// but the owner has the connection.
func TestREG14_REG29_AnyInstanceKnowsThePath(t *testing.T) {
	inPair(t, func(t *testing.T, s *store.Memory, a, b *fixture) {
		a.register("f1", 600, "<urn:uuid:1>")
		token := pathToken(t, &a.sent[0])
		if got := records(t, s); len(got) != 1 || got[0].Owner != "a" || got[0].FlowID != "f1" || got[0].Contact != "sip:alice@f1.invalid;transport=ws" {
			t.Fatalf("stored %+v", got)
		}
		got, err := b.ByPathToken(token)
		if err != nil || got.Owner != "a" || got.FlowID != "f1" || got.AOR != "sip:alice@x.example" || len(got.ServiceRoute) != 1 || len(got.Identities) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		if len(b.OfFlow("f1")) != 0 {
			t.Error("the other instance takes the connection for its own")
		}
		if r := b.told(&b.routes); !slices.Equal(r, []string{"<sip:orig@core.example;lr>"}) {
			t.Errorf("the other instance learnt the routes %q", r)
		}
		a.OnFlowClosed(siptransport.Flow{ID: "f1"})
		synctest.Wait()
		if got, err := b.ByPathToken(token); err != nil || got.FlowID != "" {
			t.Errorf("after the loss of the connection: %+v, %v", got, err)
		}
		a.register("f2", 0, "<urn:uuid:1>")
		synctest.Wait()
		if _, err := b.ByPathToken(token); err == nil || len(b.All()) != 0 {
			t.Errorf("after de-registration: %v, %d bindings", err, len(b.All()))
		}
		if gone := b.told(&b.gone); len(gone) != 0 {
			t.Errorf("an instance was told of the end of another's binding: %v", gone)
		}
	})
}

// TestREG20_BrowserMovesToAnotherInstance: a REGISTER over another instance takes the binding along.
func TestREG20_BrowserMovesToAnotherInstance(t *testing.T) {
	inPair(t, func(t *testing.T, s *store.Memory, a, b *fixture) {
		a.register("f1", 600, "<urn:uuid:1>")
		id := a.OfFlow("f1")[0].ID
		synctest.Wait()
		b.register("f9", 600, "<urn:uuid:1>")
		if got := records(t, s); len(got) != 1 || got[0].Owner != "b" || got[0].FlowID != "f9" {
			t.Errorf("stored %+v", got)
		}
		if back := b.told(&b.back); !slices.Equal(back, []string{id}) {
			t.Errorf("the new owner was told %v", back)
		}
		if moved := a.told(&a.moved); !slices.Equal(moved, []string{id + " b"}) {
			t.Errorf("the old owner was told %v", moved)
		}
		if got, ok := a.ByID(id); !ok || got.Owner != "b" || len(a.OfFlow("f1")) != 0 {
			t.Errorf("the old owner has %+v, %d on the flow", got, len(a.OfFlow("f1")))
		}
		a.OnFlowClosed(siptransport.Flow{ID: "f1"}) // the old connection, at last
		time.Sleep(5 * time.Second)                 // the bubble's clock
		if got := records(t, s); len(got) != 1 || got[0].FlowID != "f9" || len(a.told(&a.lost)) != 0 {
			t.Errorf("stored %+v", got)
		}
		b.register("f9", 0, "<urn:uuid:1>")
		if got := records(t, s); len(got) != 0 || len(a.All())+len(b.All()) != 0 || len(b.told(&b.gone)) != 1 || len(a.told(&a.gone)) != 0 {
			t.Errorf("after de-registration: %+v", got)
		}
	})
}

// TestREG27_DeregisteredOverAnotherInstance: the owner learns that its binding has ended, and does not write it anew.
func TestREG27_DeregisteredOverAnotherInstance(t *testing.T) {
	inPair(t, func(t *testing.T, s *store.Memory, a, b *fixture) {
		a.register("f1", 600, "<urn:uuid:1>")
		synctest.Wait()
		b.register("f9", 0, "<urn:uuid:1>")
		if gone := a.told(&a.gone); len(gone) != 1 || len(a.told(&a.moved)) != 0 {
			t.Errorf("the owner was told %v", gone)
		}
		time.Sleep(5 * time.Second) // the bubble's clock
		if got := records(t, s); len(got) != 0 || len(a.All())+len(b.All()) != 0 {
			t.Errorf("stored %+v", got)
		}
	})
}

// TestREG28_RestartWithAStoreThatOutlivesIt: bindings are known again, without connection, until the browser is back or they expire.
func TestREG28_RestartWithAStoreThatOutlivesIt(t *testing.T) {
	inPool(t, func(t *testing.T, s *store.Memory) {
		f := newFixture(t, s, "m1")
		f.register("f1", 600, "<urn:uuid:1>")
		f.register("f2", 60, "<urn:uuid:2>")
		token, id := pathToken(t, &f.sent[0]), f.OfFlow("f1")[0].ID
		synctest.Wait()
		f.Close()
		f = newFixture(t, s, "m1")
		defer func() { f.Close() }()
		if b, err := f.ByPathToken(token); err != nil || b.FlowID != "" || b.Owner != "m1" || len(f.OfFlow("f1")) != 0 || len(f.All()) != 2 {
			t.Errorf("after the restart: %+v, %v, %d bindings", b, err, len(f.All()))
		}
		if r := f.told(&f.routes); len(r) != 2 {
			t.Errorf("routes learnt anew: %q", r)
		}
		f.register("f3", 600, "<urn:uuid:1>")
		if back := f.told(&f.back); !slices.Equal(back, []string{id}) || len(f.OfFlow("f3")) != 1 {
			t.Errorf("the browser is back: told %v", back)
		}
		time.Sleep(62 * time.Second) // the bubble's clock
		if gone := f.told(&f.gone); len(gone) != 1 || len(f.All()) != 1 || len(records(t, s)) != 1 {
			t.Errorf("the other one expired: told %v, %d left", gone, len(f.All()))
		}
	})
}

// TestREG28_RecordsOfADeadOwnerExpire: nobody has to sweep them.
func TestREG28_RecordsOfADeadOwnerExpire(t *testing.T) {
	inPair(t, func(t *testing.T, s *store.Memory, a, b *fixture) {
		a.register("f1", 60, "<urn:uuid:1>")
		synctest.Wait()
		a.Close() // as far as the others see, it is dead
		if len(b.All()) != 1 {
			t.Fatalf("%d bindings", len(b.All()))
		}
		time.Sleep(62 * time.Second) // the bubble's clock
		if got := records(t, s); len(got) != 0 || len(b.All()) != 0 || len(b.told(&b.gone)) != 0 {
			t.Errorf("stored %+v, known %+v", got, b.All())
		}
	})
}

// TestBindingsInAnOutageOfTheStore: browsers register all the same; what happened meanwhile is in the store afterwards.
func TestBindingsInAnOutageOfTheStore(t *testing.T) {
	inPair(t, func(t *testing.T, s *store.Memory, a, b *fixture) {
		a.register("f1", 600, "<urn:uuid:1>")
		synctest.Wait()
		s.Fail(fmt.Errorf("%w: test", store.ErrUnavailable))
		if resp := a.register("f2", 600, "<urn:uuid:2>"); resp.Status != 200 || len(a.OfFlow("f2")) != 1 {
			t.Errorf("registration: %d", resp.Status)
		}
		a.register("f1", 0, "<urn:uuid:1>")
		time.Sleep(30 * time.Second) // the bubble's clock
		if len(a.All()) != 1 || len(b.All()) != 1 || b.All()[0].FlowID != "f1" {
			t.Errorf("in the outage: %+v, %+v", a.All(), b.All())
		}
		s.Fail(nil)
		time.Sleep(2 * time.Second)
		if got := records(t, s); len(got) != 1 || got[0].FlowID != "f2" || len(b.All()) != 1 || b.All()[0].FlowID != "f2" {
			t.Errorf("after the outage: %+v, %+v", got, b.All())
		}
	})
}

// TestStoreThatForgets: what a store loses is written again by the instances whose it is.
func TestStoreThatForgets(t *testing.T) {
	inPair(t, func(t *testing.T, s *store.Memory, a, b *fixture) {
		a.register("f1", 600, "<urn:uuid:1>")
		synctest.Wait()
		for _, r := range records(t, s) {
			if _, err := s.Delete(t.Context(), store.Key("reg", r.ID), 0); err != nil {
				t.Fatal(err)
			}
		}
		if got := records(t, s); len(got) != 1 || len(a.OfFlow("f1")) != 1 || len(b.All()) != 1 || len(a.told(&a.gone)) != 0 {
			t.Errorf("stored %+v, the owner has %d, the other %d", got, len(a.OfFlow("f1")), len(b.All()))
		}
	})
}

// TestREG32_LimitOfTheAORIsThePools: the bound of bindings per address of record counts those of all instances.
func TestREG32_LimitOfTheAORIsThePools(t *testing.T) {
	inPair(t, func(t *testing.T, _ *store.Memory, a, b *fixture) {
		a.register("f1", 600, "<urn:uuid:1>")
		b.register("f2", 600, "<urn:uuid:2>")
		synctest.Wait()
		if resp := b.register("f3", 600, "<urn:uuid:3>"); resp.Status != 503 || resp.Get("Retry-After") == "" {
			t.Errorf("third binding: %d", resp.Status)
		}
		if resp := b.register("f3", 600, "<urn:uuid:1>"); resp.Status != 200 {
			t.Errorf("move of the first: %d", resp.Status)
		}
	})
}

// lame is an instance's own way to the store, which can be slow or broken.
type lame struct {
	store.Store
	mu   sync.Mutex
	hold chan struct{} // Create waits until it is closed; nil: it does not
	err  error         // what Get fails with, and so every write
}

func (l *lame) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *lame) Get(ctx context.Context, key string) (store.Record, error) {
	l.mu.Lock()
	err := l.err
	l.mu.Unlock()
	if err != nil {
		return store.Record{}, err
	}
	return l.Store.Get(ctx, key)
}

func (l *lame) Create(ctx context.Context, key string, v []byte, ttl time.Duration) (uint64, error) {
	l.mu.Lock()
	hold := l.hold
	l.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return l.Store.Create(ctx, key, v, ttl)
}

// TestSlowWritesStayInOrder: what a browser does last is what the store holds, however long the first write takes.
func TestSlowWritesStayInOrder(t *testing.T) {
	inPool(t, func(t *testing.T, s *store.Memory) {
		hold := make(chan struct{})
		l := &lame{Store: s, hold: hold}
		f := newFixture(t, l, "m1")
		defer f.Close()
		f.register("f1", 600, "<urn:uuid:1>")
		synctest.Wait()
		f.register("f1", 0, "<urn:uuid:1>")
		synctest.Wait()
		l.set(func() { l.hold = nil })
		close(hold)
		if got := records(t, s); len(got) != 0 {
			t.Errorf("left %+v", got)
		}
	})
}

// TestOwnRegistrationIsNewer: while an instance cannot write what its browser has registered, older records of another do not take the
// binding away from it.
func TestOwnRegistrationIsNewer(t *testing.T) {
	inPool(t, func(t *testing.T, s *store.Memory) {
		l := &lame{Store: s}
		a, b := newFixture(t, s, "a"), newFixture(t, l, "b")
		defer b.Close()
		defer a.Close()
		a.register("f1", 600, "<urn:uuid:1>")
		synctest.Wait()
		l.set(func() { l.err = store.ErrUnavailable })
		b.register("f9", 600, "<urn:uuid:1>")
		synctest.Wait()
		a.OnFlowClosed(siptransport.Flow{ID: "f1"}) // writes the record again
		synctest.Wait()
		if got := b.OfFlow("f9"); len(got) != 1 || got[0].Owner != "b" {
			t.Fatalf("the newer registration is lost: %+v", b.All())
		}
		l.set(func() { l.err = nil })
		time.Sleep(2 * time.Second) // the bubble's clock
		if got := records(t, s); len(got) != 1 || got[0].Owner != "b" || got[0].FlowID != "f9" {
			t.Errorf("stored %+v", got)
		}
		if moved := a.told(&a.moved); len(moved) != 1 {
			t.Errorf("the old owner was told %v", moved)
		}
	})
}

// TestWritesOfOneBindingStayInOrder: a browser that registers and leaves at once leaves no record.
func TestWritesOfOneBindingStayInOrder(t *testing.T) {
	inPool(t, func(t *testing.T, s *store.Memory) {
		f := newFixture(t, s, "m1")
		defer f.Close()
		f.cfg.Burst, f.cfg.RatePerIP = 1e6, 1e6
		for n := range 50 {
			f.register("f1", 600, "<urn:uuid:1>")
			if n%2 == 0 {
				synctest.Wait()
			}
			f.register("f1", 0, "<urn:uuid:1>")
		}
		if got := records(t, s); len(got) != 0 {
			t.Errorf("left %+v", got)
		}
		f.register("f1", 0, "<urn:uuid:1>")
		f.register("f1", 600, "<urn:uuid:1>")
		if got := records(t, s); len(got) != 1 || got[0].FlowID != "f1" {
			t.Errorf("stored %+v", got)
		}
		synctest.Wait()
		if len(f.writes)+len(f.unsaved) != 0 {
			t.Errorf("%d writes, %d failed ones kept", len(f.writes), len(f.unsaved))
		}
	})
}
