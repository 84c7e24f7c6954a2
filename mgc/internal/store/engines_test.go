package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// patience bounds every wait of these tests.
const patience = 15 * time.Second

// embeddedStore opens the real engine and checks at the end that it has left no goroutine.
func embeddedStore(t *testing.T) *Engine {
	t.Helper()
	before := goleak.IgnoreCurrent()
	e, err := Open(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		goleak.VerifyNone(t, before)
	})
	return e
}

// onBoth runs a test of the contract on both engines, which must not differ.
func onBoth(t *testing.T, f func(t *testing.T, s Store)) {
	t.Run("embedded NATS", func(t *testing.T) { f(t, embeddedStore(t)) })
	t.Run("memory", func(t *testing.T) {
		m := NewMemory()
		t.Cleanup(m.Close)
		f(t, m)
	})
}

func must(t *testing.T, rev uint64, err error) uint64 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestCompareAndSet(t *testing.T) {
	onBoth(t, func(t *testing.T, s Store) {
		ctx := t.Context()
		_, err := s.Get(ctx, "a.1")
		wantErr(t, "get of nothing", err, ErrNotFound)
		_, err = s.Update(ctx, "a.1", []byte("x"), 7, Forever)
		wantErr(t, "update of nothing", err, ErrConflict)
		_, err = s.Update(ctx, "a.1", []byte("x"), 0, Forever)
		wantErr(t, "update at revision 0", err, ErrConflict)
		r1, err := s.Create(ctx, "a.1", []byte("x"), Forever)
		must(t, r1, err)
		_, err = s.Create(ctx, "a.1", []byte("y"), Forever)
		wantErr(t, "second create", err, ErrConflict)
		r2, err := s.Update(ctx, "a.1", []byte("y"), r1, Forever)
		if must(t, r2, err); r2 <= r1 {
			t.Errorf("revision %d after %d", r2, r1)
		}
		_, err = s.Update(ctx, "a.1", []byte("z"), r1, Forever)
		wantErr(t, "update at an old revision", err, ErrConflict)
		_, err = s.Delete(ctx, "a.1", r1)
		wantErr(t, "delete at an old revision", err, ErrConflict)
		if r, err := s.Get(ctx, "a.1"); err != nil || string(r.Value) != "y" || r.Revision != r2 || r.Key != "a.1" {
			t.Errorf("got %+v, %v", r, err)
		}
		r3, err := s.Delete(ctx, "a.1", r2)
		if must(t, r3, err); r3 <= r2 {
			t.Errorf("deletion at %d after %d", r3, r2)
		}
		_, err = s.Get(ctx, "a.1")
		wantErr(t, "get after delete", err, ErrNotFound)
		_, err = s.Delete(ctx, "a.1", r2)
		wantErr(t, "delete at a revision that is gone", err, ErrConflict)
		if _, err = s.Delete(ctx, "a.1", 0); err != nil {
			t.Errorf("delete of nothing: %v", err)
		}
		_, err = s.Update(ctx, "a.1", []byte("z"), r2, Forever)
		wantErr(t, "update after delete", err, ErrConflict)
		r4, err := s.Create(ctx, "a.1", []byte("again"), Forever)
		if must(t, r4, err); r4 <= r3 {
			t.Errorf("created again at %d after %d", r4, r3)
		}
	})
}

func TestListAndKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, s Store) {
		ctx := t.Context()
		odd := Key("reg", "sip:a@b.example;x=ü*>.")
		for _, k := range []string{Key("reg", "1"), odd, Key("regx", "1"), Key("call", "1")} {
			rev, err := s.Create(ctx, k, []byte(k), Forever)
			must(t, rev, err)
		}
		list := func(prefix string) []string {
			recs, err := s.List(ctx, prefix)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, r := range recs {
				if string(r.Value) != r.Key {
					t.Errorf("%s holds %s", r.Key, r.Value)
				}
				out = append(out, r.Key)
			}
			slices.Sort(out)
			return out
		}
		want := []string{"reg.1", odd}
		slices.Sort(want)
		if got := list("reg"); !slices.Equal(got, want) {
			t.Errorf("below reg: %q", got)
		}
		if got := list(""); len(got) != 4 {
			t.Errorf("all: %q", got)
		}
		if got := list("none"); len(got) != 0 {
			t.Errorf("below none: %q", got)
		}
		for _, bad := range []string{"", ".a", "a.", "a..b", "a b", "a.*", "a.>", "a\n", strings.Repeat("a", 2000)} {
			_, err := s.Get(ctx, bad)
			wantErr(t, fmt.Sprintf("get %.20q", bad), err, ErrInvalid)
			_, err = s.Create(ctx, bad, nil, Forever)
			wantErr(t, fmt.Sprintf("create %.20q", bad), err, ErrInvalid)
		}
		_, err := s.Create(ctx, "big", make([]byte, MaxValue+1), Forever)
		wantErr(t, "too long a value", err, ErrInvalid)
		rev, err := s.Create(ctx, "big", make([]byte, MaxValue), Forever)
		must(t, rev, err)
	})
}

func TestKeyPartsNeverCollide(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{{"a", "b"}, {"a.b"}, {"a=2eb"}, {"a=", "b"}, {"a", "=b"}, {"a", "b", "c"}, {"a", "b.c"}, {"A", "b"}} {
		k := Key(parts...)
		if err := checkKey(k); err != nil {
			t.Errorf("%q: %v", parts, err)
		}
		if other := seen[k]; other != nil {
			t.Errorf("%q and %q make the key %s", parts, other, k)
		}
		seen[k] = parts
	}
}

func TestCount(t *testing.T) {
	onBoth(t, func(t *testing.T, s Store) {
		for _, k := range []string{"call.1", "call.2", "reg.1"} {
			rev, err := s.Create(t.Context(), k, []byte("x"), Forever)
			must(t, rev, err)
		}
		rev, err := s.Delete(t.Context(), "call.2", 0)
		must(t, rev, err)
		n, err := s.(interface {
			Count(context.Context) (map[string]int, error)
		}).Count(t.Context())
		if err != nil || len(n) != 2 || n["call"] != 1 || n["reg"] != 1 {
			t.Errorf("got %v, %v", n, err)
		}
	})
}

// next reads the next event of a watch.
func next(t *testing.T, w Watcher) Event {
	t.Helper()
	select {
	case e, ok := <-w.Events():
		if !ok {
			t.Fatal("the watch has ended")
		}
		return e
	case <-time.After(patience):
		t.Fatal("no event")
		return Event{}
	}
}

func TestWatch(t *testing.T) {
	onBoth(t, func(t *testing.T, s Store) {
		ctx := t.Context()
		r0, err := s.Create(ctx, "w.old", []byte("1"), Forever)
		must(t, r0, err)
		rev, err := s.Create(ctx, "other.1", []byte("1"), Forever)
		must(t, rev, err)
		w, err := s.Watch(ctx, "w")
		if err != nil {
			t.Fatal(err)
		}
		if e := next(t, w); e.Kind != EventPut || e.Key != "w.old" || e.Revision != r0 {
			t.Errorf("first %+v", e)
		}
		if e := next(t, w); e.Kind != EventSynced {
			t.Errorf("then %+v", e)
		}
		expect := func(kind EventKind, key, value string, rev uint64) {
			t.Helper()
			if e := next(t, w); e.Kind != kind || e.Key != key || string(e.Value) != value || e.Revision != rev {
				t.Errorf("got %+v, want %d %s %q at %d", e, kind, key, value, rev)
			}
		}
		r1, err := s.Create(ctx, "w.new", []byte("a"), Forever)
		must(t, r1, err)
		expect(EventPut, "w.new", "a", r1)
		r2, err := s.Update(ctx, "w.new", []byte("b"), r1, Forever)
		must(t, r2, err)
		expect(EventPut, "w.new", "b", r2)
		rev, err = s.Create(ctx, "other.2", []byte("1"), Forever)
		must(t, rev, err)
		r3, err := s.Delete(ctx, "w.new", r2)
		must(t, r3, err)
		expect(EventDelete, "w.new", "", r3)
		w.Stop()
		w.Stop()
		if _, open := <-w.Events(); open {
			t.Error("an event after Stop")
		}
	})
}

// TestExpiryOnTheRealEngine: records end with their time, a write replaces the time, and watches are told.
func TestExpiryOnTheRealEngine(t *testing.T) {
	e := embeddedStore(t)
	ctx := t.Context()
	w, err := e.Watch(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if ev := next(t, w); ev.Kind != EventSynced {
		t.Fatalf("got %+v", ev)
	}
	created := map[string]uint64{}
	for _, k := range []string{"t.short", "t.renewed", "t.kept"} {
		rev, err := e.Create(ctx, k, []byte("x"), time.Second)
		created[k] = must(t, rev, err)
		next(t, w)
	}
	rev, err := e.Update(ctx, "t.renewed", []byte("y"), created["t.renewed"], time.Hour)
	must(t, rev, err)
	next(t, w)
	rev, err = e.Update(ctx, "t.kept", []byte("y"), created["t.kept"], Forever)
	must(t, rev, err)
	next(t, w)
	if ev := next(t, w); ev.Kind != EventDelete || ev.Key != "t.short" {
		t.Errorf("got %+v", ev)
	}
	_, err = e.Get(ctx, "t.short")
	wantErr(t, "get after expiry", err, ErrNotFound)
	for _, k := range []string{"t.renewed", "t.kept"} {
		if r, err := e.Get(ctx, k); err != nil || string(r.Value) != "y" {
			t.Errorf("%s: %+v, %v", k, r, err)
		}
	}
	rev, err = e.Create(ctx, "t.short", []byte("again"), Forever)
	must(t, rev, err)
}

func TestExpiryInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		defer m.Close()
		r1, err := m.Create(t.Context(), "t.a", []byte("x"), 1500*time.Millisecond)
		must(t, r1, err)
		time.Sleep(1900 * time.Millisecond) // the bubble's clock; rounded up to 2 s
		if _, err := m.Get(t.Context(), "t.a"); err != nil {
			t.Errorf("too early: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
		_, err = m.Get(t.Context(), "t.a")
		wantErr(t, "after its time", err, ErrNotFound)
	})
}

func TestClosedStore(t *testing.T) {
	e := embeddedStore(t)
	w, err := e.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	next(t, w)
	e.Close()
	if _, open := <-w.Events(); open {
		t.Error("the watch outlives the store")
	}
	_, err = e.Get(t.Context(), "a.b")
	wantErr(t, "get", err, ErrClosed)
	_, err = e.Create(t.Context(), "a.b", nil, Forever)
	wantErr(t, "create", err, ErrClosed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := NewMemory()
	_, err = m.Get(ctx, "a.b")
	wantErr(t, "get with an ended context", err, context.Canceled)
	m.Close()
	_, err = m.Get(t.Context(), "a.b")
	wantErr(t, "get from closed memory", err, ErrClosed)
}
