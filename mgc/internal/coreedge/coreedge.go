// Package coreedge is the side towards the IMS core or SIP PBX: listeners over UDP, TCP and TLS, of IPv4 and IPv6, resolution by
// RFC 3263 with failover and a blacklist, keep-alives, and the admission of sources. It is the siptransport.Network of the
// transaction layer. Floor 4 of mgc. Owner: Edge, which owns the sockets' readers, one goroutine that keeps the next hop resolved
// and one that probes it.
package coreedge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Listen is one listener.
type Listen struct {
	Transport string         // "UDP", "TCP" or "TLS"
	Addr      netip.AddrPort // port 0: chosen by the system
	Advertise string         // host[:port] for Via, Contact and Path; "" uses Addr, which then must not be unspecified
}

// Config holds what an operator sets; a zero field takes its default.
type Config struct {
	// Listen holds the listeners, of which the first for a transport and address family is used for requests. [::] takes IPv4,
	// too, when no other listener of the transport does.
	Listen []Listen
	// Home is host[:port] by which the layers above name us in Contact and Path. What leaves over another listener than that
	// which advertises it gets the listener's name. "": the name of the first listener.
	Home string
	// NextHop is the SIP URI of the core's entry point. With it, every target that is a name goes there, and a Target that
	// names nothing; numeric targets go where they say. Without it names are resolved.
	NextHop string
	// Allow lists the core's addresses: requests from elsewhere are refused. The addresses of NextHop are always allowed.
	Allow []netip.Prefix
	// Reach bounds where requests may be sent; empty: anywhere. A Request-URI that a user made up cannot then probe networks.
	Reach []netip.Prefix
	// TCPAbove is the size in bytes above which a request goes over TCP instead of UDP (RFC 3261 §18.1.1), default 1300;
	// negative: never. It needs a TCP listener.
	TCPAbove int
	// DNS servers (host:port); empty: those of the system.
	DNS []string
	// DNSTimeout bounds one query, default 2 s.
	DNSTimeout time.Duration
	Blacklist  Blacklist
	// Probe is the interval of OPTIONS to the targets of NextHop; 0: none.
	Probe time.Duration
	// StrangerRate is how many 403 per second all refused sources together get over UDP, default 10; the rest is dropped.
	StrangerRate int
	TCP          siptransport.TCPConfig // for TLS, too
	TLS          TLS
	Registry     prometheus.Registerer // of the metrics; nil: none
}

func (c Config) withDefaults() Config {
	if c.TCPAbove == 0 {
		c.TCPAbove = 1300
	}
	if c.DNSTimeout == 0 {
		c.DNSTimeout = 2 * time.Second
	}
	if c.StrangerRate == 0 {
		c.StrangerRate = 10
	}
	return c
}

// socket is a listener that is open: either of udp and stream is set.
type socket struct {
	transport string
	local     netip.AddrPort
	sentBy    string
	name      us
	udp       *siptransport.UDP
	stream    *siptransport.TCP
}

// Edge owns the core-side sockets and knows how to reach the core. Safe for concurrent use.
type Edge struct {
	cfg     Config
	log     *zap.Logger
	sip     *siptransport.Metrics
	metrics *metrics
	flows   *siptransport.Flows
	sockets []socket
	certs   *certs // nil without a TLS listener
	names   names
	dns     *resolver
	down    *downList
	trust   *trustList
	ask     Ask             // nil: no probes
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
}

var _ siptransport.Network = (*Edge)(nil)

// New opens the listeners. flows is the table shared with the access edge. Nothing is read before Start; Close releases the
// sockets even without Start.
func New(cfg Config, flows *siptransport.Flows, sip *siptransport.Metrics, log *zap.Logger) (*Edge, error) {
	cfg = cfg.withDefaults()
	e := &Edge{cfg: cfg, log: log, sip: sip, flows: flows, down: newDownList(cfg.Blacklist), trust: newTrustList(cfg.Allow, cfg.StrangerRate)}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.metrics = newMetrics(cfg.Registry, e)
	e.dns.count = func(result string) { e.metrics.lookups.WithLabelValues(result).Inc() }
	return e, nil
}

func (e *Edge) open() error {
	var err error
	if e.cfg.NextHop != "" {
		u, err := headers.ParseURI(e.cfg.NextHop)
		if err != nil || !u.IsSIP() {
			return fmt.Errorf("coreedge: next hop %q is no SIP URI", e.cfg.NextHop)
		}
		e.names.tcp = strings.EqualFold(u.Params.Value("transport"), "tcp") && u.Scheme == "sip"
	}
	if e.dns, err = newResolver(e.cfg.DNS, e.cfg.DNSTimeout); err != nil {
		return err
	}
	for _, l := range e.cfg.Listen {
		if err := e.listen(l); err != nil {
			return err
		}
	}
	e.names.all = make(map[us]bool)
	for _, s := range e.sockets {
		e.names.all[s.name] = true
	}
	switch {
	case e.cfg.Home != "" && !strings.HasSuffix(e.cfg.Home, ":0"): // port 0 is whatever was bound
		if e.names.home, err = parseUs(e.cfg.Home); err != nil {
			return fmt.Errorf("coreedge: own name %q: %w", e.cfg.Home, err)
		}
		e.names.all[e.names.home] = true
	case len(e.sockets) > 0:
		e.names.home = e.sockets[0].name
	}
	q, err := e.query(siptransport.Target{})
	if e.cfg.NextHop != "" && err != nil {
		return fmt.Errorf("coreedge: next hop: %w", err)
	}
	if e.cfg.NextHop != "" && !e.speaks(q.transport()) {
		return fmt.Errorf("coreedge: next hop %s: %w: no listener for %s", e.cfg.NextHop, siptransport.ErrNoTransport, q.transport())
	}
	return nil
}

func (e *Edge) listen(l Listen) error {
	if l.Advertise == "" && l.Addr.Addr().IsUnspecified() {
		return fmt.Errorf("coreedge: listener %s %s needs an address to advertise", l.Transport, l.Addr)
	}
	s := socket{transport: strings.ToUpper(l.Transport)}
	bind := siptransport.Socket{Addr: l.Addr, SentBy: l.Advertise, Edge: siptransport.EdgeCore, V6Only: e.hasIPv4(s.transport)}
	var err error
	switch s.transport {
	case "UDP":
		if s.udp, err = siptransport.ListenUDP(bind); err != nil {
			return err
		}
		s.local, s.sentBy = s.udp.Local(), s.udp.SentBy()
	case "TCP":
		s.stream, err = siptransport.ListenTCP(e.cfg.TCP, bind, e.flows)
	case "TLS":
		if e.certs == nil {
			if e.certs, err = newCerts(e.cfg.TLS, e.log); err != nil {
				return err
			}
		}
		s.stream, err = siptransport.ListenTLS(e.cfg.TCP, bind, e.flows, e.certs.security())
	default:
		return fmt.Errorf("coreedge: listener %s: unknown transport %q", l.Addr, l.Transport)
	}
	if err != nil {
		return err
	}
	if s.stream != nil {
		s.local, s.sentBy = s.stream.Local(), s.stream.SentBy()
	}
	e.sockets = append(e.sockets, s)
	if e.sockets[len(e.sockets)-1].name, err = parseUs(s.sentBy); err != nil {
		return fmt.Errorf("coreedge: listener %s %s: address to advertise %q: %w", s.transport, l.Addr, s.sentBy, err)
	}
	return nil
}

// hasIPv4 reports whether there is an IPv4 listener of the transport.
func (e *Edge) hasIPv4(transport string) bool {
	for _, l := range e.cfg.Listen {
		if strings.EqualFold(l.Transport, transport) && l.Addr.Addr().Is4() {
			return true
		}
	}
	return false
}

// Start begins to read and feeds sink. Call it once.
func (e *Edge) Start(sink siptransport.Sink) {
	in := &siptransport.Ingress{Sink: sink, Metrics: e.sip, Log: e.log, Admit: e.admit, Arrived: e.arrived}
	for _, s := range e.sockets {
		if s.udp != nil {
			s.udp.Serve(in)
		} else {
			s.stream.Serve(in)
		}
	}
	if e.cfg.NextHop == "" {
		return
	}
	e.running.Go(e.watchNextHop)
	if e.ask != nil && e.cfg.Probe > 0 {
		e.running.Go(e.probe)
	}
}

// Close shuts the sockets and waits for all goroutines.
func (e *Edge) Close() error {
	e.cancel()
	var errs []error
	for _, s := range e.sockets {
		if s.udp != nil {
			errs = append(errs, s.udp.Close())
		} else {
			errs = append(errs, s.stream.Close())
		}
	}
	e.running.Wait()
	if e.certs != nil {
		errs = append(errs, e.certs.close())
	}
	return errors.Join(errs...)
}

// SentBy returns host[:port] that the first listener of a transport ("UDP", "TCP", "TLS") advertises; "" when there is none.
func (e *Edge) SentBy(transport string) string {
	for _, s := range e.sockets {
		if strings.EqualFold(s.transport, transport) {
			return s.sentBy
		}
	}
	return ""
}

// Local returns the socket address of the first listener of a transport; the zero value when there is none.
func (e *Edge) Local(transport string) netip.AddrPort {
	for _, s := range e.sockets {
		if strings.EqualFold(s.transport, transport) {
			return s.local
		}
	}
	return netip.AddrPort{}
}

// watchNextHop keeps the addresses of the next hop known and allowed, as its DNS records change.
func (e *Edge) watchNextHop() {
	for {
		wait := 30 * time.Second
		hops, err := e.places(e.ctx, siptransport.Target{})
		if err != nil {
			wait = 2 * time.Second
			if e.ctx.Err() == nil {
				e.log.Warn("next hop does not resolve", zap.String("next_hop", e.cfg.NextHop), zap.Error(err))
			}
		}
		e.trustHops(hops)
		t := time.NewTimer(wait)
		select {
		case <-e.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// TrustURI allows requests from the addresses of a core node that the core itself named (Service-Route, Record-Route of a
// trusted response), for the next ten minutes. It resolves in the background.
func (e *Edge) TrustURI(uri string) {
	if e.ctx.Err() != nil {
		return
	}
	to := siptransport.Target{URI: uri}
	if hops, ok := e.knownPlaces(to); ok {
		e.trustHops(hops)
		return
	}
	e.running.Go(func() {
		if hops, err := e.places(e.ctx, to); err == nil { // an unknown node stays a stranger
			e.trustHops(hops)
		}
	})
}

func (e *Edge) trustHops(hops []siptransport.Hop) {
	for _, h := range hops {
		e.trust.learn(h.Addr.Addr(), time.Now().Add(trustFor))
	}
}
