package coreedge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

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
	switch {
	case to.FlowID != "":
		return []siptransport.Hop{{FlowID: to.FlowID}}, true
	case to.Addr.IsValid():
		t := strings.ToUpper(to.Transport)
		if t == "" {
			t = "UDP"
		}
		return e.reachable([]siptransport.Hop{{Transport: t, Addr: to.Addr}})
	}
	q, err := e.query(to)
	if err != nil {
		return nil, false
	}
	if q.addr.IsValid() {
		return e.reachable([]siptransport.Hop{{Transport: q.transport(), Addr: netip.AddrPortFrom(q.addr, q.portOrDefault())}})
	}
	if set, ok := e.dns.cached(q, time.Now()); ok {
		return e.reachable(e.order(set))
	}
	return nil, false
}

// Resolve implements siptransport.Network.
func (e *Edge) Resolve(ctx context.Context, to siptransport.Target) ([]siptransport.Hop, error) {
	hops, known := e.Known(to)
	if !known {
		q, err := e.query(to)
		if err != nil {
			return nil, err
		}
		set, err := e.dns.lookup(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("coreedge: resolve %s: %w", headers.ForLog(q.host, 80), err)
		}
		hops, _ = e.reachable(e.order(set))
	}
	if len(hops) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrOutOfReach, headers.ForLog(to.URI, 80))
	}
	return hops, nil
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
		if u, err = headers.ParseURI(e.cfg.NextHop); err != nil { // a tel or urn URI goes to the core, too
			return query{}, err
		}
	}
	q, err := e.queryOf(&u)
	if err == nil && !q.addr.IsValid() && e.cfg.NextHop != "" && uri != e.cfg.NextHop {
		if u, err = headers.ParseURI(e.cfg.NextHop); err != nil {
			return query{}, err
		}
		return e.queryOf(&u)
	}
	return q, err
}

func (e *Edge) queryOf(u *headers.URI) (query, error) {
	q := query{host: strings.ToLower(u.Host), port: u.Port, proto: strings.ToUpper(u.Params.Value("transport")), udp: len(e.udp) > 0, tcp: len(e.tcp) > 0}
	if u.Scheme == "sips" || q.proto == "TLS" {
		return q, fmt.Errorf("%w: TLS to %s", siptransport.ErrNoTransport, headers.ForLog(u.Host, 80))
	}
	if q.proto != "" && q.proto != "UDP" && q.proto != "TCP" {
		return q, fmt.Errorf("%w: %s", siptransport.ErrNoTransport, headers.ForLog(q.proto, 20))
	}
	if m := u.Params.Value("maddr"); m != "" {
		q.host = strings.ToLower(m) // RFC 3263 §4: the target is maddr when there is one
	}
	if a, err := netip.ParseAddr(q.host); err == nil {
		q.addr = a.Unmap()
	}
	return q, nil
}

// reachable drops hops outside of Config.Reach; ok tells that the answer is final.
func (e *Edge) reachable(hops []siptransport.Hop) ([]siptransport.Hop, bool) {
	if len(e.cfg.Reach) == 0 {
		return hops, true
	}
	kept := hops[:0]
	for _, h := range hops {
		for _, p := range e.cfg.Reach {
			if p.Contains(h.Addr.Addr()) {
				kept = append(kept, h)
				break
			}
		}
	}
	return kept, true
}

// order puts the hops of a lookup into the order to try: by priority and weight, those that failed lately last.
func (e *Edge) order(set answer) []siptransport.Hop {
	hops := set.order()
	now := time.Now()
	up := make([]siptransport.Hop, 0, len(hops))
	var down []siptransport.Hop
	for _, h := range hops {
		if e.down.has(h, now) {
			down = append(down, h)
		} else {
			up = append(up, h)
		}
	}
	return append(up, down...)
}

// Expand implements siptransport.Network: RFC 3261 §18.1.1.
func (e *Edge) Expand(hop siptransport.Hop, size int) []siptransport.Hop {
	if hop.Transport != "UDP" || e.cfg.TCPAbove < 0 || size <= e.cfg.TCPAbove || e.tcpFor(hop.Addr.Addr()) == nil {
		return []siptransport.Hop{hop}
	}
	tcp := siptransport.Hop{Transport: "TCP", Addr: hop.Addr}
	if e.down.has(tcp, time.Now()) {
		return []siptransport.Hop{hop} // it speaks no TCP, as we know since a short while
	}
	hop.Fallback = true
	return []siptransport.Hop{tcp, hop}
}

// Failed implements siptransport.Network.
func (e *Edge) Failed(hop siptransport.Hop) {
	if hop.FlowID == "" {
		e.down.add(hop, time.Now())
	}
}

// Link implements siptransport.Network.
func (e *Edge) Link(hop siptransport.Hop) (siptransport.Link, error) {
	if hop.FlowID != "" {
		return e.flows.Get(hop.FlowID)
	}
	switch hop.Transport {
	case "UDP":
		if u := e.udpFor(hop.Addr.Addr()); u != nil {
			return u.LinkTo(hop.Addr), nil
		}
	case "TCP":
		if t := e.tcpFor(hop.Addr.Addr()); t != nil {
			return t.LinkTo(hop.Addr)
		}
	}
	return nil, fmt.Errorf("%w: %s %s", siptransport.ErrNoTransport, hop.Transport, hop.Addr)
}

// Reply implements siptransport.Network.
func (e *Edge) Reply(from siptransport.Flow, via headers.Via) (siptransport.Link, error) {
	if from.ID != "" {
		link, err := e.flows.Get(from.ID)
		if err == nil || from.Transport != "TCP" {
			return link, err
		}
		if t := e.tcpFor(from.Remote.Addr()); t != nil { // RFC 3261 §18.2.2: open one to the source, at its sent-by port
			port := via.Port
			if port == 0 {
				port = headers.DefaultPort("TCP")
			}
			return t.LinkTo(netip.AddrPortFrom(from.Remote.Addr(), port))
		}
		return nil, err
	}
	for _, u := range e.udp {
		if u.Local() == from.Local {
			return u.LinkTo(siptransport.ReplyAddr(via, from.Remote)), nil
		}
	}
	return nil, fmt.Errorf("%w: socket %s", siptransport.ErrNoTransport, from.Local)
}

func (e *Edge) udpFor(a netip.Addr) *siptransport.UDP {
	for _, u := range e.udp {
		if sameFamily(u.Local().Addr(), a) {
			return u
		}
	}
	return nil
}

func (e *Edge) tcpFor(a netip.Addr) *siptransport.TCP {
	for _, t := range e.tcp {
		if sameFamily(t.Local().Addr(), a) {
			return t
		}
	}
	return nil
}

// sameFamily reports whether a socket can reach an address; [::] serves both families.
func sameFamily(local, remote netip.Addr) bool {
	if local == netip.IPv6Unspecified() {
		return true
	}
	return local.Is4() == remote.Is4()
}

// downList remembers hops that failed. Bounded: a full list forgets what has expired, else takes no more.
type downList struct {
	keep time.Duration

	mu    sync.Mutex // guards until
	until map[siptransport.Hop]time.Time
}

const maxDown = 1024

func newDownList(keep time.Duration) *downList {
	return &downList{keep: keep, until: make(map[siptransport.Hop]time.Time)}
}

func (d *downList) add(h siptransport.Hop, now time.Time) {
	h.Fallback = false
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.until) >= maxDown {
		for k, v := range d.until {
			if now.After(v) {
				delete(d.until, k)
			}
		}
		if len(d.until) >= maxDown {
			return
		}
	}
	d.until[h] = now.Add(d.keep)
}

func (d *downList) has(h siptransport.Hop, now time.Time) bool {
	h.Fallback = false
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.until[h]
	if ok && now.After(t) {
		delete(d.until, h)
		return false
	}
	return ok
}
