package dtls

import (
	"encoding/binary"
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
	over  atomic.Bool // the handshake is: see authentic

	ready chan struct{} // closed when reading may begin

	once sync.Once
	done chan struct{}
}

// newPort takes first, which may be nil.
func newPort(l *Link, first *bufpool.Buf) *port {
	p := &port{link: l, read: deadline.New(), done: make(chan struct{}), ready: make(chan struct{})}
	p.first.Store(first)
	return p
}

// ReadFrom implements net.PacketConn.
func (p *port) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-p.done:
	case <-p.read.Done():
	case <-p.ready:
	}
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
	if p.over.Load() {
		n = authentic(b[:n])
	}
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

// authentic drops from a datagram, in place, the records of epoch 0 that nobody needs after the handshake: anybody can write them, and pion answers
// data and malformed ones by a fatal alert. Repeated flights stay (RFC 6347 §4.2.4). It returns the length of what is left.
func authentic(b []byte) (n int) {
	for at := 0; len(b)-at >= recordHeader; {
		end := at + recordHeader + int(binary.BigEndian.Uint16(b[at+11:]))
		if end > len(b) {
			break
		}
		r := b[at:end]
		if binary.BigEndian.Uint16(r[3:]) != 0 || r[0] == 22 || r[0] == 20 && len(r) == recordHeader+1 && r[recordHeader] == 1 {
			n += copy(b[n:], r)
		}
		at = end
	}
	return n
}
