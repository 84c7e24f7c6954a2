package store

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type row struct{ N int }

// diffs collects what a mirror tells.
type diffs struct {
	mu  sync.Mutex
	got []string
}

func (d *diffs) note(c Change[row]) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := func(r *row) string {
		if r == nil {
			return "-"
		}
		return fmt.Sprint(r.N)
	}
	d.got = append(d.got, c.ID+" "+text(c.Old)+">"+text(c.New))
}

func (d *diffs) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.got
	d.got = nil
	return out
}

// TestMirrorFollows: present records at the start, then changes and expiry, each told once; own writes are read at once and their echo
// is not told again.
func TestMirrorFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		defer s.Close()
		table := NewTable[row](s, "r")
		ctx := t.Context()
		rev, err := table.Create(ctx, "old", row{1}, Forever)
		must(t, rev, err)
		bad, err := s.Create(ctx, "r.bad", []byte("no json"), Forever)
		must(t, bad, err)
		var d diffs
		m, err := NewMirror(ctx, table, d.note)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		check := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := d.take(); !slices.Equal(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		check("old ->1")
		if m.Undecodable() != 1 {
			t.Errorf("%d undecodable", m.Undecodable())
		}
		r2, err := table.Update(ctx, "old", row{2}, rev, 5*time.Second)
		must(t, r2, err)
		check("old 1>2")
		own, err := table.Create(ctx, "own", row{7}, Forever)
		must(t, own, err)
		m.Put("own", row{7}, own)
		if v, r, ok := m.Get("own"); !ok || v.N != 7 || r != own {
			t.Errorf("own write is read as %v %d %v", v, r, ok)
		}
		check("own ->7")
		gone, err := table.Delete(ctx, "own", own)
		must(t, gone, err)
		m.Drop("own", gone)
		if _, _, ok := m.Get("own"); ok || len(m.All()) != 1 {
			t.Error("a dropped entry is read")
		}
		m.Put("own", row{7}, own) // an old echo
		check("own 7>-")
		time.Sleep(6 * time.Second) // the bubble's clock
		check("old 2>-")
	})
}

// TestMirrorIsToldLate: the watch has told of a write and of its end before the writer says so. The entry does not come back, and
// nothing is kept of it.
func TestMirrorIsToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		defer s.Close()
		table := NewTable[row](s, "r")
		var d diffs
		m, err := NewMirror(t.Context(), table, d.note)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		rev, err := table.Create(t.Context(), "own", row{7}, Forever)
		must(t, rev, err)
		gone, err := table.Delete(t.Context(), "own", rev)
		must(t, gone, err)
		synctest.Wait()
		m.Put("own", row{7}, rev)
		m.Drop("own", gone)
		if got := d.take(); !slices.Equal(got, []string{"own ->7", "own 7>-"}) || len(m.All()) != 0 || len(m.items) != 0 {
			t.Errorf("told %q, %d entries, %d kept", got, len(m.All()), len(m.items))
		}
		again, err := table.Create(t.Context(), "own", row{8}, Forever)
		must(t, again, err)
		m.Put("own", row{8}, again)
		if v, _, ok := m.Get("own"); !ok || v.N != 8 {
			t.Errorf("a new entry is read as %v %v", v, ok)
		}
	})
}

func newInstance(name, boot string) Instance {
	return Instance{ID: name, Boot: boot, Started: time.Now()}
}

// TestPresence: instances see each other, learn of an orderly departure at once and of a death when the lease is over.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		defer s.Close()
		ctx := t.Context()
		var mu sync.Mutex
		var gone []string
		a, err := Announce(ctx, s, newInstance("a", "1"), func(i Instance) { mu.Lock(); gone = append(gone, i.ID); mu.Unlock() })
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := Announce(ctx, s, newInstance("b", "1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		rev, err := s.Create(ctx, Key("inst", "c"), []byte(`{"id":"c","boot":"1"}`), presenceTTL) // one that will not refresh
		must(t, rev, err)
		synctest.Wait()
		if !a.Alive("a") || !a.Alive("b") || !a.Alive("c") || a.Alive("d") || a.Alive("") || len(a.Instances()) != 3 {
			t.Errorf("a sees %v", a.Instances())
		}
		time.Sleep(presenceTTL + time.Second) // the bubble's clock
		if a.Alive("c") || !a.Alive("b") || !b.Alive("a") || a.Err() != nil {
			t.Errorf("after the lease: %v, %v", a.Instances(), a.Err())
		}
		b.Close()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if a.Alive("b") || !slices.Equal(gone, []string{"c", "b"}) {
			t.Errorf("gone %v", gone)
		}
	})
}

// TestPresenceOfOneName: a restarted process takes its place; two processes of one name are told apart.
func TestPresenceOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		defer s.Close()
		first, err := Announce(t.Context(), s, newInstance("a", "1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		second, err := Announce(t.Context(), s, newInstance("a", "2"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		time.Sleep(presenceTTL) // the bubble's clock
		wantErr(t, "the one that was replaced", first.Err(), ErrConflict)
		if second.Err() != nil {
			t.Errorf("the one in place: %v", second.Err())
		}
	})
}

// TestPresenceInAnOutage: nobody is declared dead because the store is away.
func TestPresenceInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		defer s.Close()
		a, err := Announce(t.Context(), s, newInstance("a", "1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		s.Fail(fmt.Errorf("%w: test", ErrUnavailable))
		time.Sleep(presenceTTL - time.Second) // the bubble's clock
		wantErr(t, "refresh", a.Err(), ErrUnavailable)
		time.Sleep(presenceTTL) // its record has expired meanwhile
		s.Fail(nil)
		time.Sleep(presenceTTL)
		if a.Err() != nil {
			t.Errorf("after the outage: %v", a.Err())
		}
		if _, err := s.Get(t.Context(), Key("inst", "a")); err != nil {
			t.Errorf("the record is not back: %v", err)
		}
	})
}

// TestKeysAreOneForThePool: instances that start at once get the same key; rotation keeps three; secrets are not printed.
func TestKeysAreOneForThePool(t *testing.T) {
	onBoth(t, func(t *testing.T, s Store) {
		const n = 8
		var got [n][]TokenKey
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				keys, err := Keys(t.Context(), s)
				if err != nil {
					t.Error(err)
				}
				got[i] = keys
			})
		}
		wg.Wait()
		for i := range n {
			if len(got[i]) != 1 || string(got[i][0].Secret) != string(got[0][0].Secret) || len(got[i][0].Secret) != 32 || got[i][0].ID != 1 {
				t.Fatalf("instance %d has %v", i, got[i])
			}
		}
		for want := byte(2); want <= 5; want++ {
			keys, err := RotateKeys(t.Context(), s)
			if err != nil || keys[0].ID != want || len(keys) != min(int(want), keepKeys) {
				t.Errorf("rotation to %d: %v, %v", want, keys, err)
			}
		}
		keys, err := Keys(t.Context(), s)
		if err != nil || len(keys) != 3 || keys[0].ID != 5 || keys[2].ID != 3 {
			t.Errorf("got %v, %v", keys, err)
		}
		if text := fmt.Sprintf("%v %+v %#v", keys[0], keys[0], keys[0]); len(text) > 120 {
			t.Errorf("printed as %s", text)
		}
	})
}
