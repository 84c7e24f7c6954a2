package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Entry is one typed record of a Table.
type Entry[T any] struct {
	ID       string // the record's key below the table's prefix, as made by Key
	Value    T
	Revision uint64
}

// Table is a typed view of the records below one prefix; values are JSON. It holds no state.
type Table[T any] struct {
	store  Store
	prefix string
}

// NewTable returns the table of T below prefix, one key part such as "reg".
func NewTable[T any](s Store, prefix string) Table[T] { return Table[T]{store: s, prefix: Key(prefix)} }

func (t Table[T]) key(id string) string { return t.prefix + "." + id }

// Get returns the entry. Errors as of Store.Get; a value that is no T is reported as such.
func (t Table[T]) Get(ctx context.Context, id string) (Entry[T], error) {
	r, err := t.store.Get(ctx, t.key(id))
	if err != nil {
		return Entry[T]{}, err
	}
	return t.decode(r)
}

// Create writes an entry that must not exist. Errors as of Store.Create.
func (t Table[T]) Create(ctx context.Context, id string, v T, ttl time.Duration) (uint64, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", t.key(id), err)
	}
	return t.store.Create(ctx, t.key(id), b, ttl)
}

// Update replaces the entry at revision rev. Errors as of Store.Update.
func (t Table[T]) Update(ctx context.Context, id string, v T, rev uint64, ttl time.Duration) (uint64, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", t.key(id), err)
	}
	return t.store.Update(ctx, t.key(id), b, rev, ttl)
}

// Delete removes the entry at revision rev (0: any). Errors as of Store.Delete.
func (t Table[T]) Delete(ctx context.Context, id string, rev uint64) (uint64, error) {
	return t.store.Delete(ctx, t.key(id), rev)
}

// List returns all entries. A record that is no T fails the whole list.
func (t Table[T]) List(ctx context.Context) ([]Entry[T], error) {
	recs, err := t.store.List(ctx, t.prefix)
	if err != nil {
		return nil, err
	}
	out := make([]Entry[T], 0, len(recs))
	for _, r := range recs {
		e, err := t.decode(r)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func (t Table[T]) decode(r Record) (Entry[T], error) {
	e := Entry[T]{ID: r.Key[len(t.prefix)+1:], Revision: r.Revision}
	if err := json.Unmarshal(r.Value, &e.Value); err != nil {
		return Entry[T]{}, fmt.Errorf("decode %s: %w", r.Key, err)
	}
	return e, nil
}
