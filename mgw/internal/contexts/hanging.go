package contexts

import (
	"cmp"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Hanging terminations (H.248.36; TS 23.334 §5.7): without control activity for orphan_ttl the gateway asks the pool with a
// HANGING event. An ACK is control activity; UNKNOWN_CONTEXT, also to any other event, starts a countdown that a command
// on the context ends. A pool that cannot be reached leaves media alone (headless) up to HeadlessLimit.

// touch notes control activity. Owner: the strand.
func (c *entry) touch() {
	c.lastControl = time.Now()
	if c.hanging != nil {
		c.hanging.Stop()
		c.hanging = nil
	}
	if c.orphan == nil {
		c.orphan = time.AfterFunc(c.orphanTTL(), func() { c.strand.post(2*maxJobs, c.onOrphan) })
		return
	}
	c.orphan.Reset(c.orphanTTL())
}

func (c *entry) orphanTTL() time.Duration {
	return cmp.Or(c.model.Attr.OrphanTTL, c.mgr.cfg.OrphanTTL)
}

// onOrphan is the heartbeat of a context without control activity. Owner: the strand.
func (c *entry) onOrphan() {
	idle := time.Since(c.lastControl)
	if c.ended || idle < c.orphanTTL() {
		return // a command came in between and has set the timer anew
	}
	if idle >= c.mgr.cfg.HeadlessLimit {
		c.mgr.cfg.Metrics.hanging.Inc()
		c.release("no control activity for " + idle.Round(time.Second).String())
		return
	}
	c.orphan.Reset(min(c.orphanTTL(), c.mgr.cfg.HeadlessLimit-idle))
	for _, req := range c.notes.queue {
		if req.GetEvents()[0].GetType() == iqv1.EventType_EVENT_TYPE_HANGING {
			return // the pool has not answered the last one yet
		}
	}
	c.enqueue(&iqv1.NotifyRequest{Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_HANGING, At: timestamppb.Now()}}})
}

// startHanging begins the countdown of a context that the pool does not know. Owner: the strand.
func (c *entry) startHanging() {
	if c.hanging != nil {
		return
	}
	c.mgr.cfg.Logger.Warn("the pool does not know the context; it will be subtracted", c.field(),
		zap.String("correlation_id", c.model.Attr.CorrelationID), zap.Duration("in", c.mgr.cfg.HangingGrace))
	var timer *time.Timer
	timer = time.AfterFunc(c.mgr.cfg.HangingGrace, func() {
		c.strand.post(2*maxJobs, func() {
			if c.hanging == timer && !c.ended {
				c.mgr.cfg.Metrics.hanging.Inc()
				c.release("hanging: unknown to the pool")
			}
		})
	})
	c.hanging = timer
}
