package coreedge

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// errNoAddress: the name exists in no form that SIP can use.
var errNoAddress = errors.New("no address for name")

// query is what RFC 3263 §4 starts from. It is comparable: the key of the cache.
type query struct {
	host     string // lower case
	addr     netip.Addr
	port     uint16 // 0: not given
	proto    string // "UDP", "TCP", or "" when the URI does not say
	udp, tcp bool   // what we can speak
}

// transport returns the transport when the URI or the lack of any record leaves it to us (RFC 3263 §4.1): UDP when we can.
func (q query) transport() string {
	switch {
	case q.proto != "":
		return q.proto
	case q.udp || !q.tcp:
		return "UDP"
	}
	return "TCP"
}

func (q query) portOrDefault() uint16 {
	if q.port != 0 {
		return q.port
	}
	return headers.DefaultPort(q.transport())
}

// server is one place with its addresses. Lower order first; among equals by weight (RFC 2782).
type server struct {
	order     int // of the NAPTR step
	priority  uint16
	weight    uint16
	transport string
	port      uint16
	addrs     []netip.Addr
}

// answer is the result of a lookup, kept until it expires.
type answer struct {
	servers []server
	expires time.Time
}

// order returns the hops in an order drawn anew by weight.
func (a answer) order() []siptransport.Hop {
	servers := slices.Clone(a.servers)
	slices.SortStableFunc(servers, func(x, y server) int {
		return cmp.Or(cmp.Compare(x.order, y.order), cmp.Compare(x.priority, y.priority))
	})
	var hops []siptransport.Hop
	for len(servers) > 0 {
		n := 1
		for n < len(servers) && servers[n].order == servers[0].order && servers[n].priority == servers[0].priority {
			n++
		}
		i := draw(servers[:n])
		s := servers[i]
		servers = slices.Delete(servers, i, i+1)
		for _, addr := range s.addrs {
			hops = append(hops, siptransport.Hop{Transport: s.transport, Addr: netip.AddrPortFrom(addr, s.port)})
		}
	}
	return hops
}

// draw picks one of equal priority with a chance of its weight; weight 0 is picked only rarely beside others (RFC 2782).
func draw(s []server) int {
	total := 0
	for i := range s {
		total += int(s[i].weight)*100 + 1
	}
	r := rand.IntN(total)
	for i := range s {
		if r -= int(s[i].weight)*100 + 1; r < 0 {
			return i
		}
	}
	return len(s) - 1
}

// lookup resolves q by RFC 3263 §4 and keeps the answer.
func (r *resolver) lookup(ctx context.Context, q query) (answer, error) {
	ans, err := r.resolve(ctx, q)
	if err != nil {
		return answer{}, err
	}
	r.keep(q, ans)
	return ans, nil
}

// resolve takes the steps of RFC 3263 §4.1 and §4.2.
func (r *resolver) resolve(ctx context.Context, q query) (answer, error) {
	ttl := newTTL()
	switch {
	case q.port != 0: // a port rules out NAPTR and SRV
		return r.plain(ctx, q, ttl)
	case q.proto != "":
		if s, err := r.srv(ctx, srvName(q.proto, q.host), q.proto, 0, ttl); err != nil || len(s) > 0 {
			return finish(s, ttl, err)
		}
		return r.plain(ctx, q, ttl)
	}
	servers, err := r.naptr(ctx, q, ttl)
	if err == nil && len(servers) == 0 {
		servers, err = r.guessSRV(ctx, q, ttl)
	}
	if err != nil || len(servers) > 0 {
		return finish(servers, ttl, err)
	}
	return r.plain(ctx, q, ttl)
}

func finish(servers []server, ttl *ttl, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	servers = slices.DeleteFunc(servers, func(s server) bool { return len(s.addrs) == 0 })
	if len(servers) == 0 {
		return answer{}, errNoAddress
	}
	return answer{servers: servers, expires: time.Now().Add(ttl.value())}, nil
}

// plain is the last step: the addresses of the name itself.
func (r *resolver) plain(ctx context.Context, q query, ttl *ttl) (answer, error) {
	addrs, err := r.addresses(ctx, q.host, ttl)
	return finish([]server{{transport: q.transport(), port: q.portOrDefault(), addrs: addrs}}, ttl, err)
}

func srvName(transport, host string) string {
	return "_sip._" + strings.ToLower(transport) + "." + host
}

// naptr follows the NAPTR records of services that we speak, in their order.
func (r *resolver) naptr(ctx context.Context, q query, ttl *ttl) ([]server, error) {
	rrs, err := r.ask(ctx, q.host, dns.TypeNAPTR)
	if err != nil {
		return nil, err
	}
	var records []*dns.NAPTR
	for _, rr := range rrs {
		if n, ok := rr.(*dns.NAPTR); ok && naptrTransport(q, n) != "" {
			records = append(records, n)
			ttl.add(n.Hdr.Ttl)
		}
	}
	slices.SortStableFunc(records, func(a, b *dns.NAPTR) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	var out []server
	for i, n := range records {
		s, err := r.srv(ctx, strings.TrimSuffix(n.Replacement, "."), naptrTransport(q, n), i, ttl)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	return out, nil
}

// naptrTransport returns the transport of a record that we can use, else "".
func naptrTransport(q query, n *dns.NAPTR) string {
	if !strings.EqualFold(n.Flags, "s") || n.Replacement == "." {
		return ""
	}
	switch strings.ToUpper(n.Service) {
	case "SIP+D2U":
		if q.udp {
			return "UDP"
		}
	case "SIP+D2T":
		if q.tcp {
			return "TCP"
		}
	}
	return ""
}

// guessSRV asks for the SRV names of the transports we speak when there is no NAPTR.
func (r *resolver) guessSRV(ctx context.Context, q query, ttl *ttl) ([]server, error) {
	var out []server
	for i, t := range [...]string{"UDP", "TCP"} {
		if t == "UDP" && !q.udp || t == "TCP" && !q.tcp {
			continue
		}
		s, err := r.srv(ctx, srvName(t, q.host), t, i, ttl)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	return out, nil
}

// srv returns the servers of an SRV name with their addresses; none when there is no such record.
func (r *resolver) srv(ctx context.Context, name, transport string, order int, ttl *ttl) ([]server, error) {
	rrs, err := r.ask(ctx, name, dns.TypeSRV)
	if err != nil {
		return nil, err
	}
	var out []server
	for _, rr := range rrs {
		s, ok := rr.(*dns.SRV)
		if !ok || s.Target == "." || len(out) == maxServers {
			continue
		}
		ttl.add(s.Hdr.Ttl)
		addrs, err := r.addresses(ctx, strings.TrimSuffix(s.Target, "."), ttl)
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		// A target without an address is passed over, others may have one.
		out = append(out, server{order: order, priority: s.Priority, weight: s.Weight, transport: transport, port: s.Port, addrs: addrs})
	}
	return out, nil
}
