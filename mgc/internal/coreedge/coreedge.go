// Package coreedge is the side towards the IMS core or SIP PBX: listeners over UDP and TCP, resolution by RFC 3263 with
// failover, and the admission of sources. It is the siptransport.Network of the transaction layer. Floor 4 of mgc. Owner:
// Edge, which owns the sockets' readers and one goroutine that keeps the next hop resolved.
package coreedge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Listen is one listener.
type Listen struct {
	Transport string         // "UDP" or "TCP"
	Addr      netip.AddrPort // port 0: chosen by the system
	Advertise string         // host[:port] for Via and Contact; "" uses Addr, which then must not be unspecified
}

// Config holds what an operator sets; a zero field takes its default.
type Config struct {
	Listen []Listen
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
	// DownFor is how long a hop that failed is tried last, default 30 s.
	DownFor time.Duration
	// StrangerRate is how many 403 per second all refused sources together get over UDP, default 10; the rest is dropped.
	StrangerRate int
	TCP          siptransport.TCPConfig
}

func (c Config) withDefaults() Config {
	if c.TCPAbove == 0 {
		c.TCPAbove = 1300
	}
	if c.DNSTimeout == 0 {
		c.DNSTimeout = 2 * time.Second
	}
	if c.DownFor == 0 {
		c.DownFor = 30 * time.Second
	}
	if c.StrangerRate == 0 {
		c.StrangerRate = 10
	}
	return c
}

// Edge owns the core-side sockets and knows how to reach the core. Safe for concurrent use.
type Edge struct {
	cfg     Config
	log     *zap.Logger
	metrics *siptransport.Metrics
	flows   *siptransport.Flows
	udp     []*siptransport.UDP
	tcp     []*siptransport.TCP
	dns     *resolver
	down    *downList
	trust   *trustList
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
}

var _ siptransport.Network = (*Edge)(nil)

// New opens the listeners. flows is the table shared with the access edge. Nothing is read before Start; Close releases the
// sockets even without Start.
func New(cfg Config, flows *siptransport.Flows, metrics *siptransport.Metrics, log *zap.Logger) (*Edge, error) {
	cfg = cfg.withDefaults()
	e := &Edge{cfg: cfg, log: log, metrics: metrics, flows: flows, down: newDownList(cfg.DownFor), trust: newTrustList(cfg.Allow, cfg.StrangerRate)}
	if cfg.NextHop != "" {
		if u, err := headers.ParseURI(cfg.NextHop); err != nil || !u.IsSIP() {
			return nil, fmt.Errorf("coreedge: next hop %q is no SIP URI", cfg.NextHop)
		}
	}
	var err error
	if e.dns, err = newResolver(cfg.DNS, cfg.DNSTimeout); err != nil {
		return nil, err
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	for _, l := range cfg.Listen {
		if err := e.listen(l); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, nil
}

func (e *Edge) listen(l Listen) error {
	if l.Advertise == "" && l.Addr.Addr().IsUnspecified() {
		return fmt.Errorf("coreedge: listener %s %s needs an address to advertise", l.Transport, l.Addr)
	}
	switch strings.ToUpper(l.Transport) {
	case "UDP":
		u, err := siptransport.ListenUDP(l.Addr, l.Advertise, siptransport.EdgeCore)
		if err != nil {
			return err
		}
		e.udp = append(e.udp, u)
	case "TCP":
		t, err := siptransport.ListenTCP(e.cfg.TCP, l.Addr, l.Advertise, siptransport.EdgeCore, e.flows)
		if err != nil {
			return err
		}
		e.tcp = append(e.tcp, t)
	default:
		return fmt.Errorf("coreedge: listener %s: unknown transport %q", l.Addr, l.Transport)
	}
	return nil
}

// Start begins to read and feeds sink. Call it once.
func (e *Edge) Start(sink siptransport.Sink) {
	in := &siptransport.Ingress{Sink: sink, Metrics: e.metrics, Log: e.log, Admit: e.admit}
	for _, u := range e.udp {
		u.Serve(in)
	}
	for _, t := range e.tcp {
		t.Serve(in)
	}
	if e.cfg.NextHop != "" {
		e.running.Add(1)
		go e.watchNextHop()
	}
}

// Close shuts the sockets and waits for all goroutines.
func (e *Edge) Close() error {
	e.cancel()
	var errs []error
	for _, u := range e.udp {
		errs = append(errs, u.Close())
	}
	for _, t := range e.tcp {
		errs = append(errs, t.Close())
	}
	e.running.Wait()
	return errors.Join(errs...)
}

// SentBy returns host[:port] that the first listener of a transport ("UDP", "TCP") advertises: what Contact and Record-Route
// towards the core carry. "" when there is none.
func (e *Edge) SentBy(transport string) string {
	if strings.EqualFold(transport, "TCP") {
		for _, t := range e.tcp {
			return t.SentBy()
		}
		return ""
	}
	for _, u := range e.udp {
		return u.SentBy()
	}
	return ""
}

// Local returns the socket address of the first listener of a transport; the zero value when there is none.
func (e *Edge) Local(transport string) netip.AddrPort {
	if strings.EqualFold(transport, "TCP") {
		for _, t := range e.tcp {
			return t.Local()
		}
		return netip.AddrPort{}
	}
	for _, u := range e.udp {
		return u.Local()
	}
	return netip.AddrPort{}
}

// watchNextHop keeps the addresses of the next hop allowed, as its DNS records change.
func (e *Edge) watchNextHop() {
	defer e.running.Done()
	for {
		wait := 30 * time.Second
		hops, err := e.Resolve(e.ctx, siptransport.Target{})
		if err != nil {
			wait = 2 * time.Second
			if e.ctx.Err() == nil {
				e.log.Warn("next hop does not resolve", zap.String("next_hop", e.cfg.NextHop), zap.Error(err))
			}
		}
		for _, h := range hops {
			e.trust.learn(h.Addr.Addr(), time.Now().Add(trustFor))
		}
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
	if hops, ok := e.Known(to); ok {
		e.trustHops(hops)
		return
	}
	e.running.Go(func() {
		if hops, err := e.Resolve(e.ctx, to); err == nil { // an unknown node stays a stranger
			e.trustHops(hops)
		}
	})
}

func (e *Edge) trustHops(hops []siptransport.Hop) {
	for _, h := range hops {
		e.trust.learn(h.Addr.Addr(), time.Now().Add(trustFor))
	}
}
