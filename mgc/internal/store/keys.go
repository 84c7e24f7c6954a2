package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// TokenKey is one secret of the pool, for sealing flow and call tokens.
type TokenKey struct {
	ID      byte      `json:"id"`  // grows with each rotation, from 1; wraps
	Secret  []byte    `json:"key"` // 32 random bytes; never logged
	Created time.Time `json:"at"`
}

// keepKeys is how many keys stay valid: the sealing one and its predecessors.
const keepKeys = 3

// String hides the secret.
func (k TokenKey) String() string {
	return fmt.Sprintf("token key %d of %s", k.ID, k.Created.Format(time.RFC3339))
}

// GoString hides the secret.
func (k TokenKey) GoString() string { return k.String() }

// Keys returns the token keys that the pool shares, newest first: seal with the first, open with any. The first
// instance to ask creates them by compare-and-set; all others get the same. They live in the store's memory and
// nowhere else (in its files when Config.Persist is set).
func Keys(ctx context.Context, s Store) ([]TokenKey, error) {
	for range 8 {
		keys, _, err := readKeys(ctx, s)
		if err == nil || !errors.Is(err, ErrNotFound) {
			return keys, err
		}
		keys = []TokenKey{newTokenKey(1)}
		b, err := json.Marshal(keys)
		if err != nil {
			return nil, fmt.Errorf("encode token keys: %w", err)
		}
		if _, err = s.Create(ctx, keysKey(), b, Forever); err == nil {
			return keys, nil
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("create token keys: %w", ErrConflict)
}

// RotateKeys puts a new key in front, drops those older than the last three, and returns all. Instances must read
// Keys again to open what is sealed with it.
func RotateKeys(ctx context.Context, s Store) ([]TokenKey, error) {
	for range 8 {
		if _, err := Keys(ctx, s); err != nil {
			return nil, err
		}
		keys, rev, err := readKeys(ctx, s)
		if err != nil {
			return nil, err
		}
		keys = append([]TokenKey{newTokenKey(keys[0].ID + 1)}, keys...)
		keys = keys[:min(len(keys), keepKeys)]
		b, err := json.Marshal(keys)
		if err != nil {
			return nil, fmt.Errorf("encode token keys: %w", err)
		}
		if _, err = s.Update(ctx, keysKey(), b, rev, Forever); err == nil {
			return keys, nil
		}
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("rotate token keys: %w", ErrConflict)
}

func keysKey() string { return Key("keys", "token") }

func newTokenKey(id byte) TokenKey {
	k := TokenKey{ID: id, Secret: make([]byte, 32), Created: time.Now().UTC()}
	_, _ = rand.Read(k.Secret) // never fails (crypto/rand)
	return k
}

func readKeys(ctx context.Context, s Store) ([]TokenKey, uint64, error) {
	r, err := s.Get(ctx, keysKey())
	if err != nil {
		return nil, 0, err
	}
	var keys []TokenKey
	if err := json.Unmarshal(r.Value, &keys); err != nil || len(keys) == 0 {
		return nil, 0, fmt.Errorf("decode token keys: %w", errors.Join(ErrInvalid, err))
	}
	return keys, r.Revision, nil
}
