package cdr

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// file is what the journal needs of a file, so that tests can have a disk that fails.
type file interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Close() error
}

// opener opens the active file for appending.
type opener func(name string) (file, error)

func openAppend(name string) (file, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
}

// closedPattern matches the name of a closed file, without its extension; its last two parts sort by age.
var closedPattern = regexp.MustCompile(`-\d{8}T\d{6}Z-\d{6,}$`)

// journal is the active file and its closed predecessors. Owned by the writer's goroutine.
type journal struct {
	cfg     Config
	base    string // path of the files without what tells them apart
	open    opener
	metrics *Metrics
	log     *zap.Logger
	lock    *os.File
	out     file      // nil: not open, or closed after a failure
	size    int64     // bytes that count; what the file has beyond is of a write that failed
	born    time.Time // of the first record
	dirty   bool      // what is beyond size could not be cut off
	number  uint64    // of the next closed file
	calm    time.Time // no rotation before: the last one failed
}

// openJournal locks, repairs and opens the files of instance, and notes what was written in known.
func openJournal(cfg Config, instance string, known *ledger, open opener, m *Metrics, log *zap.Logger) (*journal, error) {
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("cdr: %w", err)
	}
	j := &journal{cfg: cfg, base: filepath.Join(cfg.Dir, "cdr-"+instance), open: open, metrics: m, log: log, number: 1}
	lock, err := os.OpenFile(j.base+".lock", os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("cdr: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close() // nothing written
		return nil, fmt.Errorf("cdr: another process writes %s: %w", j.active(), err)
	}
	j.lock = lock
	if err := errors.Join(j.recall(known), j.repair(known)); err != nil {
		_ = lock.Close() // nothing written
		return nil, fmt.Errorf("cdr: %w", err)
	}
	if err := j.reopen(); err != nil {
		_ = lock.Close() // nothing written
		return nil, fmt.Errorf("cdr: %w", err)
	}
	return j, nil
}

func (j *journal) active() string { return j.base + ".jsonl" }

// closed returns the closed files of this instance, oldest first.
func (j *journal) closed() ([]string, error) {
	names, err := filepath.Glob(j.base + "-*.jsonl")
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { // another instance's name may begin with ours
		return len(closedPattern.FindString(strings.TrimSuffix(n, ".jsonl"))) != len(n)-len(j.base)-len(".jsonl")
	})
	slices.Sort(names)
	return names, nil
}

// recall notes the newest closed files, as far as the ledger reaches.
func (j *journal) recall(known *ledger) error {
	names, err := j.closed()
	if err != nil {
		return err
	}
	var files [][]Record
	for n, i := 0, len(names)-1; i >= 0 && n < len(known.ring); i-- {
		var recs []Record
		var f Found
		if err := readFile(names[i], &f, func(r Record) error { recs = append(recs, Record{Call: r.Call, Seq: r.Seq, Type: r.Type}); return nil }); err != nil {
			return err
		}
		n += len(recs)
		files = append(files, recs)
	}
	for _, recs := range slices.Backward(files) {
		for i := range recs {
			known.take(&recs[i])
		}
	}
	if len(names) > 0 {
		last := strings.TrimSuffix(names[len(names)-1], ".jsonl")
		n, err := strconv.ParseUint(last[strings.LastIndexByte(last, '-')+1:], 10, 64)
		if err != nil {
			return err
		}
		j.number = n + 1
	}
	return nil
}

// repair reads the active file and mends a torn last line: it gets its end when it is whole without, else it is moved aside, for
// somebody to look at.
func (j *journal) repair(known *ledger) error {
	in, err := os.OpenFile(j.active(), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // synced where it matters
	r := NewReader(in)
	for {
		rec, err := r.Next()
		switch {
		case err == io.EOF:
			j.size = r.offset
			return in.Sync() // what is known counts as kept
		case errors.Is(err, ErrDamaged):
			j.metrics.damaged.Inc()
			continue
		case errors.Is(err, ErrTorn) && rec.Call == "":
			j.size = r.offset
			return j.moveAside(in, r)
		case errors.Is(err, ErrTorn):
			j.note(known, &rec)
			j.size = r.offset + int64(len(r.torn)) + 1
			j.metrics.torn.WithLabelValues("completed").Inc()
			_, werr := in.WriteAt([]byte{'\n'}, j.size-1)
			return errors.Join(werr, in.Sync())
		case err != nil:
			return err
		}
		j.note(known, &rec)
	}
}

func (j *journal) note(known *ledger, rec *Record) {
	known.take(rec)
	if j.born.IsZero() {
		j.born = rec.Time
	}
}

// moveAside appends the torn end of the active file to another and then cuts it off; a crash in between does both again.
func (j *journal) moveAside(in *os.File, r *Reader) error {
	j.metrics.torn.WithLabelValues("moved").Inc()
	j.log.Warn("torn last call data record is moved aside", zap.String("file", j.base+".torn"), zap.Int("bytes", len(r.torn)))
	aside, err := os.OpenFile(j.base+".torn", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(aside, io.NewSectionReader(in, r.offset, 1<<62))
	if err == nil {
		_, err = aside.Write([]byte{'\n'})
	}
	if err := errors.Join(err, aside.Sync(), aside.Close()); err != nil {
		return err
	}
	return errors.Join(in.Truncate(r.offset), in.Sync())
}

// reopen opens the active file when it is not.
func (j *journal) reopen() error {
	if j.out != nil {
		return nil
	}
	out, err := j.open(j.active())
	if err != nil {
		return err
	}
	j.out = out
	return nil
}

// append adds whole lines, all or none that counts: after a failure the file is cut back, now or before the next try.
func (j *journal) append(lines []byte, now time.Time) error {
	if err := j.reopen(); err != nil {
		return err
	}
	started := time.Now()
	err := j.write(lines)
	j.metrics.seconds.Observe(time.Since(started).Seconds())
	if err != nil {
		j.metrics.failures.Inc()
		j.dirty = j.out.Truncate(j.size) != nil // else it is cut before the next try
		return err
	}
	if j.size == 0 {
		j.born = now
	}
	j.size += int64(len(lines))
	j.metrics.bytes.Add(float64(len(lines)))
	return nil
}

func (j *journal) write(lines []byte) error {
	if j.dirty {
		if err := j.out.Truncate(j.size); err != nil {
			return err
		}
		j.dirty = false
	}
	if _, err := j.out.Write(lines); err != nil {
		return err
	}
	if j.cfg.Sync {
		return j.out.Sync()
	}
	return nil
}

// due returns when the active file is to be closed, for its size or its age; zero: it is empty.
func (j *journal) due() time.Time {
	if j.size == 0 {
		return time.Time{}
	}
	due := j.born.Add(j.cfg.Age)
	if j.size >= j.cfg.Size {
		due = j.born
	}
	if due.Before(j.calm) {
		due = j.calm
	}
	return due
}

// rotate closes the active file under a name that stays. A failure leaves it active; it is tried again after a while.
func (j *journal) rotate(now time.Time) error {
	j.calm = now.Add(retryLongest)
	if err := j.reopen(); err != nil {
		return err
	}
	if err := errors.Join(j.out.Truncate(j.size), j.out.Sync()); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%s-%06d.jsonl", j.base, now.UTC().Format("20060102T150405Z"), j.number)
	if err := os.Rename(j.active(), name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	} else if err != nil { // somebody removed it: what was in it is lost, what comes is not
		j.log.Error("the file of call data records was removed by somebody", zap.String("file", j.active()))
	}
	j.number++
	j.calm = time.Time{}
	err := errors.Join(j.out.Close(), syncDir(j.cfg.Dir))
	j.out, j.size, j.born = nil, 0, time.Time{}
	j.metrics.files.Inc()
	return errors.Join(err, j.prune(), j.reopen())
}

// prune removes the oldest closed files beyond those that are kept.
func (j *journal) prune() error {
	if j.cfg.Keep == 0 {
		return nil
	}
	names, err := j.closed()
	for len(names) > j.cfg.Keep {
		err = errors.Join(err, os.Remove(names[0]))
		j.metrics.removed.Inc()
		names = names[1:]
	}
	return err
}

func (j *journal) close() error {
	var err error
	if j.out != nil {
		err = errors.Join(j.out.Truncate(j.size), j.out.Sync(), j.out.Close())
	}
	return errors.Join(err, j.lock.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
