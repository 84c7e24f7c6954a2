package cdr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// disk is a file system that can be full, or fail to sync or to cut.
type disk struct {
	mu                    sync.Mutex // guards all below
	room                  int        // bytes that still fit; -1: any
	noSync, noCut, noOpen bool
	writes, syncs         int
	written               chan struct{} // capacity 1: something was tried
}

func newDisk() *disk { return &disk{room: -1, written: make(chan struct{}, 1)} }

func (d *disk) set(f func()) { d.mu.Lock(); defer d.mu.Unlock(); f() }

func (d *disk) open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.noOpen {
		return nil, syscall.ENOSPC
	}
	f, err := openAppend(name)
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d}, nil
}

type diskFile struct {
	file
	d *disk
}

func (f *diskFile) Write(p []byte) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.writes++
	select {
	case f.d.written <- struct{}{}:
	default:
	}
	if f.d.room < 0 || len(p) <= f.d.room {
		if f.d.room > 0 {
			f.d.room -= len(p)
		}
		return f.file.Write(p)
	}
	n, err := f.file.Write(p[:f.d.room]) // a part fits, as on a real disk
	f.d.room = 0
	return n, errors.Join(err, syscall.ENOSPC)
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.syncs++
	if f.d.noSync {
		return syscall.EIO
	}
	return f.file.Sync()
}

func (f *diskFile) Truncate(n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.noCut {
		return syscall.EIO
	}
	return f.file.Truncate(n)
}

func TestCHG01_TornLastLineIsMended(t *testing.T) {
	for name, c := range map[string]struct {
		tail    string
		want    []string
		aside   bool
		damaged int
	}{
		"whole but for its end": {`{"id":"b.1","call":"b","seq":1,"type":"event","time":"2026-01-02T03:04:05Z"}`, []string{"a.1:event", "b.1:event", "c.1:event"}, false, 0},
		"half":                  {`{"id":"b.1","call":"b","se`, []string{"a.1:event", "c.1:event"}, true, 0},
		"zeroes":                {"\x00\x00\x00\x00", []string{"a.1:event", "c.1:event"}, true, 0},
		"many zeroes":           {strings.Repeat("\x00", 3*maxLine), []string{"a.1:event", "c.1:event"}, true, 0},
		"damaged and half":      {"{]\n{\"id\":", []string{"a.1:event", "c.1:event"}, true, 1},
		"name is not its own":   {`{"id":"z.9","call":"b","seq":1,"type":"event"}` + "\n", []string{"a.1:event", "c.1:event"}, false, 1},
		"nothing":               {"", []string{"a.1:event", "c.1:event"}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := mustOpen(t, testConfig(t, dir), nil)
			put(t, w, rec("a", 1, Event))
			mustClose(t, w)
			active := filepath.Join(dir, "cdr-mgc-1.jsonl")
			f, err := os.OpenFile(active, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(c.tail); err != nil {
				t.Fatal(err)
			}
			_ = f.Close() // written
			w = mustOpen(t, testConfig(t, dir), nil)
			put(t, w, rec("a", 1, Event)) // known from before
			put(t, w, rec("c", 1, Event))
			mustClose(t, w)
			got, found := ids(t, dir)
			if !reflect.DeepEqual(got, c.want) || found.Torn != 0 || found.Damaged != c.damaged || testutil.ToFloat64(w.metrics.damaged) != float64(c.damaged) {
				t.Errorf("%v %+v", got, found)
			}
			aside, err := os.ReadFile(filepath.Join(dir, "cdr-mgc-1.torn"))
			tail := c.tail[strings.LastIndexByte(c.tail, '\n')+1:]
			if c.aside != (err == nil) || c.aside && string(aside) != tail+"\n" {
				t.Errorf("aside: %d bytes, %v", len(aside), err)
			}
		})
	}
}

func TestCHG01_ClosedForSizeUnderLoad(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig(t, dir, "--size=4096", "--linger=0s", "--queue=100000")
	w := mustOpen(t, cfg, nil)
	const writers, calls = 8, 50
	var wg sync.WaitGroup
	var kept atomic.Int64
	for g := range writers {
		wg.Go(func() {
			for n := range calls {
				for seq, typ := range []Type{Start, Interim, Stop} {
					if err := w.Put(rec(fmt.Sprintf("%d-%d", g, n), uint32(seq+1), typ), func(err error) {
						if err == nil {
							kept.Add(1)
						}
					}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	mustClose(t, w)
	got, found := ids(t, dir)
	if len(got) != writers*calls*3 || kept.Load() != writers*calls*3 || found.Files < 10 || found.Damaged+found.Torn+found.Duplicates != 0 {
		t.Errorf("%d records, %d kept, %+v", len(got), kept.Load(), found)
	}
	names, err := filepath.Glob(filepath.Join(dir, "cdr-mgc-1-*.jsonl"))
	if err != nil || len(names) != found.Files-1 {
		t.Errorf("%v %v", names, err)
	}
	for _, n := range names {
		if info, err := os.Stat(n); err != nil || info.Size() < 4096 || info.Size() > 4096+batch*500 {
			t.Errorf("%s: %d bytes %v", n, info.Size(), err)
		}
	}
	w = mustOpen(t, testConfig(t, dir, "--size=4096", "--keep=3", "--linger=0s"), nil)
	for n := range 120 {
		put(t, w, rec(fmt.Sprint("later-", n), 1, Event))
	}
	mustClose(t, w)
	left, err := filepath.Glob(filepath.Join(dir, "cdr-mgc-1-*.jsonl"))
	if err != nil || len(left) != 3 || slices.Contains(left, names[len(names)-1]) {
		t.Errorf("kept %v %v", left, err)
	}
}

func TestCHG01_ClosedForAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := mustOpen(t, testConfig(t, dir, "--age=1m"), nil)
		closed := func() int {
			names, err := filepath.Glob(filepath.Join(dir, "cdr-mgc-1-*.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			return len(names)
		}
		<-time.After(5 * time.Minute)
		if closed() != 0 {
			t.Error("an empty file is closed")
		}
		put(t, w, rec("a", 1, Event))
		<-time.After(59 * time.Second)
		put(t, w, rec("b", 1, Event))
		if closed() != 0 {
			t.Error("closed too early")
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if closed() != 1 {
			t.Errorf("%d closed", closed())
		}
		mustClose(t, w)
		got, _ := ids(t, dir)
		if !reflect.DeepEqual(got, []string{"a.1:event", "b.1:event"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestCHG01_FullDiskIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d := t.TempDir(), newDisk()
		w := mustOpen(t, testConfig(t, dir, "--queue=16"), d.open)
		put(t, w, rec("a", 1, Start))
		d.set(func() { d.room = 50 })
		kept := make(chan error, 100)
		count := func(err error) { kept <- err }
		accepted := 0
		for n := range 40 {
			started := time.Now()
			err := w.Put(rec(fmt.Sprint("x", n), 1, Event), count)
			if time.Since(started) != 0 {
				t.Error("Put blocks")
			}
			if err == nil {
				accepted++
			} else if !errors.Is(err, ErrFull) {
				t.Error(err)
			}
			if n == 0 {
				<-time.After(time.Second) // the writer is at its tries
			}
		}
		if accepted != 17 || testutil.ToFloat64(w.metrics.dropped.WithLabelValues("event")) != 23 || testutil.ToFloat64(w.metrics.waiting) != 17 {
			t.Errorf("%d accepted", accepted)
		}
		<-time.After(time.Minute)
		if len(kept) != 0 || testutil.ToFloat64(w.metrics.failures) < 10 {
			t.Errorf("%d done, %v failures", len(kept), testutil.ToFloat64(w.metrics.failures))
		}
		if got, found := ids(t, dir); !reflect.DeepEqual(got, []string{"a.1:start"}) || found.Torn != 0 {
			t.Errorf("%v %+v", got, found)
		}
		d.set(func() { d.room = -1 })
		for range accepted {
			if err := <-kept; err != nil {
				t.Error(err)
			}
		}
		mustClose(t, w)
		if got, found := ids(t, dir); len(got) != 18 || found.Damaged+found.Torn != 0 {
			t.Errorf("%v %+v", got, found)
		}
	})
}

func TestCHG01_FailedSyncAndCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d := t.TempDir(), newDisk()
		w := mustOpen(t, testConfig(t, dir), d.open)
		put(t, w, rec("a", 1, Event))
		d.set(func() { d.noSync, d.noCut = true, true })
		done := make(chan error, 1)
		if err := w.Put(rec("b", 1, Event), func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Second)
		if len(done) != 0 {
			t.Error("kept without a sync")
		}
		d.set(func() { d.noSync = false })
		<-time.After(10 * time.Second)
		if len(done) != 0 {
			t.Error("written behind what could not be cut off")
		}
		d.set(func() { d.noCut = false })
		if err := <-done; err != nil {
			t.Error(err)
		}
		mustClose(t, w)
		if got, found := ids(t, dir); !reflect.DeepEqual(got, []string{"a.1:event", "b.1:event"}) || found.Duplicates != 0 {
			t.Errorf("%v %+v", got, found)
		}
	})
}

func TestCHG01_NoNewFileCanBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d := t.TempDir(), newDisk()
		cfg := testConfig(t, dir)
		cfg.Size = 1
		w := mustOpen(t, cfg, d.open)
		d.set(func() { d.noOpen = true })
		put(t, w, rec("a", 1, Event)) // closes its file
		done := make(chan error, 1)
		if err := w.Put(rec("b", 1, Event), func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		<-time.After(10 * time.Second)
		if len(done) != 0 {
			t.Error("kept nowhere")
		}
		d.set(func() { d.noOpen = false })
		if err := <-done; err != nil {
			t.Error(err)
		}
		mustClose(t, w)
		if got, found := ids(t, dir); len(got) != 2 || found.Files < 2 {
			t.Errorf("%v %+v", got, found)
		}
	})
}

func TestCHG01_BeginningsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := mustOpen(t, testConfig(t, t.TempDir(), "--queue=16"), d.open)
		d.set(func() { d.room = 0 })
		if err := w.Put(rec("first", 1, Event), nil); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		refused := map[Type]int{}
		for n := range 20 {
			for _, typ := range []Type{Start, Interim} {
				if w.Put(rec(fmt.Sprint(n), 1, typ), nil) != nil {
					refused[typ]++
				}
			}
		}
		for n := range 6 {
			if w.Put(rec(fmt.Sprint("end", n), 1, Stop), nil) != nil {
				refused[Stop]++
			}
		}
		if refused[Stop] != 2 || refused[Start]+refused[Interim] != 28 {
			t.Errorf("%v", refused)
		}
		d.set(func() { d.room = -1 })
		mustClose(t, w)
	})
}

func TestCHG01_CloseWithoutADisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		w := mustOpen(t, testConfig(t, t.TempDir()), d.open)
		d.set(func() { d.room = 0 })
		done := make(chan error, 2)
		for n := range 2 {
			if err := w.Put(rec(fmt.Sprint(n), 1, Stop), func(err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := w.Close(ctx); !errors.Is(err, ErrLost) {
			t.Error(err)
		}
		for range 2 {
			if err := <-done; !errors.Is(err, ErrLost) {
				t.Error(err)
			}
		}
		if testutil.ToFloat64(w.metrics.dropped.WithLabelValues("stop")) != 2 || testutil.ToFloat64(w.metrics.waiting) != 0 {
			t.Error("not counted")
		}
		if err := w.Put(rec("late", 1, Stop), nil); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestCHG01_CloseDrainsAndManyAreWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d := t.TempDir(), newDisk()
		w := mustOpen(t, testConfig(t, dir), d.open)
		for n := range 200 {
			if err := w.Put(rec(fmt.Sprint(n), 1, Event), nil); err != nil {
				t.Fatal(err)
			}
		}
		mustClose(t, w)
		if got, _ := ids(t, dir); len(got) != 200 || d.writes > 3 {
			t.Errorf("%d records in %d writes", len(got), d.writes)
		}
	})
}

func TestCHG01_OneProcessWrites(t *testing.T) {
	dir := t.TempDir()
	w := mustOpen(t, testConfig(t, dir), nil)
	if _, err := newWriter(t, testConfig(t, dir), nil); err == nil {
		t.Error("a second writer of the same files")
	}
	mustClose(t, w)
	mustClose(t, mustOpen(t, testConfig(t, dir), nil))
}

func TestCHG01_RemovedFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	cfg := testConfig(t, dir)
	cfg.Size = 1000
	w := mustOpen(t, cfg, nil)
	put(t, w, rec("a", 1, Event))
	if err := os.Remove(filepath.Join(dir, "cdr-mgc-1.jsonl")); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		put(t, w, rec(fmt.Sprint(n), 1, Event))
	}
	mustClose(t, w)
	if got, _ := ids(t, dir); len(got) < 5 {
		t.Errorf("%v", got)
	}
}

func TestLedgerForgetsTheOldest(t *testing.T) {
	l := newLedger(3)
	for n := range 5 {
		if r := rec(fmt.Sprint(n), 1, Event); !l.take(&r) {
			t.Errorf("%d refused", n)
		}
	}
	old, young := rec("1", 1, Event), rec("2", 1, Event)
	if l.take(&young) || len(l.calls) != 3 {
		t.Errorf("the young one is forgotten: %v", l.calls)
	}
	if !l.take(&old) || len(l.calls) != 3 {
		t.Errorf("the old one is not: %v", l.calls)
	}
}

func TestCHG01_FailedClosingOfAFileIsTriedAgainSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d := t.TempDir(), newDisk()
		cfg := testConfig(t, dir)
		cfg.Size = 1
		w := mustOpen(t, cfg, d.open)
		if err := w.Put(rec("a", 1, Event), func(error) { d.set(func() { d.noSync = true }) }); err != nil { // kept; closing fails
			t.Fatal(err)
		}
		<-time.After(21 * time.Second)
		d.set(func() {
			if d.syncs != 6 { // one with the record, then every five seconds
				t.Errorf("%d syncs", d.syncs)
			}
			d.noSync = false
		})
		<-time.After(5 * time.Second)
		synctest.Wait()
		if names, err := filepath.Glob(filepath.Join(dir, "cdr-mgc-1-*.jsonl")); err != nil || len(names) != 1 {
			t.Errorf("%v %v", names, err)
		}
		mustClose(t, w)
	})
}
