package control

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// replies keeps the replies of transactions so that a repeated id is not executed twice (H.248.1 §8, at-most-once). A repeat that
// comes during the execution waits for it. Safe from any goroutine; replies are kept encoded, as a repeat is rare.
type replies struct {
	keep time.Duration // at least 60 s
	max  int           // entries at once; full: new transactions are refused as overload rather than old replies forgotten

	mu    sync.Mutex // guards what follows
	byID  map[string]*stored
	order []*stored // oldest first
}

// stored is one transaction. raw and at are written before done is closed and read only after.
type stored struct {
	id   string
	done chan struct{}
	raw  []byte    // encoded reply; nil: the execution broke off, the id may be executed
	at   time.Time // of entry
}

func newReplies(keep time.Duration, limit int) *replies {
	return &replies{keep: keep, max: limit, byID: map[string]*stored{}}
}

// once returns the reply of transaction id: of exec the first time, the stored one with replayed set afterwards. ctx bounds waiting
// for another's execution, not the execution itself. Errors are gRPC statuses.
func (r *replies) once(ctx context.Context, id string, exec func() *iqv1.TransactionReply) (*iqv1.TransactionReply, error) {
	s, first, err := r.enter(id)
	if err != nil {
		return nil, err
	}
	if !first {
		return r.wait(ctx, s)
	}
	defer close(s.done)
	reply := exec()
	raw, err := proto.Marshal(reply)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode reply: %v", err)
	}
	s.raw = raw
	return reply, nil
}

// enter finds the entry of id or makes it; first: the caller executes.
func (r *replies) enter(id string) (s *stored, first bool, err error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	if s := r.byID[id]; s != nil {
		return s, false, nil
	}
	if len(r.byID) >= r.max {
		return nil, false, status.Errorf(codes.ResourceExhausted, "%d transactions within %v", len(r.byID), r.keep)
	}
	s = &stored{id: id, done: make(chan struct{}), at: now}
	r.byID[id] = s
	r.order = append(r.order, s)
	return s, true, nil
}

// expire forgets what is older than keep. Callers hold mu.
func (r *replies) expire(now time.Time) {
	n := 0
	for _, s := range r.order {
		if now.Sub(s.at) <= r.keep {
			break
		}
		select {
		case <-s.done:
		default:
			// still being executed; it and what came after stay
			r.order = r.order[n:]
			return
		}
		delete(r.byID, s.id)
		n++
	}
	r.order = r.order[n:]
}

// wait returns the stored reply when its execution has ended.
func (r *replies) wait(ctx context.Context, s *stored) (*iqv1.TransactionReply, error) {
	select {
	case <-s.done:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	reply := &iqv1.TransactionReply{}
	if s.raw == nil {
		return nil, status.Error(codes.Internal, "the first execution of this transaction broke off")
	}
	if err := proto.Unmarshal(s.raw, reply); err != nil {
		return nil, status.Errorf(codes.Internal, "decode stored reply: %v", err)
	}
	reply.Replayed = true
	return reply, nil
}

// size is the number of entries, for metrics.
func (r *replies) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(time.Now())
	return len(r.byID)
}
