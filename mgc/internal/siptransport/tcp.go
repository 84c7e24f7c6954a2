package siptransport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// TCPConfig holds the bounds of TCP connections; a zero field takes its default.
type TCPConfig struct {
	MaxConns     int           // inbound and outbound together, default 1024
	Queue        int           // messages waiting to be written per connection, default 256
	DialTimeout  time.Duration // default 4 s
	WriteTimeout time.Duration // one message, default 10 s
	// MessageTimeout is how long a message that has begun may take to arrive, default 10 s.
	MessageTimeout time.Duration
	// FirstTimeout is how long a new inbound connection may stay without a message that was admitted, default 10 s.
	FirstTimeout time.Duration
	IdleTimeout  time.Duration // without any byte received, default 30 min
	// MaxBad closes a connection after that many malformed messages, default 20.
	MaxBad int
	// KeepAlive is for connections that we opened.
	KeepAlive KeepAlive
}

func (c TCPConfig) withDefaults() TCPConfig {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.DialTimeout, 4*time.Second)
	def(&c.WriteTimeout, 10*time.Second)
	def(&c.MessageTimeout, 10*time.Second)
	def(&c.FirstTimeout, 10*time.Second)
	def(&c.IdleTimeout, 30*time.Minute)
	if c.MaxConns == 0 {
		c.MaxConns = 1024
	}
	if c.Queue == 0 {
		c.Queue = 256
	}
	if c.MaxBad == 0 {
		c.MaxBad = 20
	}
	c.KeepAlive = c.KeepAlive.withDefaults()
	return c
}

// peerKey tells connections apart: over TLS one that was checked for another name is another one (RFC 5923 §4).
type peerKey struct {
	addr netip.AddrPort
	name string // "" for TCP and for every accepted connection
}

// TCP owns one listening socket, of TCP or TLS, and every connection accepted on it or dialled for it.
type TCP struct {
	cfg    TCPConfig
	kind   string    // "TCP" or "TLS"
	sec    *Security // nil for TCP
	ln     *net.TCPListener
	local  netip.AddrPort
	sentBy string
	edge   Edge
	flows  *Flows
	in     *Ingress
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	conns  map[*tcpConn]struct{}
	byPeer map[peerKey]*tcpConn // the newest to each
	closed bool
}

// ListenTCP opens a listener. Connections are entered in flows. Nothing is accepted before Serve.
func ListenTCP(cfg TCPConfig, s Socket, flows *Flows) (*TCP, error) {
	return listenStream("TCP", cfg, s, flows, nil)
}

// ListenTLS is ListenTCP with a TLS handshake on each connection.
func ListenTLS(cfg TCPConfig, s Socket, flows *Flows, sec Security) (*TCP, error) {
	return listenStream("TLS", cfg, s, flows, &sec)
}

func listenStream(kind string, cfg TCPConfig, s Socket, flows *Flows, sec *Security) (*TCP, error) {
	ln, err := net.ListenTCP(s.network("tcp"), net.TCPAddrFromAddrPort(s.Addr))
	if err != nil {
		return nil, fmt.Errorf("siptransport: listen %s %s: %w", strings.ToLower(kind), s.Addr, err)
	}
	t := &TCP{
		cfg: cfg.withDefaults(), kind: kind, sec: sec, ln: ln, local: unmap(ln.Addr().(*net.TCPAddr).AddrPort()), sentBy: s.SentBy,
		edge: s.Edge, flows: flows, conns: make(map[*tcpConn]struct{}), byPeer: make(map[peerKey]*tcpConn),
	}
	if t.sentBy == "" {
		t.sentBy = t.local.String()
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t, nil
}

// Serve starts accepting. Call it once, before LinkTo.
func (t *TCP) Serve(in *Ingress) {
	t.in = in
	t.done.Add(1)
	go t.accept()
}

// Close shuts the listener and all connections and waits for their goroutines.
func (t *TCP) Close() error {
	err := t.ln.Close()
	t.mu.Lock()
	t.closed = true
	var closing sync.WaitGroup // a TLS peer that does not read delays its farewell
	for c := range t.conns {
		closing.Go(func() { c.close(ErrClosed) })
	}
	t.mu.Unlock()
	t.cancel()
	closing.Wait()
	t.done.Wait()
	return err
}

// Local returns the address of the listener.
func (t *TCP) Local() netip.AddrPort { return t.local }

func (t *TCP) accept() {
	defer t.done.Done()
	for {
		conn, err := t.ln.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: wait for some to be freed
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		remote := unmap(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
		c := t.newConn(peerKey{addr: remote}, true)
		if !t.enter(c) {
			t.in.Metrics.Refused(t.kind, reasonLimit)
			_ = conn.Close()
			continue
		}
		go c.run(conn)
	}
}

// enter takes a connection into the tables unless the transport is shut or full; the caller then starts its run.
func (t *TCP) enter(c *tcpConn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enterLocked(c)
}

// enterLocked is enter for callers that hold mu.
func (t *TCP) enterLocked(c *tcpConn) bool {
	if t.closed || len(t.conns) >= t.cfg.MaxConns {
		return false
	}
	t.conns[c], t.byPeer[c.key] = struct{}{}, c
	t.flows.Add(c)
	t.in.Metrics.Opened(t.kind)
	t.done.Add(1)
	return true
}

func (t *TCP) leave(c *tcpConn) {
	t.mu.Lock()
	delete(t.conns, c)
	if t.byPeer[c.key] == c {
		delete(t.byPeer, c.key)
	}
	t.mu.Unlock()
	t.flows.Remove(c.flow.ID)
	t.in.Metrics.Closed(t.kind)
}

// LinkTo returns the connection to a peer: the open one whichever side opened it, else a new one that is dialled behind
// the link while messages wait in its queue. A failed dial is told by Sink.OnClosed. Over TLS the peer's certificate must name
// name, and only a connection that was opened for it is used again; for TCP name must be "".
func (t *TCP) LinkTo(remote netip.AddrPort, name string) (Link, error) {
	key := peerKey{unmap(remote), name}
	t.mu.Lock() // also while a connection is made, so that all who want one get the same
	defer t.mu.Unlock()
	c := t.byPeer[key]
	if c != nil && !c.isClosed() {
		return c, nil
	}
	c = t.newConn(key, false)
	if !t.enterLocked(c) {
		return nil, fmt.Errorf("siptransport: %s to %s: %w", strings.ToLower(t.kind), remote, ErrQueueFull)
	}
	go c.run(nil)
	return c, nil
}

// SentBy returns host[:port] that the listener advertises.
func (t *TCP) SentBy() string { return t.sentBy }
