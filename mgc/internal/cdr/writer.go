package cdr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Errors of Put and of done.
var (
	ErrFull   = errors.New("cdr: queue is full")
	ErrClosed = errors.New("cdr: writer is closed")
	ErrLost   = errors.New("cdr: closed before the record could be written")
)

const (
	batch        = 256 // records in one write, at most
	retryFirst   = 100 * time.Millisecond
	retryLongest = 5 * time.Second // between two tries of a write that fails
)

// Writer writes the records of one instance. Close it.
type Writer struct {
	cfg      Config
	instance string
	metrics  *Metrics
	log      *zap.Logger
	known    *ledger  // owned by run
	journal  *journal // owned by run

	mu     sync.RWMutex // guards closed, and sending to queue against closing it
	closed bool
	queue  chan *item // writers: Put, without blocking; full: ErrFull
	done   chan struct{}
	ctx    context.Context // ends when Close does not wait any longer
	stop   context.CancelFunc
	err    error // of closing; set before done is closed
}

type item struct {
	rec  Record
	done func(error)
}

// Open starts the writer of instance in cfg.Dir. It repairs what a crash left. Errors: of the files, another process that writes them.
func Open(cfg Config, instance string, m *Metrics, log *zap.Logger) (*Writer, error) {
	return open(cfg, instance, m, log, openAppend)
}

func open(cfg Config, instance string, m *Metrics, log *zap.Logger, disk opener) (*Writer, error) {
	if err := errors.Join(checkInstance(instance), cfg.Validate()); err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, instance: instance, metrics: m, log: log, known: newLedger(cfg.Known), queue: make(chan *item, cfg.Queue), done: make(chan struct{})}
	j, err := openJournal(cfg, instance, w.known, disk, m, log)
	if err != nil {
		return nil, err
	}
	w.journal = j
	w.ctx, w.stop = context.WithCancel(context.Background())
	go w.run()
	return w, nil
}

// Put hands r over; the writer owns it with all that it refers to. It never blocks. done, which may be nil, is called once from the
// writer's goroutine when the record is kept (nil), also when it was written before, or lost for good; it must not block. With an error
// done is not called. Errors: ErrRecord, ErrFull, ErrClosed.
func (w *Writer) Put(r Record, done func(error)) error {
	if err := r.check(); err != nil {
		return err
	}
	r.ID, r.Role, r.Instance = r.name(), RoleOfNode, w.instance
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	r.finite()
	w.mu.RLock()
	defer w.mu.RUnlock()
	err := ErrFull
	if w.closed {
		err = ErrClosed
	} else if r.Type.closes() || len(w.queue) < cap(w.queue)*3/4 {
		select {
		case w.queue <- &item{r, done}:
			w.metrics.waiting.Inc()
			return nil
		default:
		}
	}
	w.metrics.dropped.WithLabelValues(string(r.Type)).Inc()
	return err
}

// Close writes what waits and ends the writer. When ctx ends first, what is not written is lost, counted, and done is told so. Errors:
// ErrLost, those of the last sync.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	defer context.AfterFunc(ctx, w.stop)()
	<-w.done
	w.stop()
	return w.err
}

// run is the writer's goroutine.
func (w *Writer) run() {
	defer close(w.done)
	for {
		items, more := w.collect()
		if len(items) > 0 {
			w.keep(items)
		}
		w.rotateIfDue()
		if !more {
			w.err = errors.Join(w.err, w.journal.close())
			return
		}
	}
}

// collect waits for records, then a moment for more of them. It returns none when the file has come of age. more: the queue is open.
func (w *Writer) collect() (items []*item, more bool) {
	var age <-chan time.Time
	if due := w.journal.due(); !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		age = t.C
	}
	select {
	case it, ok := <-w.queue:
		if !ok {
			return nil, false
		}
		items = append(items, it)
	case <-age:
		return nil, true
	}
	linger := time.NewTimer(w.cfg.Linger)
	defer linger.Stop()
	for len(items) < batch {
		select {
		case it, ok := <-w.queue:
			if !ok {
				return items, false
			}
			items = append(items, it)
		case <-linger.C:
			return items, true
		}
	}
	return items, true
}

// keep writes the records that were not written before, trying until it succeeds or nobody waits any more, and tells everybody.
func (w *Writer) keep(items []*item) {
	var lines []byte
	fresh := make([]bool, len(items))
	for i := range items {
		if fresh[i] = w.known.take(&items[i].rec); !fresh[i] {
			w.metrics.duplicates.Inc()
			continue
		}
		line, err := json.Marshal(&items[i].rec)
		if err != nil || len(line) >= maxLine {
			w.refuse(items[i], fmt.Errorf("%w: %w", ErrRecord, errors.Join(err, errors.New("too long or not to be encoded"))))
			fresh[i] = false
			continue
		}
		lines = append(append(lines, line...), '\n')
	}
	err := w.persist(lines)
	for i, it := range items {
		w.metrics.waiting.Dec()
		switch {
		case fresh[i] && err == nil:
			w.metrics.written.WithLabelValues(string(it.rec.Type)).Inc()
		case fresh[i]:
			w.metrics.dropped.WithLabelValues(string(it.rec.Type)).Inc()
		}
		if it.done != nil {
			it.done(err)
		}
	}
}

// refuse tells that a record can never be written.
func (w *Writer) refuse(it *item, err error) {
	w.metrics.dropped.WithLabelValues(string(it.rec.Type)).Inc()
	w.log.Error("call data record refused", zap.String("id", it.rec.ID), zap.Error(err))
	if it.done != nil {
		it.done(err)
		it.done = nil
	}
}

// persist writes lines until they are kept. ErrLost when Close does not wait any longer.
func (w *Writer) persist(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	pause, failed := retryFirst, false
	for {
		err := w.journal.append(lines, time.Now())
		if err == nil {
			if failed {
				w.log.Info("call data records are written again")
			}
			return nil
		}
		if !failed {
			w.log.Error("call data records cannot be written, trying again", zap.Error(err))
			failed = true
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			w.err = ErrLost
			return ErrLost
		}
		pause = min(2*pause, retryLongest)
	}
}

// rotateIfDue closes the file when it is full or old.
func (w *Writer) rotateIfDue() {
	now := time.Now()
	if due := w.journal.due(); due.IsZero() || now.Before(due) {
		return
	}
	if err := w.journal.rotate(now); err != nil {
		w.metrics.failures.Inc()
		w.log.Error("file of call data records is not closed, trying again", zap.Error(err))
	}
}
