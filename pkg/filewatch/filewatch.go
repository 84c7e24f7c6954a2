// Package filewatch tells when files have changed, by looking at them. Floor 0 of pkg. Owner: Watcher owns the goroutine that looks.
package filewatch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Interval is the default time between two looks at the files.
const Interval = 10 * time.Second

// Watcher calls reload when one of the files has changed. Its owner closes it.
type Watcher struct {
	what              string                   // for the log
	files             func() ([]string, error) // what is looked at now
	reload            func() (notAfter time.Time, err error)
	log               *zap.Logger
	stop              chan struct{}
	done              sync.WaitGroup
	once              sync.Once
	seen              []stamp // of what was tried last; owned by run after Watch
	reloads, failures atomic.Uint64
}

// stamp tells one state of a file from another.
type stamp struct {
	name string
	at   time.Time
	size int64
}

// Watch calls reload and starts to look at the files, each interval (0: Interval). It fails when they cannot be used now; later failures
// are logged, with what the files are. reload runs on one goroutine at a time and returns the time when what it has read expires, zero for never.
func Watch(what string, files []string, interval time.Duration, log *zap.Logger, reload func() (time.Time, error)) (*Watcher, error) {
	return WatchListed(what, func() ([]string, error) { return files, nil }, interval, log, reload)
}

// WatchListed is Watch for files that come and go: list names those there are, in the same order each time.
func WatchListed(what string, list func() ([]string, error), interval time.Duration, log *zap.Logger, reload func() (time.Time, error)) (*Watcher, error) {
	if interval <= 0 {
		interval = Interval
	}
	w := &Watcher{what: what, files: list, reload: reload, log: log, stop: make(chan struct{})}
	var err error
	if w.seen, err = w.stat(); err != nil {
		return nil, err
	}
	if _, err := reload(); err != nil {
		return nil, err
	}
	w.done.Add(1)
	go w.run(interval)
	return w, nil
}

// Counts returns how often changed files were taken up and how often that failed.
func (w *Watcher) Counts() (reloads, failures uint64) { return w.reloads.Load(), w.failures.Load() }

// Close stops watching and waits for the goroutine; what was loaded last can still be used.
func (w *Watcher) Close() error {
	w.once.Do(func() { close(w.stop) })
	w.done.Wait()
	return nil
}

func (w *Watcher) run(interval time.Duration) {
	defer w.done.Done()
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
			w.look()
		}
	}
}

// look takes up changed files. Files that do not fit (one of a pair is written before the other) are tried again when either
// changes further, and on the next look.
func (w *Watcher) look() {
	s, err := w.stat()
	if err == nil && slices.Equal(s, w.seen) {
		return
	}
	var notAfter time.Time
	if err == nil {
		notAfter, err = w.reload()
	}
	if err != nil {
		w.failures.Add(1)
		w.log.Error(w.what+" not reloaded, the old one stays", w.named(), zap.Error(err))
		return
	}
	w.seen = s
	w.reloads.Add(1)
	expiry := zap.Skip()
	if !notAfter.IsZero() {
		expiry = zap.Time("not_after", notAfter)
	}
	w.log.Info(w.what+" reloaded", w.named(), expiry)
}

// named is the files for the log.
func (w *Watcher) named() zap.Field {
	files, err := w.files()
	if err != nil {
		return zap.Skip()
	}
	return zap.Strings("files", files)
}

func (w *Watcher) stat() ([]stamp, error) {
	files, err := w.files()
	if err != nil {
		return nil, fmt.Errorf("filewatch: %w", err)
	}
	out := make([]stamp, len(files))
	var errs []error
	for i, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[i] = stamp{name, info.ModTime(), info.Size()}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("filewatch: %w", err)
	}
	return out, nil
}
