package iqlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Config of a Link.
type Config struct {
	Instance string // this controller instance; sent as mgc_instance and, with TLS, a name in its certificate
	TLS      tlsfiles.Files
	Insecure bool // speak plaintext beyond loopback; never in production

	Deadline   time.Duration // of one transaction with its repetitions; default 3 s
	Attempt    time.Duration // of one attempt; default 1 s
	Keepalive  time.Duration // HTTP/2 ping interval on idle connections; default 10 s
	MaxNotify  int           // Notify requests worked on at once; more are answered RETRY_LATER; default 1024
	MaxMessage int           // longest message in bytes; default 1 MiB
}

func (c *Config) defaults() {
	setDefault(&c.Deadline, 3*time.Second)
	setDefault(&c.Attempt, time.Second)
	setDefault(&c.Keepalive, 10*time.Second)
	setDefault(&c.MaxNotify, 1024)
	setDefault(&c.MaxMessage, 1<<20)
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Registry takes what MGWs say about themselves; mgwpool.Pool is one.
type Registry interface {
	// ServiceChange takes a change of service state; refusals in the reply, the error when it could not be stored.
	ServiceChange(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error)
	// Heartbeat takes a report of load.
	Heartbeat(ctx context.Context, r *iqv1.HeartbeatRequest) *iqv1.HeartbeatReply
	// Unreachable is told when an MGW did not answer.
	Unreachable(mgw string)
}

// NotifyFunc gives the events of a context to the call with r's correlation_id and returns the verdict: ACK only once
// the call has taken them over. It may run for many contexts at once, for one context one after the other; ctx ends
// with the MGW's patience.
type NotifyFunc func(ctx context.Context, r *iqv1.NotifyRequest) iqv1.NotifyReply_Verdict

// Node names an MGW for a command.
type Node struct {
	ID      string // mgw_id
	Address string // host:port
}

// Link is the controller's end of Iq. All methods are safe for concurrent use.
type Link struct {
	cfg      Config
	registry Registry
	notify   NotifyFunc
	log      *zap.Logger
	metrics  *metrics
	creds    *tlsfiles.Mutual // nil: plaintext
	server   *grpc.Server
	health   *health.Server
	dedup    *dedup
	slots    chan struct{} // cap MaxNotify; full: RETRY_LATER

	mu     sync.Mutex // guards conns, closed
	conns  map[string]*conn
	closed bool
	serves sync.WaitGroup
}

type conn struct {
	address string
	cc      *grpc.ClientConn
	client  iqv1.MediaGatewayClient
}

// New makes the link; nothing is served or dialled yet. reg may be nil. Errors: unreadable TLS files.
func New(cfg Config, registry Registry, notify NotifyFunc, log *zap.Logger, reg prometheus.Registerer) (*Link, error) {
	cfg.defaults()
	l := &Link{cfg: cfg, registry: registry, notify: notify, log: log, metrics: newMetrics(reg),
		dedup: newDedup(maxDedup), slots: make(chan struct{}, cfg.MaxNotify), conns: map[string]*conn{}}
	opts := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(cfg.MaxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: cfg.Keepalive / 2, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: cfg.Keepalive, Timeout: cfg.Keepalive}),
		grpc.ConnectionTimeout(5 * time.Second),
	}
	if cfg.TLS.Set() {
		creds, err := tlsfiles.NewMutual(cfg.TLS)
		if err != nil {
			return nil, fmt.Errorf("iqlink: %w", err)
		}
		l.creds = creds
		opts = append(opts, grpc.Creds(credentials.NewTLS(creds.Server("h2"))))
	}
	l.server = grpc.NewServer(opts...)
	iqv1.RegisterMediaGatewayControllerServer(l.server, &controller{l: l})
	l.health = health.NewServer()
	healthv1.RegisterHealthServer(l.server, l.health)
	return l, nil
}

// Serve serves MGWs on lis until Close, and closes lis. Plaintext on an address beyond loopback is refused with
// ErrDenied unless Config.Insecure is set. It blocks.
func (l *Link) Serve(lis net.Listener) error {
	if l.creds == nil && !l.cfg.Insecure && !loopback(lis.Addr().String()) {
		return errors.Join(fmt.Errorf("serve Iq in plaintext on %s: %w: set TLS files or insecure", lis.Addr(), ErrDenied), lis.Close())
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errors.Join(ErrClosed, lis.Close())
	}
	l.serves.Add(1)
	l.mu.Unlock()
	defer l.serves.Done()
	if err := l.server.Serve(lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve Iq on %s: %w", lis.Addr(), err)
	}
	return nil
}

// Close refuses new requests, lets those under way finish for up to a second, closes all connections and waits.
func (l *Link) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	conns := l.conns
	l.conns = map[string]*conn{}
	l.mu.Unlock()
	l.health.Shutdown()
	force := time.AfterFunc(time.Second, l.server.Stop)
	l.server.GracefulStop()
	force.Stop()
	l.serves.Wait()
	for _, c := range conns {
		_ = c.cc.Close() // an error says that it is closed
	}
}

// Forget closes the connection to an MGW that left the pool.
func (l *Link) Forget(mgw string) {
	l.mu.Lock()
	c := l.conns[mgw]
	delete(l.conns, mgw)
	l.mu.Unlock()
	if c != nil {
		_ = c.cc.Close()
	}
}

// client returns the connection to the node, making it or, when the address has changed, replacing it. gRPC dials in
// the background and keeps the connection up.
func (l *Link) client(n Node) (iqv1.MediaGatewayClient, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	old := l.conns[n.ID]
	if old != nil && old.address == n.Address {
		return old.client, nil
	}
	cc, err := l.dial(n)
	if err != nil {
		return nil, err
	}
	if old != nil {
		_ = old.cc.Close()
	}
	c := &conn{address: n.Address, cc: cc, client: iqv1.NewMediaGatewayClient(cc)}
	l.conns[n.ID] = c
	return c.client, nil
}

// loopback reports whether host:port is a loopback address literal or "localhost".
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
