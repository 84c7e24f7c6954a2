package app

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

func TestREG09_LeasesAreExclusiveInThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		defer s.Close()
		l, ctx := newLeases(s), t.Context()
		acquire := func(holder string, ttl time.Duration, want string) {
			t.Helper()
			if got, err := l.Acquire(ctx, "impu/sip:guest1@x", holder, ttl); err != nil || got != want {
				t.Errorf("%s gets %q, %v; want %q", holder, got, err, want)
			}
		}
		acquire("a", 10*time.Second, "a")
		acquire("b", time.Hour, "a")
		time.Sleep(8 * time.Second)
		acquire("a", 10*time.Second, "a") // prolonged
		time.Sleep(8 * time.Second)
		acquire("b", time.Hour, "a")
		time.Sleep(3 * time.Second)
		acquire("b", time.Hour, "b")
		for _, holder := range []string{"a", "b"} {
			if err := l.Release(ctx, "impu/sip:guest1@x", holder); err != nil {
				t.Error(err)
			}
			acquire("c", time.Millisecond, map[string]string{"a": "b", "b": "c"}[holder])
		}
		time.Sleep(1100 * time.Millisecond) // rounded up to a second
		acquire("d", time.Hour, "d")
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := l.Acquire(gone, "k", "a", time.Hour); err == nil {
			t.Error("acquired after the end of the context")
		}
	})
}

func TestREG09_OneOfManyGetsTheLease(t *testing.T) {
	s := store.NewMemory()
	defer s.Close()
	var mu sync.Mutex
	owners := map[string]int{}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			owner, err := newLeases(s).Acquire(t.Context(), "k", fmt.Sprint("h", i), time.Hour)
			mu.Lock()
			defer mu.Unlock()
			if owners[owner]++; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(owners) != 1 {
		t.Errorf("owners %v", owners)
	}
}
