package mgwpool

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Heartbeat takes an MGW's report of load. When the store is away the report counts for this instance alone.
func (p *Pool) Heartbeat(ctx context.Context, r *iqv1.HeartbeatRequest) *iqv1.HeartbeatReply {
	reply := &iqv1.HeartbeatReply{Next: durationpb.New(p.cfg.Heartbeat), ProfileVersion: ProfileVersion}
	report := func(n *Node) {
		n.Load = Load{Contexts: r.GetContexts(), CPUPermille: r.GetCpuPermille(), PPS: r.GetPacketsPerSecond()}
		n.setDown(r.GetUnavailableRealms())
		switch {
		case r.GetDraining() && n.State != Draining:
			n.State = Draining
		case !r.GetDraining() && n.State == Draining:
			n.State, n.DrainBy = InService, time.Time{}
		}
	}
	n, e, err := p.change(ctx, r, report)
	switch {
	case err != nil && n.ID != "":
		p.hear(n)
	case err != nil: // neither the store nor the mirror has the record: what this instance itself knows goes on
		p.hearAgain(r, report)
	case e != nil && e.GetCode() == uint32(gwerr.NotReady):
		reply.ReRegister = !p.revive(ctx, r, report)
	case e != nil:
		reply.ReRegister = true
	}
	return reply
}

// hearAgain notes the report of a node that this instance has heard before.
func (p *Pool) hearAgain(r *iqv1.HeartbeatRequest, report func(*Node)) {
	p.mu.Lock()
	l := p.nodes[r.GetMgwId()]
	known := l != nil && l.heard.Boot == r.GetBootId()
	var n Node
	if known {
		n = l.heard
	}
	p.mu.Unlock()
	if known {
		report(&n)
		p.hear(n)
	}
}

// revive writes the record anew for a node that this instance never stopped hearing.
func (p *Pool) revive(ctx context.Context, r *iqv1.HeartbeatRequest, report func(*Node)) bool {
	p.mu.Lock()
	l := p.nodes[r.GetMgwId()]
	ok := l != nil && l.heard.Boot == r.GetBootId() && l.limbo
	var n Node
	if ok {
		n = l.heard
	}
	p.mu.Unlock()
	if !ok {
		return false
	}
	report(&n)
	n.Beats++
	return p.write(ctx, n) == nil
}
