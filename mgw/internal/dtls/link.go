package dtls

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/transport/v5/deadline"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// linkQueue is the number of datagrams that wait for pion; a handshake flight is 1 to 6 of them.
const linkQueue = 32

// Link is the net.PacketConn under one association: datagrams come in by Deliver and go out by the send function, whatever address
// the ICE pair has at the moment. It outlives no association: pion closes it.
type Link struct {
	pool *bufpool.Pool
	send func([]byte) error
	in   chan *bufpool.Buf // cap linkQueue; writer: the worker; full: drop newest, DTLS retransmits
	read *deadline.Deadline

	mu     sync.Mutex // guards closed against Deliver's sends
	closed bool
	done   chan struct{}
}

// NewLink returns a Link. send is called from pion's goroutines and must be safe for that.
func NewLink(pool *bufpool.Pool, send func([]byte) error) *Link {
	return &Link{pool: pool, send: send, in: make(chan *bufpool.Buf, linkQueue), read: deadline.New(), done: make(chan struct{})}
}

// Deliver copies a datagram of the peer into the queue; false when it is full or the link closed. It never blocks for long.
func (l *Link) Deliver(b []byte) bool {
	if len(b) > bufpool.Size {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	buf := l.pool.Copy(b)
	select {
	case l.in <- buf:
		return true
	default:
		buf.Release()
		return false
	}
}

// ReadFrom implements net.PacketConn.
func (l *Link) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case <-l.done:
		return 0, nil, net.ErrClosed
	case <-l.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case b := <-l.in:
		n := copy(p, b.Bytes())
		b.Release()
		return n, l.RemoteAddr(), nil
	case <-l.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	case <-l.done:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn; the address is ignored.
func (l *Link) WriteTo(p []byte, _ net.Addr) (int, error) {
	select {
	case <-l.done:
		return 0, net.ErrClosed
	default:
	}
	// A datagram that cannot be sent now is a lost one: the flight timer repeats it.
	_ = l.send(p)
	return len(p), nil
}

// Close implements net.PacketConn and releases what is queued. Idempotent.
func (l *Link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case b := <-l.in:
			b.Release()
		default:
			return nil
		}
	}
}

// LocalAddr implements net.PacketConn with a constant: the pair may change under the association.
func (l *Link) LocalAddr() net.Addr { return linkAddr }

// RemoteAddr is the constant peer address that pion is given.
func (l *Link) RemoteAddr() net.Addr { return linkAddr }

// SetDeadline implements net.PacketConn; only reads can wait.
func (l *Link) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (l *Link) SetReadDeadline(t time.Time) error {
	l.read.Set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn; writes never wait.
func (l *Link) SetWriteDeadline(time.Time) error { return nil }

var linkAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), 9))
