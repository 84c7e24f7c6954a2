package app

import (
	"context"
	"errors"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// leases keeps pooled identities in the store, so that they are exclusive over all instances of the pool.
type leases struct{ table store.Table[string] }

var _ auth.Leases = leases{}

func newLeases(s store.Store) leases { return leases{store.NewTable[string](s, "lease")} }

// Acquire implements auth.Leases: compare-and-set, repeated while others write.
func (l leases) Acquire(ctx context.Context, key, holder string, ttl time.Duration) (string, error) {
	id := store.Key(key)
	ttl = max(ttl, time.Second) // the store's least
	for ctx.Err() == nil {
		_, err := l.table.Create(ctx, id, holder, ttl)
		if err == nil {
			return holder, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return "", err
		}
		e, err := l.table.Get(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound): // it has ended meanwhile
			continue
		case err != nil:
			return "", err
		case e.Value != holder:
			return e.Value, nil
		}
		_, err = l.table.Update(ctx, id, holder, e.Revision, ttl)
		if err == nil {
			return holder, nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
	}
	return "", ctx.Err()
}

// Release implements auth.Leases.
func (l leases) Release(ctx context.Context, key, holder string) error {
	id := store.Key(key)
	e, err := l.table.Get(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case e.Value != holder:
		return nil
	}
	_, err = l.table.Delete(ctx, id, e.Revision)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return nil // it has passed on
	}
	return err
}
