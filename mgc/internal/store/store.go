package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of every engine; compare with errors.Is. The returned error also names the operation and the key.
var (
	// ErrNotFound: no record has the key, or it was deleted, or it expired.
	ErrNotFound = errors.New("store: no such record")
	// ErrConflict: the record is not at the expected revision (Create: it exists; Update and Delete: it changed or is gone).
	ErrConflict = errors.New("store: revision conflict")
	// ErrUnavailable: the engine cannot be reached or did not answer in time. A write may or may not have happened.
	ErrUnavailable = errors.New("store: unavailable")
	// ErrInvalid: the key is malformed or the value is longer than MaxValue.
	ErrInvalid = errors.New("store: invalid key or value")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Forever is the time to live of a record that does not expire.
const Forever time.Duration = 0

// MaxValue is the longest value in bytes.
const MaxValue = 512 << 10

// Record is one stored value.
type Record struct {
	Key      string // as made by Key
	Value    []byte // owned by the receiver; nil in events of deletion
	Revision uint64 // unique and growing over all records of the store; 0 is no revision
}

// EventKind tells what an Event reports.
type EventKind uint8

const (
	// EventPut: a record was created or updated.
	EventPut EventKind = iota
	// EventDelete: a record was deleted or expired; Value is nil.
	EventDelete
	// EventReset: the watch had to start over; all existing records follow as EventPut, then EventSynced.
	// Records which the watcher knew and that do not follow are gone.
	EventReset
	// EventSynced: all records that existed when the watch (re)started have been reported.
	EventSynced
)

// Event is one change seen by a watch.
type Event struct {
	Kind EventKind
	Record
}

// Watcher delivers the changes of the records below a prefix, in the order of their revisions. Of several quick changes of one
// record only the last is sure to be delivered.
type Watcher interface {
	// Events is closed after Stop, after the end of the watch's context and when the store closes. The receiver must
	// keep reading: capacity 256, and a watcher that does not read holds back only itself.
	Events() <-chan Event
	// Stop ends the watch and waits until its goroutine has ended. May be called more than once.
	Stop()
}

// Store is one set of records shared by the instances of a pool. All methods are safe for concurrent use; a context
// without deadline is bounded by the engine's operation time-out (2 s by default). Values that are written belong to the store:
// the caller must not change them afterwards.
type Store interface {
	// Get returns the record. Errors: ErrNotFound, ErrUnavailable.
	Get(ctx context.Context, key string) (Record, error)
	// Create writes a record that must not exist and returns its revision. ttl is rounded up to whole seconds;
	// Forever: no expiry. Errors: ErrConflict, ErrUnavailable.
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error)
	// Update replaces the record at revision rev, value and time to live together, and returns the new revision.
	// ttl counts from now. Errors: ErrConflict (also when the record is gone), ErrUnavailable.
	Update(ctx context.Context, key string, value []byte, rev uint64, ttl time.Duration) (uint64, error)
	// Delete removes the record at revision rev; rev 0: whatever its revision. It returns the revision of the deletion.
	// Deleting a record that does not exist with rev 0 is no error. Errors: ErrConflict, ErrUnavailable.
	Delete(ctx context.Context, key string, rev uint64) (uint64, error)
	// List returns the records below prefix in no given order; "" lists all. prefix ends at a key part ("reg", "reg.3f").
	List(ctx context.Context, prefix string) ([]Record, error)
	// Watch reports the records below prefix and then their changes until ctx ends.
	Watch(ctx context.Context, prefix string) (Watcher, error)
}

// Key joins parts to a key. Each part may hold any bytes; those outside [A-Za-z0-9_-] are escaped as "=hh", so that
// different parts never make equal keys. Panics on no or an empty part, which is a programming error.
func Key(parts ...string) string {
	if len(parts) == 0 {
		panic("store: key without parts")
	}
	var b strings.Builder
	for i, p := range parts {
		if p == "" {
			panic("store: empty key part")
		}
		if i > 0 {
			b.WriteByte('.')
		}
		escapePart(&b, p)
	}
	return b.String()
}

func escapePart(b *strings.Builder, p string) {
	const hex = "0123456789abcdef"
	for i := range len(p) {
		if c := p[i]; plainKeyByte(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

func plainKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// checkKey accepts what Key makes.
func checkKey(key string) error {
	if key == "" || len(key) > 1024 || strings.HasPrefix(key, ".") || strings.HasSuffix(key, ".") || strings.Contains(key, "..") {
		return fmt.Errorf("%w: key %.80q", ErrInvalid, key)
	}
	for i := range len(key) {
		if c := key[i]; !plainKeyByte(c) && c != '.' && c != '=' {
			return fmt.Errorf("%w: key %.80q", ErrInvalid, key)
		}
	}
	return nil
}

func checkValue(v []byte) error {
	if len(v) > MaxValue {
		return fmt.Errorf("%w: value of %d bytes", ErrInvalid, len(v))
	}
	return nil
}

// under reports whether key lies below prefix; prefix "" holds all keys.
func under(key, prefix string) bool {
	return prefix == "" || len(key) > len(prefix) && key[len(prefix)] == '.' && strings.HasPrefix(key, prefix)
}

// wholeSeconds rounds a time to live up to what the engines can keep: whole seconds, at least one.
func wholeSeconds(ttl time.Duration) time.Duration {
	if ttl <= 0 {
		return 0
	}
	return (ttl + time.Second - 1).Truncate(time.Second)
}
