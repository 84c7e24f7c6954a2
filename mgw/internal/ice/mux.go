// Package ice answers connectivity checks for many terminations on one UDP port: pion's ICE-lite agents behind an own mux. Floor 1.
// Owner: the worker delivers datagrams and never waits; each Agent belongs to its termination and runs pion's goroutines until Close.
// RFC 8445 §2.5, §7.3, §9; RFC 7983.
//
// What may be learnt from whom: a check reaches an agent by the username fragment alone, which anybody can write. Only the success
// response that the agent sends proves that the check was authenticated (RFC 8445 §7.3.1.3), so addresses are learnt there and
// nowhere else.
package ice

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5/deadline"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

const (
	// queue is the number of checks that wait for one agent. A browser sends one per pair and 50 ms while it connects.
	queue = 32
	// maxPaths bounds the authenticated source addresses of one agent, since pion keeps a candidate for each for ever.
	maxPaths = 32
	// MaxCheck is the longest STUN message that is taken, bytes: RFC 8489 §6.1 allows no more without path MTU knowledge.
	MaxCheck = 1280
)

// Verdict says what became of a datagram given to Mux.Deliver.
type Verdict uint8

// Verdicts.
const (
	Delivered  Verdict = iota
	NotForUs           // not a binding request, or without a username
	NoSuchUser         // nobody has that username fragment
	Full               // the agent is behind, or has too many paths
)

// Mux is one UDP port shared by the agents of a worker. It implements pion's ice.UDPMux; only Deliver is for the worker.
type Mux struct {
	local net.UDPAddr
	send  func([]byte, netip.AddrPort) error
	pool  *bufpool.Pool

	taken, answered atomic.Uint64

	mu    sync.RWMutex // guards conns; taken per STUN message, never per media packet
	conns map[string]*conn
}

// NewMux returns a Mux. advertise: the address for candidates. send: sends one datagram, from any goroutine.
func NewMux(advertise netip.AddrPort, send func([]byte, netip.AddrPort) error, pool *bufpool.Pool) *Mux {
	return &Mux{local: *net.UDPAddrFromAddrPort(advertise), send: send, pool: pool, conns: make(map[string]*conn)}
}

// Deliver gives a STUN message to the agent it names. b is copied. It does not wait.
func (m *Mux) Deliver(b []byte, src netip.AddrPort) Verdict {
	if len(b) > MaxCheck || len(b) < stunHeader || binary.BigEndian.Uint16(b) != bindingRequest {
		return NotForUs
	}
	user, ok := LocalUfrag(b)
	if !ok {
		return NotForUs
	}
	m.mu.RLock()
	c := m.conns[string(user)]
	m.mu.RUnlock()
	if c == nil {
		return NoSuchUser
	}
	if !c.deliver(b, src) {
		return Full
	}
	m.taken.Add(1)
	return Delivered
}

// Serves reports whether b is a connectivity check for one of the agents.
func (m *Mux) Serves(b []byte) bool {
	if len(b) > MaxCheck || len(b) < stunHeader || binary.BigEndian.Uint16(b) != bindingRequest {
		return false
	}
	user, ok := LocalUfrag(b)
	if !ok {
		return false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.conns[string(user)] != nil
}

// Checks counts the connectivity checks that were delivered and those that were answered, which only authenticated ones are:
// the difference is forgeries, and checks that nobody has looked at yet.
func (m *Mux) Checks() (taken, answered uint64) { return m.taken.Load(), m.answered.Load() }

// Advertise is the address of the candidate.
func (m *Mux) Advertise() netip.AddrPort { return m.local.AddrPort() }

// Agents is the number of username fragments in use.
func (m *Mux) Agents() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.conns)
}

// add registers a conn before its agent gathers. false: the fragment is taken.
func (m *Mux) add(ufrag string, c *conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conns[ufrag] != nil {
		return false
	}
	m.conns[ufrag] = c
	return true
}

func (m *Mux) remove(ufrag string, c *conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conns[ufrag] == c {
		delete(m.conns, ufrag)
	}
}

// GetConn implements ice.UDPMux.
func (m *Mux) GetConn(ufrag string, _ net.Addr) (net.PacketConn, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if c := m.conns[ufrag]; c != nil {
		return c, nil
	}
	return nil, errors.New("ice: unknown username fragment")
}

// RemoveConnByUfrag implements ice.UDPMux; the Agent closes its own conn.
func (m *Mux) RemoveConnByUfrag(string) {}

// GetListenAddresses implements ice.UDPMux: pion makes one host candidate of it.
func (m *Mux) GetListenAddresses() []net.Addr {
	a := m.local
	return []net.Addr{&a}
}

// Close implements ice.UDPMux; conns are closed by their agents.
func (m *Mux) Close() error { return nil }

type check struct {
	buf *bufpool.Buf
	src netip.AddrPort
}

// conn is the net.PacketConn of one agent.
type conn struct {
	mux   *Mux
	ufrag string
	in    chan check // cap queue; writer: the worker; full: drop newest, checks are retransmitted
	read  *deadline.Deadline
	done  chan struct{}

	answered func(netip.AddrPort) // after authentication, before the response leaves

	mu     sync.Mutex // guards closed, paths and family
	closed bool
	paths  map[netip.AddrPort]struct{}
	family family
}

func newConn(m *Mux, ufrag string, answered func(netip.AddrPort)) *conn {
	return &conn{
		mux: m, ufrag: ufrag, in: make(chan check, queue), read: deadline.New(), done: make(chan struct{}),
		answered: answered, paths: make(map[netip.AddrPort]struct{}),
	}
}

func (c *conn) deliver(b []byte, src netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if len(c.paths) >= maxPaths {
		if _, known := c.paths[src]; !known {
			return false
		}
	}
	k := check{c.mux.pool.Copy(b), src}
	select {
	case c.in <- k:
		return true
	default:
		k.buf.Release()
		return false
	}
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (c *conn) ReadFromAddrPort(p []byte) (int, netip.AddrPort, error) {
	select {
	case <-c.done:
		return 0, netip.AddrPort{}, io.EOF
	default:
	}
	select {
	case k := <-c.in:
		n := copy(p, k.buf.Bytes())
		k.buf.Release()
		return n, c.shown(k.src), nil
	case <-c.read.Done():
		return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
	case <-c.done:
		return 0, netip.AddrPort{}, io.EOF
	}
}

// WriteToAddrPort implements ice.AddrPortReaderWriter.
func (c *conn) WriteToAddrPort(p []byte, to netip.AddrPort) (int, error) {
	select {
	case <-c.done:
		return 0, io.ErrClosedPipe
	default:
	}
	to = c.real(to)
	if len(p) >= stunHeader && binary.BigEndian.Uint16(p) == bindingSuccess {
		c.mux.answered.Add(1)
		c.mu.Lock()
		c.paths[to] = struct{}{}
		c.mu.Unlock()
		c.answered(to)
	}
	_ = c.mux.send(p, to) // a response that is lost is asked for again
	return len(p), nil
}

// ReadFrom implements net.PacketConn.
func (c *conn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, src, err := c.ReadFromAddrPort(p)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(src), nil
}

// WriteTo implements net.PacketConn.
func (c *conn) WriteTo(p []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errors.New("ice: not a UDP address")
	}
	a := u.AddrPort()
	return c.WriteToAddrPort(p, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
}

// Close implements net.PacketConn. Idempotent.
func (c *conn) Close() error {
	c.mux.remove(c.ufrag, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	close(c.done)
	c.read.Set(time.Time{})
	for {
		select {
		case k := <-c.in:
			k.buf.Release()
		default:
			return nil
		}
	}
}

// LocalAddr implements net.PacketConn.
func (c *conn) LocalAddr() net.Addr { return c.mux.GetListenAddresses()[0] }

// SetDeadline implements net.PacketConn; only reads can wait.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.read.Set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn; writes never wait.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
