package turnserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Server is a running TURN server. Its owner closes it. Safe for concurrent use.
type Server struct {
	cfg       Config
	metrics   *metrics
	rates     *rates
	listeners []net.Listener // index as TCP then TLS
	sockets   []*client      // of UDP
	acceptors sync.WaitGroup
	open      sync.WaitGroup // clients and relay sockets; added to under mu while not closed

	mu       sync.Mutex // guards what follows
	closed   bool
	draining bool
	streams  map[*client]struct{}
	bySource counts[netip.Addr] // connections
	allocs   int
	users    counts[string]     // allocations
	sources  counts[netip.Addr] // allocations
}

// New opens the listeners and serves. Errors: an address that cannot be listened at, with its name.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg.withDefaults(), streams: map[*client]struct{}{}, bySource: counts[netip.Addr]{},
		users: counts[string]{}, sources: counts[netip.Addr]{}}
	s.metrics, s.rates = newMetrics(cfg.Metrics, s), newRates(s.cfg.Quota.Requests)
	if err := s.listen(); err != nil {
		s.Close()
		return nil, fmt.Errorf("turnserver: %w", err)
	}
	return s, nil
}

func (s *Server) listen() error {
	for _, at := range s.cfg.UDP {
		conn, err := net.ListenUDP(network("udp", at.Addr()), net.UDPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		c := newClient(s, "udp", &datagrams{conn})
		s.sockets = append(s.sockets, c)
		s.open.Add(1)
		if err := c.serve(); err != nil {
			c.end()
			return err
		}
	}
	if len(s.cfg.TLS) > 0 && s.cfg.Certificate == nil {
		return errors.New("TLS without a certificate")
	}
	for i, at := range append(s.cfg.TCP[:len(s.cfg.TCP):len(s.cfg.TCP)], s.cfg.TLS...) {
		lis, err := net.ListenTCP(network("tcp", at.Addr()), net.TCPAddrFromAddrPort(at))
		if err != nil {
			return err
		}
		s.listeners = append(s.listeners, lis)
		s.acceptors.Add(1)
		go s.accept(lis, i >= len(s.cfg.TCP))
	}
	return nil
}

func network(kind string, a netip.Addr) string {
	if a.Unmap().Is4() {
		return kind + "4"
	}
	return kind + "6"
}

// Addresses are what is listened at, in the order of the configuration.
func (s *Server) Addresses() (udp, tcp, tlsAddrs []netip.AddrPort) {
	for _, c := range s.sockets {
		udp = append(udp, addrPort(c.LocalAddr()))
	}
	for i, l := range s.listeners {
		if a := addrPort(l.Addr()); i < len(s.cfg.TCP) {
			tcp = append(tcp, a)
		} else {
			tlsAddrs = append(tlsAddrs, a)
		}
	}
	return udp, tcp, tlsAddrs
}

// Allocations counts the allocations alive.
func (s *Server) Allocations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.allocs
}

// Connections counts the TCP and TLS connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// Drain refuses allocations, with 508, to users that have none: who is in a call may go on and restart ICE.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// Close ends all allocations and connections and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	streams := make([]*client, 0, len(s.streams))
	for c := range s.streams {
		streams = append(streams, c)
	}
	s.mu.Unlock()
	for _, l := range s.listeners {
		_ = l.Close() // it is gone either way
	}
	for _, c := range append(streams, s.sockets...) {
		_ = c.Close() // its reader ends, and its allocations with it
	}
	s.acceptors.Wait()
	s.open.Wait()
}

// accept takes connections until the listener is closed.
func (s *Server) accept(lis net.Listener, secure bool) {
	defer s.acceptors.Done()
	for {
		conn, err := lis.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no descriptor left, or gone before it was taken
			time.Sleep(acceptPause)
			continue
		}
		if !s.rates.take(s.cfg.Now(), addrPort(conn.RemoteAddr()).Addr()) {
			s.metrics.refuse(refusedRate)
			_ = conn.Close()
			continue
		}
		transport := "tcp"
		if secure {
			transport = "tls"
			conn = tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.cfg.Certificate})
		}
		c := newClient(s, transport, newStream(conn))
		if !s.enter(c) {
			s.metrics.refuse(refusedConnections)
			_ = conn.Close()
			continue
		}
		go s.begin(c, conn)
	}
}

// enter makes room for a connection; false: there is none.
func (s *Server) enter(c *client) bool {
	src := source(c.remote().Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.streams) >= s.cfg.Quota.Connections || s.bySource[src] >= 2*s.cfg.Quota.PerSource {
		return false
	}
	s.streams[c] = struct{}{}
	s.bySource.add(src)
	s.open.Add(1)
	return true
}

// begin shakes hands and gives the connection to pion/turn. It ends when that has begun; the client's end is told by its ReadFrom.
func (s *Server) begin(c *client, conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
		err := t.HandshakeContext(ctx)
		cancel()
		if err != nil {
			s.metrics.refuse(refusedHandshake)
			c.end()
			return
		}
	}
	if err := c.serve(); err != nil {
		s.cfg.Log.Error("TURN client not served", zap.Error(err))
		c.end()
	}
}

// leave forgets a client.
func (s *Server) leave(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.streams[c]; ok {
		delete(s.streams, c)
		s.bySource.drop(source(c.remote().Addr()))
	}
	s.open.Done()
}
