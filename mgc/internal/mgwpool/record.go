package mgwpool

import (
	"context"
	"errors"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// write puts a whole record, over whatever is there.
func (p *Pool) write(ctx context.Context, n Node) error {
	id := store.Key(n.ID)
	var rev uint64
	var err error
	for range 4 {
		var e store.Entry[Node]
		e, err = p.table.Get(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			rev, err = p.table.Create(ctx, id, n, p.ttl())
		case err == nil:
			if e.Value.Boot == n.Boot {
				n.Beats = e.Value.Beats + 1
			}
			rev, err = p.table.Update(ctx, id, n, e.Revision, p.ttl())
		}
		if !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if err != nil {
		return err
	}
	p.hear(n)
	p.mirror.Put(id, n, rev)
	return nil
}

// hear notes that this instance itself got a report.
func (p *Pool) hear(n Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.localOf(n.ID)
	now := time.Now()
	l.heard, l.heardAt, l.seen, l.pending, l.suspectUntil, l.why = n, now, now, 0, time.Time{}, ""
}

// change applies f to the record when boot matches; the descriptor tells that the node is not known.
func (p *Pool) change(ctx context.Context, r interface{ GetMgwId() string }, f func(*Node)) (Node, *iqv1.ErrorDescriptor, error) {
	boot := ""
	if b, ok := r.(interface{ GetBootId() string }); ok {
		boot = b.GetBootId()
	}
	if e := checkIdentity(r.GetMgwId(), boot); e != nil {
		return Node{}, e, nil
	}
	id := store.Key(r.GetMgwId())
	n, rev, ok := p.mirror.Get(id)
	for range 4 {
		if !ok {
			e, err := p.table.Get(ctx, id)
			if errors.Is(err, store.ErrNotFound) {
				return Node{}, notRegistered(r.GetMgwId()), nil
			}
			if err != nil {
				return Node{}, nil, err
			}
			n, rev = e.Value, e.Revision
		}
		if n.Boot != boot {
			return Node{}, notRegistered(r.GetMgwId()), nil
		}
		f(&n)
		n.Beats++
		n.Via = p.cfg.Instance
		newRev, err := p.table.Update(ctx, id, n, rev, p.ttl())
		if errors.Is(err, store.ErrConflict) {
			ok = false // what the mirror knew is old: read
			continue
		}
		if err != nil {
			return n, nil, err
		}
		p.hear(n)
		p.mirror.Put(id, n, newRev)
		return n, nil, nil
	}
	return Node{}, nil, store.ErrUnavailable
}

func notRegistered(id string) *iqv1.ErrorDescriptor {
	return descriptor(gwerr.NotReady, "MGW %s is not registered with this boot_id: send RESTART", id)
}
