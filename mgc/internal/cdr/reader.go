package cdr

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLine bounds one line, bytes.
const maxLine = 1 << 20

// Errors of Reader.Next.
var (
	ErrDamaged = errors.New("cdr: unreadable line") // the next one may be read
	ErrTorn    = errors.New("cdr: torn last line")  // the last line has no end; nothing follows
)

// Reader reads the records of one file.
type Reader struct {
	in     *bufio.Reader
	offset int64  // end of the last line that had an end
	torn   []byte // what follows the last line's end
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{in: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next record. Errors: io.EOF at the end; ErrDamaged for a line that is no record, after which Next may be called again;
// ErrTorn for a last line without an end, with the record when the line is complete but for its end; those of reading.
func (r *Reader) Next() (Record, error) {
	line, n, err := r.line()
	if err != nil && err != io.EOF {
		return Record{}, err
	}
	if err == io.EOF {
		if n == 0 {
			return Record{}, io.EOF
		}
		r.torn = line
		rec, perr := parse(line)
		if perr != nil {
			rec = Record{}
		}
		return rec, ErrTorn
	}
	r.offset += n
	rec, perr := parse(line)
	if perr != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrDamaged, perr)
	}
	return rec, nil
}

// line returns the next line without its end, and its length with it. Of a line beyond maxLine only that much is kept.
func (r *Reader) line() (line []byte, n int64, err error) {
	for {
		part, err := r.in.ReadSlice('\n')
		n += int64(len(part))
		if len(line) <= maxLine {
			line = append(line, part...)
		}
		switch err {
		case bufio.ErrBufferFull:
		case nil:
			return bytes.TrimSuffix(line, []byte{'\n'}), n, nil
		default:
			return line, n, err
		}
	}
}

func parse(line []byte) (Record, error) {
	if len(line) > maxLine {
		return Record{}, errors.New("too long")
	}
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, err
	}
	if err := r.check(); err != nil {
		return Record{}, err
	}
	if r.ID != r.name() {
		return Record{}, fmt.Errorf("%w: id is not that of call and number", ErrRecord)
	}
	return r, nil
}

// Found says what Read met beside records.
type Found struct {
	Files      int
	Records    int // given to the caller
	Duplicates int // written before, by this or another instance
	Damaged    int // unreadable lines
	Torn       int // last lines without an end
}

// Read gives every record below dir to each, of all instances, file by file in order of writing, every record once and at most one end of
// a call. It may run beside writers. Errors: of reading, and those of each, which end it.
func Read(dir string, each func(Record) error) (Found, error) {
	var f Found
	seen, ended := map[string]bool{}, map[string]bool{}
	keep := func(r Record) error {
		if seen[r.ID] || r.Type.closes() && ended[r.Call] {
			f.Duplicates++
			return nil
		}
		seen[r.ID] = true
		ended[r.Call] = ended[r.Call] || r.Type.closes()
		f.Records++
		return each(r)
	}
	done := map[string]bool{}
	for {
		names, err := filepath.Glob(filepath.Join(dir, "cdr-*.jsonl"))
		if err != nil {
			return f, err
		}
		names = slices.DeleteFunc(names, func(n string) bool { return done[n] })
		if len(names) == 0 {
			return f, nil
		}
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(order(a), order(b)) })
		for _, name := range names { // a file that is renamed meanwhile is found by its other name in the next turn
			done[name] = true
			if err := readFile(name, &f, keep); err != nil {
				return f, err
			}
		}
	}
}

// order is the sorting key of a file: an open one comes after the closed ones of its instance.
func order(name string) string {
	if base := strings.TrimSuffix(filepath.Base(name), ".jsonl"); !closedPattern.MatchString(base) {
		return base + "-~"
	}
	return filepath.Base(name)
}

func readFile(name string, f *Found, each func(Record) error) error {
	in, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // renamed or removed meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	f.Files++
	r := NewReader(in)
	for {
		rec, err := r.Next()
		switch {
		case err == nil:
			if err := each(rec); err != nil {
				return err
			}
		case err == io.EOF:
			return nil
		case errors.Is(err, ErrDamaged):
			f.Damaged++
		case errors.Is(err, ErrTorn):
			f.Torn++ // being written, or left by a crash: the writer's restart completes or moves it
			return nil
		default:
			return err
		}
	}
}
