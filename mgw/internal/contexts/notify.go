package contexts

import (
	"context"
	"time"

	"go.uber.org/zap"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// maxNotes bounds the events of one context that wait for delivery; when full the newest is dropped and counted (518).
const maxNotes = 64

// notes is the queue of a context's Notify requests: in order, at least once (H.248.1 §7.2.7). Owned by the strand.
type notes struct {
	seq      uint64                // of the last request
	queue    []*iqv1.NotifyRequest // the first is being delivered, or waits for its repetition
	inFlight bool                  // a delivery or the timer of one is on its way
	retry    *time.Timer           // nil: none
	gone     bool                  // dropped for good
}

func (n *notes) drop() {
	n.queue, n.gone = nil, true
	if n.retry != nil {
		n.retry.Stop()
	}
}

// enqueue numbers a request and starts its delivery when it is the only one. Owner: the strand.
func (c *entry) enqueue(req *iqv1.NotifyRequest) {
	if len(c.notes.queue) >= maxNotes {
		c.mgr.cfg.Metrics.eventsDropped.Inc()
		return
	}
	c.notes.seq++
	req.MgwId, req.BootId, req.ContextId = c.mgr.cfg.MGWID, c.mgr.cfg.BootID, string(c.id)
	req.EventSeq, req.CorrelationId = c.notes.seq, c.model.Attr.CorrelationID
	c.notes.queue = append(c.notes.queue, req)
	c.deliver()
}

// deliver sends the first request of the queue unless one is on its way. Owner: the strand.
func (c *entry) deliver() {
	n := &c.notes
	if n.inFlight || n.gone || len(n.queue) == 0 {
		return
	}
	if !c.mgr.crew.enter() {
		return
	}
	n.inFlight = true
	req := n.queue[0]
	req.Attempt++
	go func() { // owner: the Manager, whose Close ends ctx and waits
		defer c.mgr.crew.leave()
		ctx, cancel := context.WithTimeout(c.mgr.ctx, c.mgr.cfg.NotifyTimeout)
		defer cancel()
		verdict, err := c.mgr.cfg.Notify(ctx, req)
		c.strand.post(2*maxJobs, func() { c.delivered(req, verdict, err) })
	}()
}

// delivered takes the pool's verdict on the first request. Owner: the strand.
func (c *entry) delivered(req *iqv1.NotifyRequest, verdict iqv1.NotifyReply_Verdict, err error) {
	n := &c.notes
	n.inFlight = false
	if c.ended || n.gone {
		return
	}
	m := c.mgr.cfg.Metrics
	switch {
	case err == nil && verdict == iqv1.NotifyReply_VERDICT_ACK:
		m.notifies.WithLabelValues("ack").Inc()
		n.queue = n.queue[1:]
		c.touch() // the pool knows the context
		c.deliver()
	case err == nil && verdict == iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT:
		m.notifies.WithLabelValues("unknown_context").Inc()
		n.queue = nil
		c.startHanging()
	default:
		m.notifies.WithLabelValues("retry").Inc()
		if err != nil && req.Attempt == 1 {
			c.mgr.cfg.Logger.Warn("notify not delivered, will be repeated", c.field(), zap.Error(err))
		}
		n.inFlight = true
		n.retry = time.AfterFunc(c.mgr.cfg.backoff(req.Attempt), func() {
			c.strand.post(2*maxJobs, func() {
				n.inFlight, n.retry = false, nil
				c.deliver()
			})
		})
	}
}

// backoff is the time from the n-th attempt to the next one.
func (c Config) backoff(n uint32) time.Duration {
	d := c.RetryFirst
	for ; n > 1 && d < c.RetryMax; n-- {
		d *= 2
	}
	return min(d, c.RetryMax)
}
