package dtls

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5/deadline"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// port is the net.PacketConn that one connection of pion's has of a Link. Its end is not that of the Link: an association at rest has none.
type port struct {
	link  *Link
	first atomic.Pointer[bufpool.Buf] // read before what the Link holds
	read  *deadline.Deadline
	muted atomic.Bool // what is written is thrown away

	once sync.Once
	done chan struct{}
}

// newPort takes first, which may be nil.
func newPort(l *Link, first *bufpool.Buf) *port {
	p := &port{link: l, read: deadline.New(), done: make(chan struct{})}
	p.first.Store(first)
	return p
}

// ReadFrom implements net.PacketConn.
func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-p.done:
		return 0, nil, net.ErrClosed
	case <-p.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	in := p.first.Swap(nil)
	if in == nil {
		select {
		case in = <-p.link.in:
		case <-p.read.Done():
			return 0, nil, os.ErrDeadlineExceeded
		case <-p.done:
			return 0, nil, net.ErrClosed
		case <-p.link.done:
			return 0, nil, net.ErrClosed
		}
	}
	n := copy(b, in.Bytes())
	in.Release()
	return n, p.RemoteAddr(), nil
}

// WriteTo implements net.PacketConn; the address is ignored.
func (p *port) WriteTo(b []byte, to net.Addr) (int, error) {
	if p.muted.Load() {
		return len(b), nil
	}
	select {
	case <-p.done:
		return 0, net.ErrClosed
	default:
	}
	return p.link.WriteTo(b, to)
}

// Close implements net.PacketConn. Idempotent.
func (p *port) Close() error {
	p.once.Do(func() {
		close(p.done)
		if b := p.first.Swap(nil); b != nil {
			b.Release()
		}
	})
	return nil
}

// closed reports whether Close was called; pion does it when the peer has ended the association.
func (p *port) closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// LocalAddr implements net.PacketConn.
func (p *port) LocalAddr() net.Addr { return linkAddr }

// RemoteAddr is the constant peer address that pion is given.
func (p *port) RemoteAddr() net.Addr { return linkAddr }

// SetDeadline implements net.PacketConn; only reads can wait.
func (p *port) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *port) SetReadDeadline(t time.Time) error {
	p.read.Set(t)
	return nil
}

// SetWriteDeadline implements net.PacketConn; writes never wait.
func (p *port) SetWriteDeadline(time.Time) error { return nil }
