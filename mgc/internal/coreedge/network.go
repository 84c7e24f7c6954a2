package coreedge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Errors of finding a way.
var (
	// ErrNoRoute: the target is no SIP URI, or there is no next hop for a target that names nothing.
	ErrNoRoute = errors.New("coreedge: no route to target")
	// ErrOutOfReach: the target's addresses are outside of Config.Reach.
	ErrOutOfReach = errors.New("coreedge: target is out of reach")
)

// Known implements siptransport.Network.
func (e *Edge) Known(to siptransport.Target) ([]siptransport.Hop, bool) {
	if to.FlowID != "" {
		return []siptransport.Hop{{FlowID: to.FlowID}}, true
	}
	hops, ok := e.knownPlaces(to)
	if !ok {
		return nil, false
	}
	if hops, err := e.passable(hops); err == nil {
		return e.prefer(hops), true
	}
	return nil, false // Resolve tells why
}

// Resolve implements siptransport.Network.
func (e *Edge) Resolve(ctx context.Context, to siptransport.Target) ([]siptransport.Hop, error) {
	hops, err := e.places(ctx, to)
	if err == nil {
		hops, err = e.passable(hops)
	}
	if err != nil {
		return nil, err
	}
	return e.prefer(hops), nil
}

// places returns the hops of a target that is no flow in the order that DNS has them, whatever is known of their state.
func (e *Edge) places(ctx context.Context, to siptransport.Target) ([]siptransport.Hop, error) {
	if hops, ok := e.knownPlaces(to); ok {
		return hops, nil
	}
	q, err := e.query(to)
	if err != nil {
		return nil, err
	}
	set, err := e.dns.lookup(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("coreedge: resolve %s: %w", headers.ForLog(q.host, 80), err)
	}
	return set.order(q.name), nil
}

// knownPlaces is places without waiting.
func (e *Edge) knownPlaces(to siptransport.Target) ([]siptransport.Hop, bool) {
	if to.Addr.IsValid() {
		h := siptransport.Hop{Transport: strings.ToUpper(to.Transport), Addr: to.Addr}
		if h.Transport == "" {
			h.Transport = "UDP"
		}
		if h.Transport == "TLS" {
			if h.Name = to.Name; h.Name == "" {
				h.Name = to.Addr.Addr().String()
			}
		}
		return []siptransport.Hop{h}, true
	}
	q, err := e.query(to)
	if err != nil {
		return nil, false
	}
	if q.addr.IsValid() {
		s := server{transport: q.transport(), port: q.portOrDefault(), addrs: []netip.Addr{q.addr}}
		return answer{servers: []server{s}}.order(q.name), true
	}
	set, ok := e.dns.cached(q, time.Now())
	return set.order(q.name), ok
}

// nextHops returns the hops of the next hop as far as they are known.
func (e *Edge) nextHops() []siptransport.Hop {
	if e.cfg.NextHop == "" {
		return nil
	}
	hops, _ := e.knownPlaces(siptransport.Target{})
	hops, _ = e.passable(hops)
	return hops
}

// query turns a target's URI, or the next hop in its place, into what to look up.
func (e *Edge) query(to siptransport.Target) (query, error) {
	uri := to.URI
	if uri == "" {
		uri = e.cfg.NextHop
	}
	u, err := headers.ParseURI(uri)
	if err != nil || !u.IsSIP() {
		if e.cfg.NextHop == "" || uri == e.cfg.NextHop {
			return query{}, fmt.Errorf("%w: %s", ErrNoRoute, headers.ForLog(uri, 80))
		}
		return e.nextHopQuery() // a tel or urn URI goes to the core, too
	}
	if uri == e.cfg.NextHop {
		return e.nextHopQuery()
	}
	q, err := e.queryOf(&u)
	if err == nil && !q.addr.IsValid() && e.cfg.NextHop != "" {
		return e.nextHopQuery()
	}
	return q, err
}

func (e *Edge) nextHopQuery() (query, error) {
	u, err := headers.ParseURI(e.cfg.NextHop)
	if err != nil {
		return query{}, err
	}
	q, err := e.queryOf(&u)
	if n := e.cfg.TLS.NextHopName; n != "" {
		q.name = strings.ToLower(n)
	}
	return q, err
}

// queryOf reads the URI. The name that a certificate must have is that of the URI, not one that the DNS gave for it, nor maddr
// (RFC 5922 §4).
func (e *Edge) queryOf(u *headers.URI) (query, error) {
	q := query{
		host: strings.ToLower(u.Host), name: strings.ToLower(u.Host), port: u.Port, proto: strings.ToUpper(u.Params.Value("transport")),
		udp: e.speaks("UDP"), tcp: e.speaks("TCP"), tls: e.speaks("TLS"), sips: u.Scheme == "sips",
	}
	if q.sips && q.proto == "TCP" { // RFC 3263 §4.1: sips over TCP is TLS
		q.proto = "TLS"
	}
	switch {
	case q.proto != "" && q.proto != "UDP" && q.proto != "TCP" && q.proto != "TLS", q.sips && q.proto == "UDP":
		return q, fmt.Errorf("%w: %s", siptransport.ErrNoTransport, headers.ForLog(q.proto, 20))
	case q.transport() == "TLS" && !q.tls:
		return q, fmt.Errorf("%w: TLS to %s", siptransport.ErrNoTransport, headers.ForLog(u.Host, 80))
	}
	if m := u.Params.Value("maddr"); m != "" {
		q.host = strings.ToLower(m) // RFC 3263 §4: the target is maddr when there is one
	}
	if a, err := netip.ParseAddr(q.host); err == nil {
		q.addr = a.Unmap()
	}
	return q, nil
}

// passable drops the hops that we have no socket for, and those outside of Config.Reach.
func (e *Edge) passable(hops []siptransport.Hop) ([]siptransport.Hop, error) {
	hops = slices.DeleteFunc(hops, func(h siptransport.Hop) bool { return e.socketFor(h) == nil })
	if len(hops) == 0 {
		return nil, siptransport.ErrNoTransport
	}
	if len(e.cfg.Reach) == 0 {
		return hops, nil
	}
	hops = slices.DeleteFunc(hops, func(h siptransport.Hop) bool {
		return !slices.ContainsFunc(e.cfg.Reach, func(p netip.Prefix) bool { return p.Contains(h.Addr.Addr()) })
	})
	if len(hops) == 0 {
		return nil, ErrOutOfReach
	}
	return hops, nil
}

// prefer puts hops that failed lately last. None is left out: when all have failed they are tried all the same.
func (e *Edge) prefer(hops []siptransport.Hop) []siptransport.Hop {
	if len(hops) < 2 {
		return hops
	}
	now := time.Now()
	up := make([]siptransport.Hop, 0, len(hops))
	var down []siptransport.Hop
	for _, h := range hops {
		if e.down.avoid(h, now) {
			down = append(down, h)
		} else {
			up = append(up, h)
		}
	}
	return append(up, down...)
}

// Expand implements siptransport.Network: RFC 3261 §18.1.1.
func (e *Edge) Expand(hop siptransport.Hop, size int) []siptransport.Hop {
	tcp := siptransport.Hop{Transport: "TCP", Addr: hop.Addr}
	if hop.Transport != "UDP" || e.cfg.TCPAbove < 0 || size <= e.cfg.TCPAbove || e.socketFor(tcp) == nil {
		return []siptransport.Hop{hop}
	}
	if e.down.avoid(tcp, time.Now()) {
		return []siptransport.Hop{hop} // it speaks no TCP, as we know since a short while
	}
	hop.Fallback = true
	return []siptransport.Hop{tcp, hop}
}

// Failed implements siptransport.Network.
func (e *Edge) Failed(hop siptransport.Hop, retryAfter time.Duration) {
	if hop.FlowID != "" || !hop.Addr.IsValid() {
		return
	}
	e.metrics.failures.WithLabelValues(hop.Transport).Inc()
	if e.down.add(hop, time.Now(), retryAfter) {
		e.metrics.listed.WithLabelValues(hop.Transport).Inc()
		e.log.Warn("target of the core is blacklisted", zap.String("transport", hop.Transport), zap.Stringer("address", hop.Addr))
	}
}

// Reached implements siptransport.Network.
func (e *Edge) Reached(hop siptransport.Hop) {
	if hop.FlowID != "" || !e.down.remove(hop) {
		return
	}
	e.metrics.returned.WithLabelValues(hop.Transport).Inc()
	e.log.Info("target of the core answers again", zap.String("transport", hop.Transport), zap.Stringer("address", hop.Addr))
}

// Link implements siptransport.Network.
func (e *Edge) Link(hop siptransport.Hop) (siptransport.Link, error) {
	if hop.FlowID != "" {
		return e.flows.Get(hop.FlowID)
	}
	s := e.socketFor(hop)
	switch {
	case s == nil:
		return nil, fmt.Errorf("%w: %s %s", siptransport.ErrNoTransport, hop.Transport, hop.Addr)
	case s.udp != nil:
		return s.udp.LinkTo(hop.Addr), nil
	}
	return s.stream.LinkTo(hop.Addr, hop.Name)
}

// Reply implements siptransport.Network.
func (e *Edge) Reply(from siptransport.Flow, via headers.Via) (siptransport.Link, error) {
	if from.ID != "" {
		link, err := e.flows.Get(from.ID)
		if err == nil || from.Edge == siptransport.EdgeAccess {
			return link, err
		}
		// RFC 3261 §18.2.2: open one to the source, at its sent-by port. Over TLS it must be who the Via says.
		hop := siptransport.Hop{Transport: from.Transport, Addr: netip.AddrPortFrom(from.Remote.Addr(), via.Port)}
		if via.Port == 0 {
			hop.Addr = netip.AddrPortFrom(from.Remote.Addr(), headers.DefaultPort(from.Transport))
		}
		if from.Transport == "TLS" {
			hop.Name = strings.ToLower(via.Host)
		}
		if e.socketFor(hop) == nil {
			return nil, err
		}
		return e.Link(hop)
	}
	for _, s := range e.sockets {
		if s.udp != nil && s.local == from.Local {
			return s.udp.LinkTo(siptransport.ReplyAddr(via, from.Remote)), nil
		}
	}
	return nil, fmt.Errorf("%w: socket %s", siptransport.ErrNoTransport, from.Local)
}

// speaks reports whether there is a listener of the transport.
func (e *Edge) speaks(transport string) bool {
	return slices.ContainsFunc(e.sockets, func(s socket) bool { return s.transport == transport })
}

// socketFor returns the first socket that reaches the hop, one of its own address family before [::]; nil when there is none.
func (e *Edge) socketFor(h siptransport.Hop) *socket {
	var other *socket
	for i := range e.sockets {
		s := &e.sockets[i]
		switch {
		case s.transport != h.Transport:
		case s.local.Addr().Is4() == h.Addr.Addr().Is4():
			return s
		case s.local.Addr() == netip.IPv6Unspecified() && !e.hasIPv4(s.transport) && other == nil:
			other = s
		}
	}
	return other
}
