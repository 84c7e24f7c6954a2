package mgwpool

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// ServiceChange takes a registration or a change of service state of an MGW's root termination (H.248.1 §7.2.8).
// Refusals travel in the reply; the error is for the store's failure only (ErrUnavailable): answer UNAVAILABLE.
func (p *Pool) ServiceChange(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	reply := &iqv1.ServiceChangeReply{ProfileVersion: ProfileVersion, HeartbeatInterval: durationpb.New(p.cfg.Heartbeat), MgcInstance: p.cfg.Instance}
	if caps := r.GetCapabilities(); caps != nil {
		reply.ProfileVersion = max(1, min(caps.GetProfileVersion(), ProfileVersion))
	}
	var err error
	if r.GetInterfaceId() != "" || len(r.GetRealms()) > 0 {
		reply.Error, err = p.interfaceChange(ctx, r)
		return reply, err
	}
	switch r.GetMethod() {
	case iqv1.ServiceChangeRequest_METHOD_RESTART, iqv1.ServiceChangeRequest_METHOD_DISCONNECTED:
		reply.Error, err = p.register(ctx, r)
	case iqv1.ServiceChangeRequest_METHOD_GRACEFUL:
		reply.Error, err = p.drain(ctx, r)
	case iqv1.ServiceChangeRequest_METHOD_FORCED:
		reply.Error, err = p.forced(ctx, r)
	default:
		reply.Error = descriptor(gwerr.SyntaxErrorInActionID, "method %s", r.GetMethod())
	}
	return reply, err
}

// register enters the MGW. The record of an older boot is replaced, which tells every instance that its contexts are
// gone; with the same boot the node comes back into service with its contexts.
func (p *Pool) register(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	if old, _, ok := p.mirror.Get(store.Key(orDash(r.GetMgwId()))); ok && old.Boot == r.GetBootId() && r.GetCapabilities() == nil {
		_, e, err := p.change(ctx, r, func(n *Node) { n.State, n.DrainBy = InService, time.Time{} })
		return e, err // cancel of a drain, or the link is back
	}
	if r.GetCapabilities() == nil && checkIdentity(r.GetMgwId(), r.GetBootId()) == nil {
		return notRegistered(r.GetMgwId()), nil
	}
	n, e := fromRequest(r, time.Now().UTC())
	if e != nil {
		return e, nil
	}
	n.Via, n.Beats = p.cfg.Instance, 1
	return nil, p.write(ctx, n)
}

func (p *Pool) drain(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	var by time.Time
	if d := r.GetDelay().AsDuration(); d > 0 {
		by = time.Now().Add(d).UTC()
	}
	_, e, err := p.change(ctx, r, func(n *Node) { n.State, n.DrainBy = Draining, by })
	return e, err
}

// interfaceChange takes that the terminations on one network interface are out of service, or serve again (TS 23.334 §6.1.15).
func (p *Pool) interfaceChange(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	m := r.GetMethod()
	if m != iqv1.ServiceChangeRequest_METHOD_FORCED && m != iqv1.ServiceChangeRequest_METHOD_RESTART {
		return descriptor(gwerr.SyntaxErrorInActionID, "method %s of interface %.80q", m, r.GetInterfaceId()), nil
	}
	if len(r.GetRealms()) == 0 || len(r.GetRealms()) > 64 {
		return descriptor(gwerr.UnsupportedValue, "%d realms of interface %.80q, 1 to 64 are needed", len(r.GetRealms()), r.GetInterfaceId()), nil
	}
	_, e, err := p.change(ctx, r, func(n *Node) {
		down := slices.DeleteFunc(slices.Clone(n.Down), func(name string) bool { return slices.Contains(r.GetRealms(), name) })
		if m == iqv1.ServiceChangeRequest_METHOD_FORCED {
			down = append(down, r.GetRealms()...)
		}
		n.setDown(down)
	})
	return e, err
}

// forced takes the node out at once; all its contexts count as lost.
func (p *Pool) forced(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	n, e, err := p.change(ctx, r, func(n *Node) { n.State = Draining })
	if e != nil || err != nil {
		return e, err
	}
	p.mu.Lock()
	l := p.localOf(n.ID)
	l.why, l.heard = "forced out of service", Node{}
	p.mu.Unlock()
	id := store.Key(n.ID)
	rev, err := p.table.Delete(ctx, id, 0)
	if err == nil {
		p.mirror.Drop(id, rev)
	}
	return nil, err
}
