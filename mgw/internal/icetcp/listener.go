// Package icetcp takes TCP connections of browsers for ICE (RFC 6544, passive candidates) and finds out by the first framed STUN message
// whom they are for (RFC 4571). Floor 1.
// Owner: one goroutine accepts, one per connection reads the first frame; both end with Close. After that frame the connection is the
// taker's, who still has to see it authenticated: whoever holds a place as unknown holds it until then.
package icetcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds on connections that have not been authenticated by a connectivity check.
const (
	// Patience is the longest time until the first frame, and again until it has been authenticated.
	Patience = 5 * time.Second
	// MaxUnknown is the most unauthenticated connections at once, MaxUnknownPerAddress those of one address.
	MaxUnknown           = 256
	MaxUnknownPerAddress = 16
	// MaxPerAddress is the most connections of one address at all: many users behind one NAT.
	MaxPerAddress = 1024
)

// Place is one connection among those that are counted. Safe for concurrent use.
type Place struct {
	l     *Listener
	addr  netip.Addr
	known sync.Once
	ended sync.Once
}

// Known says that the connection has been authenticated. Idempotent.
func (p *Place) Known() { p.known.Do(func() { p.l.count(p.addr, -1, 0) }) }

// End says that the connection is closed. Idempotent.
func (p *Place) End() {
	p.Known()
	p.ended.Do(func() { p.l.count(p.addr, 0, -1) })
}

// Take takes a connection whose first frame is first, which it must not keep; false: nobody wants it. It must not block. The taker ends
// the place when it has closed the connection.
type Take func(c *net.TCPConn, first []byte, p *Place) bool

// Listener accepts until Close.
type Listener struct {
	ln      *net.TCPListener
	longest int
	take    Take
	wg      sync.WaitGroup

	// Refused counts connections that were closed before anybody took them: too many, silent, no STUN, unknown.
	Refused atomic.Uint64

	mu      sync.Mutex // guards what follows
	unknown int
	addrs   map[netip.Addr]*counts
	open    map[*net.TCPConn]struct{} // whose first frame has not come
	closed  bool
}

type counts struct{ unknown, all int }

// Listen opens the port. longest: the most bytes of a first frame. Errors name the address and the cause.
func Listen(local netip.AddrPort, longest int, take Take) (*Listener, error) {
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
	if err != nil {
		return nil, fmt.Errorf("icetcp: %w", err)
	}
	l := &Listener{ln: ln, longest: longest, take: take, addrs: map[netip.Addr]*counts{}, open: map[*net.TCPConn]struct{}{}}
	l.wg.Go(l.run)
	return l, nil
}

// Addr is the local address with the port that the kernel chose.
func (l *Listener) Addr() netip.AddrPort { return l.ln.Addr().(*net.TCPAddr).AddrPort() }

// Close stops accepting, closes what is still unknown here, and waits. Idempotent.
func (l *Listener) Close() {
	l.mu.Lock()
	l.closed = true
	for c := range l.open {
		_ = c.Close()
	}
	l.mu.Unlock()
	_ = l.ln.Close()
	l.wg.Wait()
}

func (l *Listener) run() {
	for {
		c, err := l.ln.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // too few descriptors, most likely: others will end
			time.Sleep(10 * time.Millisecond)
			continue
		}
		p := l.admit(c)
		if p == nil {
			l.Refused.Add(1)
			_ = c.Close()
			continue
		}
		l.wg.Go(func() { l.serve(c, p) })
	}
}

// admit gives a connection its place; nil: there is none.
func (l *Listener) admit(c *net.TCPConn) *Place {
	addr := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.addrs[addr]
	if l.closed || l.unknown >= MaxUnknown || n != nil && (n.unknown >= MaxUnknownPerAddress || n.all >= MaxPerAddress) {
		return nil
	}
	if n == nil {
		n = &counts{}
		l.addrs[addr] = n
	}
	l.unknown++
	n.unknown++
	n.all++
	l.open[c] = struct{}{}
	return &Place{l: l, addr: addr}
}

func (l *Listener) count(addr netip.Addr, unknown, all int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unknown += unknown
	n := l.addrs[addr]
	n.unknown += unknown
	if n.all += all; n.all == 0 {
		delete(l.addrs, addr)
	}
}

// Counts is the number of unauthenticated connections and of addresses with any.
func (l *Listener) Counts() (unknown, addrs int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unknown, len(l.addrs)
}

// serve reads the first frame and hands the connection on.
func (l *Listener) serve(c *net.TCPConn, p *Place) {
	first, err := readFrame(c, l.longest)
	l.mu.Lock()
	delete(l.open, c)
	closed := l.closed
	l.mu.Unlock()
	if err == nil && !closed && c.SetReadDeadline(time.Time{}) == nil && l.take(c, first, p) {
		return
	}
	l.Refused.Add(1)
	_ = c.Close()
	p.End()
}

// readFrame reads one frame and nothing beyond it.
func readFrame(c net.Conn, longest int) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return nil, err
	}
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n == 0 || n > longest {
		return nil, fmt.Errorf("icetcp: first frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	return b, err
}
