package tlsfiles

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

// watcher calls reload when one of the files has changed. Owner of its goroutine.
type watcher struct {
	what              string // for the log
	files             []string
	reload            func() (notAfter time.Time, err error)
	log               *zap.Logger
	stop              chan struct{}
	done              sync.WaitGroup
	once              sync.Once
	seen              []stamp // of what was tried last; owned by run after watch
	reloads, failures atomic.Uint64
}

// stamp tells one state of a file from another.
type stamp struct {
	at   time.Time
	size int64
}

// watch loads the files and starts to look at them. It fails when they cannot be used now.
func watch(what string, files []string, interval time.Duration, log *zap.Logger, reload func() (time.Time, error)) (*watcher, error) {
	if interval <= 0 {
		interval = Interval
	}
	w := &watcher{what: what, files: files, reload: reload, log: log, stop: make(chan struct{})}
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
func (w *watcher) Counts() (reloads, failures uint64) { return w.reloads.Load(), w.failures.Load() }

// Close stops watching and waits for the goroutine; what was loaded last can still be used.
func (w *watcher) Close() error {
	w.once.Do(func() { close(w.stop) })
	w.done.Wait()
	return nil
}

func (w *watcher) run(interval time.Duration) {
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
func (w *watcher) look() {
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
		w.log.Error(w.what+" not reloaded, the old one stays", zap.Strings("files", w.files), zap.Error(err))
		return
	}
	w.seen = s
	w.reloads.Add(1)
	w.log.Info(w.what+" reloaded", zap.Strings("files", w.files), zap.Time("not_after", notAfter))
}

func (w *watcher) stat() ([]stamp, error) {
	out := make([]stamp, len(w.files))
	var errs []error
	for i, name := range w.files {
		info, err := os.Stat(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[i] = stamp{info.ModTime(), info.Size()}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("tlsfiles: %w", err)
	}
	return out, nil
}
