package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a Memory whose writes the test watches, holds and spoils.
type scripted struct {
	*Memory
	mu    sync.Mutex
	wrote []string
	hold  chan struct{} // writes wait until it is closed; nil: they do not
	after error         // the write happens, its outcome is lost
}

func (s *scripted) put(f func() (uint64, error), value []byte) (uint64, error) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	rev, err := f()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.wrote = append(s.wrote, string(value))
	}
	if s.after != nil {
		return 0, s.after
	}
	return rev, err
}

func (s *scripted) Create(ctx context.Context, key string, v []byte, ttl time.Duration) (uint64, error) {
	return s.put(func() (uint64, error) { return s.Memory.Create(ctx, key, v, ttl) }, v)
}

func (s *scripted) Update(ctx context.Context, key string, v []byte, rev uint64, ttl time.Duration) (uint64, error) {
	return s.put(func() (uint64, error) { return s.Memory.Update(ctx, key, v, rev, ttl) }, v)
}

func (s *scripted) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *scripted) written() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrote)
}

func (s *scripted) value(t *testing.T, key string) string {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Value)
}

// inBubble runs a test on a fake clock; the journal's goroutines must have ended with it.
func inBubble(t *testing.T, f func(t *testing.T, s *scripted)) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{Memory: NewMemory()}
		defer s.Close()
		f(t, s)
	})
}

// TestJournalMergesAndSyncs: Save never waits, snapshots that come during a write are merged into the newest, and Sync returns when what was
// saved before it is in the store.
func TestJournalMergesAndSyncs(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted) {
		hold := make(chan struct{})
		s.hold = hold
		j := NewJournal(s, "call.1", 0)
		defer j.Close()
		for n := range 100 {
			j.Save(fmt.Appendf(nil, "v%d", n), Forever)
			synctest.Wait()
		}
		synced := make(chan error, 1)
		go func() { synced <- j.Sync(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-synced:
			t.Fatalf("Sync before the write: %v", err)
		default:
		}
		s.set(func() { s.hold = nil })
		close(hold)
		if err := <-synced; err != nil {
			t.Error(err)
		}
		if got := s.written(); !slices.Equal(got, []string{"v0", "v99"}) {
			t.Errorf("wrote %q", got)
		}
		if r, _ := s.Get(t.Context(), "call.1"); r.Revision != j.Revision() || string(r.Value) != "v99" {
			t.Errorf("record %+v, journal at %d", r, j.Revision())
		}
	})
}

// TestJournalSyncIsForWhatWasBefore: a Sync does not wait for what is saved after it began.
func TestJournalSyncIsForWhatWasBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted) {
		j := NewJournal(s, "call.1", 0)
		defer j.Close()
		j.Save([]byte("a"), Forever)
		if err := j.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		s.set(func() { s.hold = hold })
		j.Save([]byte("b"), Forever)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, "Sync with a held write", j.Sync(ctx), ErrUnavailable)
		s.set(func() { s.hold = nil })
		close(hold)
		if err := j.Sync(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestJournalInAnOutage: Sync tells of the outage at once, the journal keeps trying, and the newest snapshot is there in the end.
func TestJournalInAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted) {
		j := NewJournal(s, "call.1", 0)
		defer j.Close()
		s.Fail(fmt.Errorf("%w: test", ErrUnavailable))
		j.Save([]byte("a"), Forever)
		wantErr(t, "Sync in an outage", j.Sync(t.Context()), ErrUnavailable)
		j.Save([]byte("b"), Forever)
		time.Sleep(time.Minute) // the bubble's clock
		j.Save([]byte("c"), Forever)
		wantErr(t, "Sync after a minute", j.Sync(t.Context()), ErrUnavailable)
		if j.Err() != nil {
			t.Errorf("an outage is final: %v", j.Err())
		}
		s.Fail(nil)
		time.Sleep(3 * time.Second)
		if err := j.Sync(t.Context()); err != nil || s.value(t, "call.1") != "c" {
			t.Errorf("after the outage: %v, %s", err, s.value(t, "call.1"))
		}
	})
}

// TestJournalKnowsItsOwnWrite: a write that happened though its outcome was lost is no conflict.
func TestJournalKnowsItsOwnWrite(t *testing.T) {
	for name, later := range map[string]string{"same value": "", "newer value": "b"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *scripted) {
				j := NewJournal(s, "call.1", 0)
				defer j.Close()
				s.set(func() { s.after = ErrUnavailable })
				j.Save([]byte("a"), Forever)
				wantErr(t, "Sync", j.Sync(t.Context()), ErrUnavailable)
				want := "a"
				if later != "" {
					want = later
					j.Save([]byte(later), Forever)
				}
				s.set(func() { s.after = nil })
				time.Sleep(3 * time.Second)
				if err := j.Sync(t.Context()); err != nil || s.value(t, "call.1") != want {
					t.Errorf("%v, record %s", err, s.value(t, "call.1"))
				}
			})
		})
	}
}

// TestJournalOfAStolenRecord: a record that another has changed is never written again, nor deleted.
func TestJournalOfAStolenRecord(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted) {
		j := NewJournal(s, "call.1", 0)
		j.Save([]byte("a"), Forever)
		if err := j.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		rev, err := s.Memory.Update(t.Context(), "call.1", []byte("theirs"), j.Revision(), Forever)
		must(t, rev, err)
		j.Save([]byte("b"), Forever)
		wantErr(t, "Sync", j.Sync(t.Context()), ErrConflict)
		j.Save([]byte("c"), Forever)
		wantErr(t, "Sync again", j.Sync(t.Context()), ErrConflict)
		wantErr(t, "Err", j.Err(), ErrConflict)
		wantErr(t, "Delete", j.Delete(t.Context()), ErrConflict)
		if got := s.value(t, "call.1"); got != "theirs" {
			t.Errorf("record %s", got)
		}
	})
}

// TestJournalDelete: a deletion waits for the write in flight, drops what waits, and can be repeated after an outage.
func TestJournalDelete(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted) {
		gone := func() bool { _, err := s.Get(t.Context(), "call.1"); return errors.Is(err, ErrNotFound) }
		j := NewJournal(s, "call.1", 0)
		hold := make(chan struct{})
		s.set(func() { s.hold = hold })
		j.Save([]byte("a"), Forever)
		synctest.Wait()
		j.Save([]byte("b"), Forever)
		done := make(chan error, 1)
		go func() { done <- j.Delete(t.Context()) }()
		synctest.Wait()
		s.set(func() { s.hold = nil })
		close(hold)
		if err := <-done; err != nil || !gone() {
			t.Errorf("delete: %v, gone %v", err, gone())
		}
		if got := s.written(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("wrote %q", got)
		}
		wantErr(t, "Sync after Delete of what was dropped", j.Sync(t.Context()), ErrClosed)

		j = NewJournal(s, "call.1", 0)
		j.Save([]byte("c"), Forever)
		if err := j.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Fail(fmt.Errorf("%w: test", ErrUnavailable))
		wantErr(t, "Delete in an outage", j.Delete(t.Context()), ErrUnavailable)
		s.Fail(nil)
		if err := j.Delete(t.Context()); err != nil || !gone() {
			t.Errorf("repeated delete: %v, gone %v", err, gone())
		}
		if err := NewJournal(s, "call.2", 0).Delete(t.Context()); err != nil {
			t.Errorf("delete of what never was: %v", err)
		}
	})
}

// TestJournalTakesAnInvalidValueAsFinal: it would never be accepted.
func TestJournalTakesAnInvalidValueAsFinal(t *testing.T) {
	inBubble(t, func(t *testing.T, s *scripted) {
		j := NewJournal(s, "call.1", 0)
		defer j.Close()
		j.Save(make([]byte, MaxValue+1), Forever)
		wantErr(t, "Sync", j.Sync(t.Context()), ErrInvalid)
		wantErr(t, "Err", j.Err(), ErrInvalid)
	})
}
