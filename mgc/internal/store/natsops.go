package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// mapError turns an error of the NATS client into one of this package.
func mapError(op, key string, err error) error {
	var api *jetstream.APIError
	kind := ErrUnavailable
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s %s: %w", op, key, err)
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		kind = ErrNotFound
	case errors.Is(err, jetstream.ErrKeyExists):
		kind = ErrConflict
	case errors.Is(err, jetstream.ErrInvalidKey), errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		kind = ErrInvalid
	case errors.As(err, &api):
		if api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant {
			kind = ErrConflict
		}
	}
	return fmt.Errorf("%s %s: %w: %w", op, key, kind, err)
}

// fail maps err and has the bucket looked at when the engine did not answer as it should.
func (e *Engine) fail(op, key string, err error) error {
	err = mapError(op, key, err)
	if e.ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, key, ErrClosed)
	}
	if errors.Is(err, ErrUnavailable) {
		e.look()
	}
	return err
}

// bound gives the operation a deadline when the caller's context has none.
func (e *Engine) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, e.cfg.OpTimeout)
}

// Get implements Store.
func (e *Engine) Get(ctx context.Context, key string) (Record, error) {
	if err := checkKey(key); err != nil {
		return Record{}, err
	}
	ctx, cancel := e.bound(ctx)
	defer cancel()
	kve, err := (*e.kv.Load()).Get(ctx, key)
	if err != nil {
		return Record{}, e.fail("get", key, err)
	}
	return Record{Key: key, Value: kve.Value(), Revision: kve.Revision()}, nil
}

// Create implements Store.
func (e *Engine) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	if err := errors.Join(checkKey(key), checkValue(value)); err != nil {
		return 0, err
	}
	ctx, cancel := e.bound(ctx)
	defer cancel()
	var opts []jetstream.KVCreateOpt
	if ttl = wholeSeconds(ttl); ttl > 0 {
		opts = append(opts, jetstream.KeyTTL(ttl))
	}
	rev, err := (*e.kv.Load()).Create(ctx, key, value, opts...)
	if err != nil {
		return 0, e.fail("create", key, err)
	}
	return rev, nil
}

// Update implements Store. The key-value client's own Update drops the time to live, so the record is published with
// both headers: the expected last sequence of its subject and the lifetime.
func (e *Engine) Update(ctx context.Context, key string, value []byte, rev uint64, ttl time.Duration) (uint64, error) {
	if err := errors.Join(checkKey(key), checkValue(value)); err != nil {
		return 0, err
	}
	if rev == 0 {
		return 0, fmt.Errorf("update %s: %w: revision 0", key, ErrConflict)
	}
	ctx, cancel := e.bound(ctx)
	defer cancel()
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(rev)}
	if ttl = wholeSeconds(ttl); ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(ttl))
	}
	ack, err := e.js.Publish(ctx, e.subject(key), value, opts...)
	if err != nil {
		return 0, e.fail("update", key, err)
	}
	return ack.Sequence, nil
}

// Delete implements Store: a purge marker that itself expires, so that deleted keys cost nothing in the end.
func (e *Engine) Delete(ctx context.Context, key string, rev uint64) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	ctx, cancel := e.bound(ctx)
	defer cancel()
	m := nats.NewMsg(e.subject(key))
	m.Header.Set("KV-Operation", "PURGE")
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	if rev != 0 {
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(rev, 10))
	}
	ack, err := e.js.PublishMsg(ctx, m, jetstream.WithMsgTTL(markerTTL))
	if err != nil {
		return 0, e.fail("delete", key, err)
	}
	return ack.Sequence, nil
}

func (e *Engine) subject(key string) string { return "$KV." + e.cfg.Bucket + "." + key }

// List implements Store.
func (e *Engine) List(ctx context.Context, prefix string) ([]Record, error) {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	kw, err := (*e.kv.Load()).Watch(ctx, wildcard(prefix), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, e.fail("list", prefix, err)
	}
	defer stopWatcher(kw)
	var out []Record
	for {
		select {
		case <-ctx.Done():
			return nil, e.fail("list", prefix, ctx.Err())
		case kve, ok := <-kw.Updates():
			switch {
			case !ok:
				return nil, e.fail("list", prefix, nats.ErrConnectionClosed)
			case kve == nil:
				return out, nil
			}
			out = append(out, Record{Key: kve.Key(), Value: kve.Value(), Revision: kve.Revision()})
		}
	}
}

// Count returns the number of records by the first part of their keys, such as "call". It reads all keys, but no values.
// Errors: ErrUnavailable.
func (e *Engine) Count(ctx context.Context) (map[string]int, error) {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	kw, err := (*e.kv.Load()).Watch(ctx, wildcard(""), jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return nil, e.fail("count", "", err)
	}
	defer stopWatcher(kw)
	out := map[string]int{}
	for {
		select {
		case <-ctx.Done():
			return nil, e.fail("count", "", ctx.Err())
		case kve, ok := <-kw.Updates():
			switch {
			case !ok:
				return nil, e.fail("count", "", nats.ErrConnectionClosed)
			case kve == nil:
				return out, nil
			}
			kind, _, _ := strings.Cut(kve.Key(), ".")
			out[kind]++
		}
	}
}

func wildcard(prefix string) string {
	if prefix == "" {
		return ">"
	}
	return prefix + ".>"
}
