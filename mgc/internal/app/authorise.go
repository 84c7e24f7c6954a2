package app

import (
	"sync"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// maxWaiting bounds the requests of one connection that wait for the verdict on its token; more are answered 503.
const maxWaiting = 64

// checker is what decides on requests other than REGISTER.
type checker interface {
	Request(req *headers.Msg, flow string, deliver func(auth.Decision))
	Apply(out *headers.Msg, d auth.Decision)
	Answer(req *headers.Msg, d auth.Decision) headers.Msg
}

// responder is a server transaction.
type responder interface {
	ID() string
	Respond(resp headers.Msg) error
}

// gate holds requests of browsers other than REGISTER back until the verdict on their token is there (REG-10), in the order in which
// they came over a connection. What goes on has no token, and no word of trust by the browser, in it.
type gate struct {
	auth   checker
	direct bool // verdicts come at once: nothing ever waits
	log    *zap.Logger

	mu    sync.Mutex // guards below
	flows map[string][]*check
}

// check is a request that waits; the first of its connection is being looked at.
type check struct {
	tx        responder
	req       headers.Msg
	next      func(req headers.Msg)
	cancelled bool
	decided   bool // a CANCEL from now on is the handler's business
}

func newGate(a checker, direct bool, log *zap.Logger) *gate {
	return &gate{auth: a, direct: direct, log: log, flows: map[string][]*check{}}
}

// pass hands the request to next, now or from another goroutine, or answers it.
func (g *gate) pass(tx responder, req headers.Msg, flow string, next func(req headers.Msg)) {
	c := &check{tx: tx, req: req, next: next}
	if g.direct {
		g.auth.Request(&c.req, flow, func(d auth.Decision) { g.finish(c, d, false) })
		return
	}
	g.mu.Lock()
	n := len(g.flows[flow])
	if n < maxWaiting {
		g.flows[flow] = append(g.flows[flow], c)
	}
	g.mu.Unlock()
	switch {
	case n >= maxWaiting:
		g.finish(c, auth.Decision{Err: auth.Overloaded}, false)
	case n == 0:
		g.look(c, flow)
	}
}

// look has the first request of the connection decided on, and then those behind it.
func (g *gate) look(c *check, flow string) {
	g.auth.Request(&c.req, flow, func(d auth.Decision) {
		g.mu.Lock()
		cancelled := c.cancelled
		c.decided = true
		g.mu.Unlock()
		g.finish(c, d, cancelled)
		g.mu.Lock()
		rest := g.flows[flow][1:]
		if g.flows[flow] = rest; len(rest) == 0 {
			delete(g.flows, flow)
		}
		g.mu.Unlock()
		if len(rest) > 0 {
			g.look(rest[0], flow)
		}
	})
}

func (g *gate) finish(c *check, d auth.Decision, cancelled bool) {
	switch {
	case d.Action == auth.Refuse:
		g.respond(c, g.auth.Answer(&c.req, d))
	case cancelled:
		g.respond(c, headers.NewResponse(&c.req, 487, ""))
	default:
		if c.req.Has("Authorization") || c.req.Has("Proxy-Authorization") {
			c.req = c.req.Clone()
			g.auth.Apply(&c.req, d)
		}
		c.next(c.req)
	}
}

func (g *gate) respond(c *check, resp headers.Msg) {
	if headers.ToTag(&resp) == "" {
		_ = headers.SetTag(&resp, "To", siptransport.NewFlowID()) // fails when To is what is malformed
	}
	if err := c.tx.Respond(resp); err != nil {
		g.log.Debug("refusal not sent", zap.Int("status", resp.Status), zap.Error(err))
	}
}

// cancel takes the CANCEL of an INVITE that waits; false when it waits no longer.
func (g *gate) cancel(tx, flow string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.flows[flow] {
		if !c.decided && c.tx.ID() == tx {
			c.cancelled = true
			return true
		}
	}
	return false
}
