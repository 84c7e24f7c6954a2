// Package wsedge is the SIP over WebSocket server (RFC 7118) that browsers connect to. Floor 4 of mgc. Owner: Server; one
// reader goroutine per connection, a writer only while messages wait, a timer for pings.
//
// Walk of a message from a browser:
//
//	HTTP upgrade: proxy header -> Origin (403) -> subprotocol, credential (400) -> caps (503) -> 101, flow entered in the table
//	frame(s) -> one WebSocket message <= 64 KiB (1009) -> keep-alive | siptransport.Ingress -> transaction layer
//
// An idle connection keeps one blocked goroutine and no buffer (see thin); compression is off.
package wsedge

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Config holds the policy and bounds of the server; a zero field takes its default.
type Config struct {
	// Origins are the web origins that may connect ("https://phone.example.com", "https://*.example.com", or "*" for any).
	// The server's own origin always may. A client that sends no Origin is no browser and may connect unless RequireOrigin.
	Origins       []string
	RequireOrigin bool
	// SentBy is host[:port] for the Via of requests to browsers; "" uses the local address of the connection.
	SentBy string
	// TrustedProxies may tell the client's address by X-Forwarded-For and TLS by X-Forwarded-Proto.
	TrustedProxies []netip.Prefix
	MaxMessage     int           // bytes, default 65535
	MaxConns       int           // default 50000
	MaxConnsPerIP  int           // per IPv4 address or IPv6 /64, default 200
	Queue          int           // messages waiting per connection, default 256
	WriteTimeout   time.Duration // one message, default 10 s
	MessageTimeout time.Duration // a message that has begun, default 10 s
	PingInterval   time.Duration // default 25 s
	PongTimeout    time.Duration // default 10 s
	MaxBad         int           // malformed messages before the connection is closed, default 10
	// Credential takes the credential out of an upgrade request, "" for none, and Bind learns it with the connection's flow before
	// a message is read. An error of Credential is answered 400. Both nil: none is looked for.
	Credential func(r *http.Request) (string, error)
	Bind       func(flow, credential string)
	// OnFlowClosed is called once for every connection that ends, after it has left the table, from its reader. It must not block.
	OnFlowClosed func(flow siptransport.Flow)
}

func (c Config) withDefaults() Config {
	durations := []struct {
		d *time.Duration
		v time.Duration
	}{
		{&c.WriteTimeout, 10 * time.Second}, {&c.MessageTimeout, 10 * time.Second},
		{&c.PingInterval, 25 * time.Second}, {&c.PongTimeout, 10 * time.Second},
	}
	for _, x := range durations {
		if *x.d == 0 {
			*x.d = x.v
		}
	}
	ints := []struct {
		n *int
		v int
	}{{&c.MaxMessage, headers.MaxMessage}, {&c.MaxConns, 50_000}, {&c.MaxConnsPerIP, 200}, {&c.Queue, 256}, {&c.MaxBad, 10}}
	for _, x := range ints {
		if *x.n == 0 {
			*x.n = x.v
		}
	}
	return c
}

// Server upgrades requests and owns the connections. It is the http.Handler of the SIP path.
type Server struct {
	cfg     Config
	origins []originPattern
	flows   *siptransport.Flows
	in      *siptransport.Ingress
	log     *zap.Logger
	buffers readBuffers
	running sync.WaitGroup // handshakes, readers, writers, pings

	mu       sync.Mutex // guards what follows
	conns    map[*conn]struct{}
	perIP    map[netip.Addr]int // connections and handshakes by ipKey
	total    int                // sum of perIP
	draining bool
	closed   bool
}

var _ http.Handler = (*Server)(nil)

// New returns a server that enters its connections in flows and feeds sink. It fails on a malformed Origin pattern.
func New(cfg Config, flows *siptransport.Flows, sink siptransport.Sink, metrics *siptransport.Metrics, log *zap.Logger) (*Server, error) {
	origins, err := parseOrigins(cfg.Origins)
	if err != nil {
		return nil, err
	}
	return &Server{
		cfg: cfg.withDefaults(), origins: origins, flows: flows, log: log,
		in:    &siptransport.Ingress{Sink: sink, Metrics: metrics, Log: log},
		conns: make(map[*conn]struct{}), perIP: make(map[netip.Addr]int),
	}, nil
}

// NewHTTPServer returns an http.Server for handler whose timeouts and limits keep half-open handshakes and slow headers from
// holding anything but their own connection, and that logs to nowhere but errors (TLS handshake failures of strangers are no
// news). tlsConfig may be nil. WebSocket connections outlive these timeouts, they are taken over.
func NewHTTPServer(handler http.Handler, tlsConfig *tls.Config, errorLog *log.Logger) *http.Server {
	return &http.Server{
		Handler: handler, TLSConfig: tlsConfig, ErrorLog: errorLog,
		ReadHeaderTimeout: 5 * time.Second, // also bounds the TLS handshake
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
}

// Drain refuses new connections by 503 from now on; those that exist stay.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// Close tells every browser that this instance goes away (status 1001), so that it reconnects elsewhere, shuts all
// connections and waits for their goroutines, at most about five seconds.
func (s *Server) Close() error {
	s.mu.Lock()
	s.draining, s.closed = true, true
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	var closing sync.WaitGroup
	for _, c := range all {
		closing.Go(c.goAway)
	}
	closing.Wait()
	s.running.Wait()
	return nil
}

// Len returns the number of open connections.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// ipKey groups the addresses one client can easily have: an IPv6 /64 counts as one.
func ipKey(a netip.Addr) netip.Addr {
	if a.Is6() {
		p, err := a.WithZone("").Prefix(64)
		if err == nil {
			return p.Addr()
		}
	}
	return a
}

// reserve takes a place for a connection from the address, or says why not. A handshake with a place counts as running: the
// caller ends that by s.running.Done.
func (s *Server) reserve(a netip.Addr) (refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return "this instance is going away"
	case s.total >= s.cfg.MaxConns:
		return "too many connections"
	case s.perIP[ipKey(a)] >= s.cfg.MaxConnsPerIP:
		return "too many connections from this address"
	}
	s.perIP[ipKey(a)]++
	s.total++
	s.running.Add(1) // not draining, so Close does not wait yet
	return ""
}

func (s *Server) release(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := ipKey(a)
	s.total--
	if s.perIP[k]--; s.perIP[k] <= 0 {
		delete(s.perIP, k)
	}
}

// enter puts an upgraded connection into the tables; false when the server was closed meanwhile.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
