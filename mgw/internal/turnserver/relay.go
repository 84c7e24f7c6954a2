package turnserver

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

// ErrRefused is what pion/turn gets of an allocation that is not made; the client gets the code of RFC 8656.
var ErrRefused = errors.New("turnserver: refused")

// relay is the socket of an allocation, at its relayed address.
type relay struct {
	conn   *net.UDPConn
	client *client
	from   netip.AddrPort // of the client
	user   string
	age    *time.Timer
	once   sync.Once

	up   police // owned by the client's reading goroutine
	down police // owned by the allocation's goroutine
}

// Validate implements turn.RelayAddressGenerator.
func (c *client) Validate() error { return nil }

// AllocatePacketConn makes a relayed address within the quotas (RFC 8656 §7.2). With EVEN-PORT pion/turn first looks for an even port, in the
// name of nobody, and then asks for it.
func (c *client) AllocatePacketConn(conf turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	switch {
	case conf.UserID == "":
		conn, err := c.server.port(0)
		if err != nil {
			return nil, nil, c.noPort()
		}
		return conn, conn.LocalAddr(), nil // closed at once
	case !c.familyFits(conf.Network):
		c.refuse(refusedFamily, stun.CodeAddrFamilyNotSupported)
		return nil, nil, ErrRefused
	}
	now := c.server.cfg.Now()
	r := &relay{client: c, from: c.req.from, user: conf.UserID,
		up: newPolice(c.server.cfg.Quota.Bandwidth, now), down: newPolice(c.server.cfg.Quota.Bandwidth, now)}
	if reason, code := c.server.take(r); reason != "" {
		c.refuse(reason, code)
		return nil, nil, ErrRefused
	}
	var err error
	if r.conn, err = c.server.port(conf.RequestedPort); err != nil {
		c.server.give(r)
		return nil, nil, c.noPort()
	}
	c.mu.Lock()
	c.allocs[r.from] = r
	c.link.busy(len(c.allocs))
	c.mu.Unlock()
	r.age = time.AfterFunc(c.server.cfg.MaxAge, func() { _ = r.conn.Close() }) // pion/turn then closes r
	c.server.metrics.allocations.WithLabelValues(c.transport).Inc()
	return r, c.udpAddr(addrPort(r.conn.LocalAddr()).Port()), nil
}

func (c *client) noPort() error {
	c.refuse(refusedPorts, stun.CodeInsufficientCapacity)
	return ErrRefused
}

// AllocateListener refuses relayed TCP (RFC 6062).
func (c *client) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	c.refuse(refusedTransport, stun.CodeUnsupportedTransProto)
	return nil, nil, ErrRefused
}

// AllocateConn refuses TCP to a peer.
func (c *client) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, ErrRefused }

// take counts an allocation, or tells why there may be no more of them.
func (s *Server) take(r *relay) (reason string, code stun.ErrorCode) {
	src := source(r.from.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed, s.allocs >= s.cfg.Quota.Total, s.draining && s.users[r.user] == 0:
		return refusedTotalQuota, stun.CodeInsufficientCapacity
	case s.users[r.user] >= s.cfg.Quota.PerUser:
		return refusedUserQuota, stun.CodeAllocQuotaReached
	case s.sources[src] >= s.cfg.Quota.PerSource:
		return refusedSourceQuota, stun.CodeAllocQuotaReached
	}
	s.allocs++
	s.users.add(r.user)
	s.sources.add(src)
	s.open.Add(1)
	return "", 0
}

// give takes an allocation out of the count.
func (s *Server) give(r *relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allocs--
	s.users.drop(r.user)
	s.sources.drop(source(r.from.Addr()))
	s.open.Done()
}

// port opens a port of the range: the wanted one, or (0) the first free from a random one on, so that it cannot be guessed (RFC 8656 §7.2).
func (s *Server) port(want int) (*net.UDPConn, error) {
	r := s.cfg.Relay
	n := int(r.PortMax) - int(r.PortMin) + 1
	all, first := n, rand.IntN(n)
	if want != 0 {
		if want < int(r.PortMin) || want > int(r.PortMax) {
			return nil, ErrRefused
		}
		first, n = want-int(r.PortMin), 1
	}
	var err error
	for i := range n {
		var conn *net.UDPConn
		at := netip.AddrPortFrom(r.Listen, r.PortMin+uint16((first+i)%all))
		if conn, err = net.ListenUDP(network("udp", r.Listen), net.UDPAddrFromAddrPort(at)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// ReadFrom returns the next packet of a peer that is allowed; whether the client has given it a permission is pion/turn's to see.
func (r *relay) ReadFrom(p []byte) (int, net.Addr, error) {
	s := r.client.server
	for {
		n, src, err := r.conn.ReadFromUDPAddrPort(p)
		if err != nil {
			return 0, nil, err
		}
		peer, ok := s.cfg.Peers.inward(src, s.cfg.Relay.Listen)
		switch {
		case !ok:
			s.metrics.refuse(droppedPeer)
		case !r.down.take(s.cfg.Now(), n):
			s.metrics.refuse(droppedBandwidth)
		default:
			s.metrics.octets["to_client"].Add(float64(n))
			return n, net.UDPAddrFromAddrPort(peer), nil
		}
	}
}

// WriteTo sends a packet of the client to a peer. A permission is for an address, so that the port is looked at here. What is not allowed, or
// too much, is dropped without an error, as a network drops it.
func (r *relay) WriteTo(p []byte, to net.Addr) (int, error) {
	s := r.client.server
	dst, ok := s.cfg.Peers.outward(addrPort(to), s.cfg.Relay.Listen)
	switch {
	case !ok:
		s.metrics.refuse(droppedPeer)
	case !r.up.take(s.cfg.Now(), len(p)):
		s.metrics.refuse(droppedBandwidth)
	default:
		s.metrics.octets["to_peer"].Add(float64(len(p)))
		_, _ = r.conn.WriteToUDPAddrPort(p, dst) // a full queue or an absent peer is loss
	}
	return len(p), nil
}

// Close ends the allocation's socket and gives back what it took.
func (r *relay) Close() error {
	r.once.Do(func() {
		r.age.Stop()
		_ = r.conn.Close() // it is gone either way
		c := r.client
		c.mu.Lock()
		if c.allocs[r.from] == r {
			delete(c.allocs, r.from)
		}
		c.link.busy(len(c.allocs))
		c.mu.Unlock()
		c.server.give(r)
	})
	return nil
}

// LocalAddr implements net.PacketConn.
func (r *relay) LocalAddr() net.Addr { return r.conn.LocalAddr() }

// Deadlines are not used.
func (r *relay) SetDeadline(time.Time) error      { return nil }
func (r *relay) SetReadDeadline(time.Time) error  { return nil }
func (r *relay) SetWriteDeadline(time.Time) error { return nil }
