package contexts

import (
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// entry is one context with all that keeps it alive.
type entry struct {
	mgr     *Manager
	id      gwid.ContextID
	number  uint64
	created time.Time
	strand  strand

	// The following fields are owned by the strand: only its jobs touch them.
	model       *connmodel.Context
	handles     map[gwid.TerminationID]*handle
	notes       notes
	lastControl time.Time
	orphan      *time.Timer // fires for the heartbeat of the context; nil before the first action
	hanging     *time.Timer // countdown after UNKNOWN_CONTEXT; nil: none
	ended       bool
}

func newEntry(m *Manager, model *connmodel.Context) *entry {
	now := time.Now()
	return &entry{
		mgr: m, id: model.ID, number: model.Number, created: now, lastControl: now, strand: strand{crew: &m.crew},
		model: model, handles: map[gwid.TerminationID]*handle{},
	}
}

// await runs a job on the strand and waits for it; false when the strand is full.
func (c *entry) await(limit int, job func()) bool {
	done := make(chan struct{})
	if !c.strand.post(limit, func() { defer close(done); job() }) {
		return false
	}
	<-done
	return true
}

// do performs an action and waits for its reply.
func (c *entry) do(act *iqv1.Action) *iqv1.ActionReply {
	var rep *iqv1.ActionReply
	if !c.await(maxJobs, func() { rep = c.apply(act) }) {
		return refuse(gwerr.InsufficientResources, "context %s has %d commands waiting", c.id, maxJobs)
	}
	return rep
}

// apply performs an action. Owner: the strand.
func (c *entry) apply(act *iqv1.Action) *iqv1.ActionReply {
	if c.ended {
		return unknownContext(string(c.id))
	}
	rep := c.model.Apply(c.env(), act, c.perform)
	if b := c.model.Broken; b != nil {
		c.model.Broken = nil
		c.mgr.cfg.Metrics.broken.Inc()
		c.mgr.cfg.Logger.Error("rollback failed; media may differ from the context's state", c.field(), zap.Error(b))
	}
	if c.model.Empty() {
		c.end()
		return rep
	}
	c.touch()
	return rep
}

func (c *entry) env() connmodel.Env {
	return connmodel.Env{
		Realms: c.mgr.cfg.Realms, Elsewhere: c.mgr.exists, Plan: plan,
		Announcement:  func(name string) bool { return c.mgr.cfg.announcement(name) != nil },
		InactiveAfter: c.mgr.cfg.InactiveAfter, ConsentAfter: c.mgr.cfg.ConsentAfter,
	}
}

// release subtracts the context on the gateway's own decision. Owner: the strand.
func (c *entry) release(reason string) {
	if c.ended {
		return
	}
	c.mgr.cfg.Logger.Info("context released by the gateway", c.field(), zap.String("reason", reason),
		zap.String("correlation_id", c.model.Attr.CorrelationID))
	all := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}}
	c.model.Apply(c.env(), &iqv1.Action{Commands: []*iqv1.Command{
		{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: all, OmitStatistics: true}}},
	}}, c.perform)
	c.end()
}

// end forgets the context. Undelivered events of it are dropped: the pool has subtracted it or is told otherwise.
func (c *entry) end() {
	c.ended = true
	c.notes.drop()
	for _, t := range []*time.Timer{c.orphan, c.hanging} {
		if t != nil {
			t.Stop()
		}
	}
	c.mgr.forget(c.id)
}

// onMedia takes an observation on a termination: only armed events go to the pool (H.248.1 §7.1.9). Owner: the strand.
func (c *entry) onMedia(id gwid.TerminationID, ev flow.Event) {
	t := c.model.Termination(id)
	if c.ended || t == nil {
		return
	}
	typ, known := eventType(ev.Kind)
	if !known {
		return
	}
	stream := gwid.StreamID(ev.Stream)
	if ev.Kind == flow.SignalDone {
		if ev.Signal.Last {
			c.model.Ended(id, stream, ev.Signal.Request)
		}
		if !ev.Signal.Notify {
			return
		}
	}
	if !t.Events.Armed(typ, stream) {
		return
	}
	c.enqueue(&iqv1.NotifyRequest{
		TerminationId: string(id), RequestId: t.Events.RequestID,
		Events: []*iqv1.ObservedEvent{observed(ev, typ, stream)},
	})
}

func (c *entry) field() zap.Field { return zap.String("context", string(c.id)) }
