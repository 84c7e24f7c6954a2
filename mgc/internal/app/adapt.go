package app

import (
	"context"
	"errors"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/call"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/iqlink"
	"github.com/isthmus-gateway/isthmus/mgc/internal/mgwpool"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// signalling gives the transaction layer to the calls.
type signalling struct {
	layer   *siptx.Layer
	nextHop bool // a next hop is configured: initial requests without a Route go there
}

func (s signalling) Request(leg callcore.Leg, flow string, req headers.Msg, deliver func(call.Outcome)) (call.ClientTx, error) {
	return s.layer.Request(req, s.target(leg, flow, &req), func(r siptx.ClientResult) { deliver(outcome(r)) })
}

func (s signalling) Send(leg callcore.Leg, flow string, req headers.Msg) error {
	return s.layer.Send(req, s.target(leg, flow, &req))
}

// target is where a request goes (RFC 3261 §8.1.2): its flow, its top Route, the next hop, or its Request-URI.
func (s signalling) target(leg callcore.Leg, flow string, req *headers.Msg) siptransport.Target {
	if leg == callcore.LegAccess {
		return siptransport.Target{FlowID: flow}
	}
	if routes := headers.List(req, "Route"); len(routes) > 0 {
		if a, err := headers.ParseAddress(routes[0]); err == nil {
			return siptransport.Target{URI: a.URI}
		}
	}
	if s.nextHop && headers.ToTag(req) == "" {
		return siptransport.Target{}
	}
	return siptransport.Target{URI: req.RequestURI}
}

func outcome(r siptx.ClientResult) call.Outcome {
	switch r.Kind {
	case siptx.Timeout:
		return call.Outcome{Timeout: true}
	case siptx.TransportError:
		return call.Outcome{}
	}
	return call.Outcome{Msg: r.Msg, Retransmission: r.Retransmission}
}

// gateways gives pool and link to the calls.
type gateways struct {
	pool  *mgwpool.Pool
	link  *iqlink.Link
	needs []string // capabilities that every call needs
}

func (g *gateways) Pick(need call.Need) (call.Node, error) {
	n, err := g.pool.Pick(mgwpool.Request{AccessRealm: need.AccessRealm, CoreRealm: need.CoreRealm, Codecs: need.Codecs, Features: slices.Concat(g.needs, need.Features), Emergency: need.Emergency, Priority: need.Priority})
	if err != nil {
		return call.Node{}, gwerr.New(gwerr.NoGateway, "pick", "", err)
	}
	return call.Node{MGW: n.ID, Boot: n.Boot}, nil
}

func (g *gateways) Codecs(names []string) []string { return g.pool.Codecs(names) }

func (g *gateways) Features(names []string) []string { return g.pool.Features(names) }

func (g *gateways) Down(node call.Node) []string {
	if n, ok := g.pool.Node(node.MGW); ok && n.Boot == node.Boot {
		return n.Down
	}
	return nil
}

func (g *gateways) Transact(ctx context.Context, node call.Node, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
	id := req.GetTransactionId()
	n, ok := g.pool.Node(node.MGW)
	if !ok {
		return nil, gwerr.Newf(gwerr.UnreachableGateway, "transact", id, "media gateway %s is not registered", node.MGW)
	}
	if name := missing(n.Features, req); name != "" {
		return nil, gwerr.Newf(gwerr.NotImplemented, "transact", id, "media gateway %s has no capability %q", n.ID, name)
	}
	if node.Boot != "" {
		req.ExpectBootId = node.Boot
	}
	reply, err := g.link.Transact(ctx, iqlink.Node{ID: n.ID, Address: n.Address}, req)
	if err != nil {
		code := gwerr.UnreachableGateway
		var e *iqlink.Error
		if errors.As(err, &e) {
			code = e.Code()
		}
		return nil, gwerr.New(code, "transact", id, err)
	}
	if e := reply.GetError(); e != nil {
		return nil, gwerr.Newf(gwerr.Code(e.GetCode()), "transact", id, "%s", e.GetText())
	}
	return reply, nil
}
