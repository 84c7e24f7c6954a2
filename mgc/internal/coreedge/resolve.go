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
	host          string // lower case
	name          string // lower case, what a certificate must name
	addr          netip.Addr
	port          uint16 // 0: not given
	proto         string // "UDP", "TCP", "TLS", or "" when the URI does not say
	sips          bool   // nothing but TLS will do
	udp, tcp, tls bool   // what we can speak
}

// can reports whether a transport serves the query.
func (q query) can(transport string) bool {
	switch transport {
	case "UDP":
		return q.udp && !q.sips
	case "TCP":
		return q.tcp && !q.sips
	}
	return q.tls
}

// transport returns the transport when the URI or the lack of any record leaves it to us (RFC 3263 §4.1): UDP when we can.
func (q query) transport() string {
	switch {
	case q.proto != "":
		return q.proto
	case q.sips:
		return "TLS"
	case q.udp:
		return "UDP"
	case q.tcp:
		return "TCP"
	case q.tls:
		return "TLS"
	}
	return "UDP"
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
	stale   time.Time // serves until then while no server answers
}

// order returns the hops in an order drawn anew by weight. name is what certificates must name.
func (a answer) order(name string) []siptransport.Hop {
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
			h := siptransport.Hop{Transport: s.transport, Addr: netip.AddrPortFrom(addr, s.port)}
			if s.transport == "TLS" {
				h.Name = name
			}
			hops = append(hops, h)
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
	expires := time.Now().Add(ttl.value())
	return answer{servers: servers, expires: expires, stale: expires.Add(staleFor)}, nil
}

// plain is the last step: the addresses of the name itself.
func (r *resolver) plain(ctx context.Context, q query, ttl *ttl) (answer, error) {
	addrs, err := r.addresses(ctx, q.host, ttl)
	return finish([]server{{transport: q.transport(), port: q.portOrDefault(), addrs: addrs}}, ttl, err)
}

func srvName(transport, host string) string {
	if transport == "TLS" {
		return "_sips._tcp." + host
	}
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
	records = records[:min(len(records), maxServices)]
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

// services are the NAPTR services of RFC 3263 §4.1 by transport. SIPS+D2T is good for a sip URI, too.
var services = map[string]string{"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS"}

// naptrTransport returns the transport of a record that we can use, else "".
func naptrTransport(q query, n *dns.NAPTR) string {
	if !strings.EqualFold(n.Flags, "s") || n.Replacement == "." {
		return ""
	}
	if t := services[strings.ToUpper(n.Service)]; t != "" && q.can(t) {
		return t
	}
	return ""
}

// guessSRV asks for the SRV names of the transports we speak when there is no NAPTR.
func (r *resolver) guessSRV(ctx context.Context, q query, ttl *ttl) ([]server, error) {
	var out []server
	for i, t := range [...]string{"UDP", "TCP", "TLS"} {
		if !q.can(t) {
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
