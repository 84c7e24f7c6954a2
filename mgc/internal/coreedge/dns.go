package coreedge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of what is taken from the DNS.
const (
	maxServices  = 8  // NAPTR records of one name
	maxServers   = 32 // SRV records of one name
	maxAddresses = 16 // of one name
	maxCache     = 1024
	minTTL       = time.Second
	maxTTL       = 5 * time.Minute
	hostsTTL     = 30 * time.Second // for names that the system resolver knows and the DNS does not
	staleTTL     = 10 * time.Second // until the servers are asked again
	staleFor     = time.Hour        // an answer serves so long after its time while no server answers (RFC 8767 §4)
)

// resolver asks the DNS and remembers. Safe for concurrent use.
type resolver struct {
	servers []string
	udp     *dns.Client
	tcp     *dns.Client
	system  *net.Resolver

	count func(result string)

	mu     sync.Mutex // guards what follows
	cache  map[query]answer
	asking map[query]*question
}

// question is a lookup on its way; who else wants the answer waits for it.
type question struct {
	done chan struct{} // closed when the answer is there
	ans  answer
	err  error
}

func newResolver(servers []string, timeout time.Duration) (*resolver, error) {
	if len(servers) == 0 {
		conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err == nil {
			for _, s := range conf.Servers {
				servers = append(servers, net.JoinHostPort(s, conf.Port))
			}
		}
	}
	for _, s := range servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, fmt.Errorf("coreedge: DNS server %q: want host:port: %w", s, err)
		}
	}
	return &resolver{
		servers: servers, udp: &dns.Client{Timeout: timeout, UDPSize: 4096}, tcp: &dns.Client{Net: "tcp", Timeout: timeout},
		system: &net.Resolver{}, count: func(string) {}, cache: make(map[query]answer), asking: make(map[query]*question),
	}, nil
}

func (r *resolver) cached(q query, now time.Time) (answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.cache[q]
	if !ok || now.After(a.expires) {
		return answer{}, false
	}
	return a, true
}

// lookup resolves q by RFC 3263 §4 and keeps the answer. Who asks for the same at the same time shares it. When no server answers,
// what was known before serves on for a while.
func (r *resolver) lookup(ctx context.Context, q query) (answer, error) {
	r.mu.Lock()
	x := r.asking[q]
	if x == nil {
		x = &question{done: make(chan struct{})}
		r.asking[q] = x
		r.mu.Unlock()
		x.ans, x.err = r.resolveOrStale(ctx, q)
		r.mu.Lock()
		delete(r.asking, q)
		r.mu.Unlock()
		close(x.done)
		return x.ans, x.err
	}
	r.mu.Unlock()
	select {
	case <-x.done:
		return x.ans, x.err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

func (r *resolver) resolveOrStale(ctx context.Context, q query) (answer, error) {
	ans, err := r.resolve(ctx, q)
	if err == nil {
		r.count("ok")
		r.keep(q, ans)
		return ans, nil
	}
	r.mu.Lock()
	old, ok := r.cache[q]
	r.mu.Unlock()
	now := time.Now()
	if errors.Is(err, errNoAddress) || !ok || now.After(old.stale) {
		r.count("failed")
		return answer{}, err
	}
	r.count("stale")
	old.expires = now.Add(staleTTL)
	r.keep(q, old)
	return old, nil
}

func (r *resolver) keep(q query, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cache) >= maxCache {
		clear(r.cache) // names come from users: no cleverness, only a bound
	}
	r.cache[q] = a
}

// ask returns the records of a name: nil when it has none, an error when no server answered.
func (r *resolver) ask(ctx context.Context, name string, kind uint16) ([]dns.RR, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	m.SetEdns0(4096, false)
	var last error
	for _, s := range r.servers {
		in, _, err := r.udp.ExchangeContext(ctx, m, s)
		if err == nil && in.Truncated {
			in, _, err = r.tcp.ExchangeContext(ctx, m, s)
		}
		if err != nil {
			last = err
			continue
		}
		switch in.Rcode {
		case dns.RcodeSuccess:
			return in.Answer, nil
		case dns.RcodeNameError, dns.RcodeNotImplemented, dns.RcodeFormatError:
			return nil, nil
		}
		last = errors.New(dns.RcodeToString[in.Rcode])
	}
	if last == nil {
		return nil, nil // no server is configured: the system resolver may still know the name
	}
	return nil, fmt.Errorf("DNS %s %s: %w", dns.TypeToString[kind], name, last)
}

// addresses returns the IPv4 and then the IPv6 addresses of a name; the system's resolver (hosts file, search list) is asked
// when the DNS knows none.
func (r *resolver) addresses(ctx context.Context, name string, ttl *ttl) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	var out []netip.Addr
	var firstErr error
	for _, kind := range [...]uint16{dns.TypeA, dns.TypeAAAA} {
		rrs, err := r.ask(ctx, name, kind)
		if err != nil && firstErr == nil {
			firstErr = err
		}
		for _, rr := range rrs {
			var ip net.IP
			switch v := rr.(type) {
			case *dns.A:
				ip = v.A
			case *dns.AAAA:
				ip = v.AAAA
			default:
				continue
			}
			if a, ok := netip.AddrFromSlice(ip); ok && len(out) < maxAddresses {
				out = append(out, a.Unmap())
				ttl.add(rr.Header().Ttl)
			}
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	found, err := r.system.LookupNetIP(ctx, "ip", name)
	if err != nil {
		if firstErr != nil {
			return nil, firstErr
		}
		return nil, fmt.Errorf("%w: %w", errNoAddress, err)
	}
	for _, a := range found {
		out = append(out, a.Unmap())
	}
	ttl.add(uint32(hostsTTL / time.Second))
	return out, nil
}

// ttl is the shortest lifetime of the records that an answer was made of.
type ttl struct{ d time.Duration }

func newTTL() *ttl { return &ttl{d: maxTTL} }

func (t *ttl) add(seconds uint32) { t.d = min(t.d, time.Duration(seconds)*time.Second) }

func (t *ttl) value() time.Duration { return max(t.d, minTTL) }
