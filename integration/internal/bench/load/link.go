package load

import (
	"net"
	"os"
	"sync"
	"time"

	"github.com/pion/transport/v5/deadline"
)

// link is the net.PacketConn under one DTLS association: records come in by deliver and leave by the call's socket.
type link struct {
	s    *socket
	in   chan []byte // cap 32; writer: who reads the socket; full: dropped, DTLS repeats
	read *deadline.Deadline
	once sync.Once
	done chan struct{}
}

func newLink(s *socket) *link {
	return &link{s: s, in: make(chan []byte, 32), read: deadline.New(), done: make(chan struct{})}
}

func (l *link) deliver(b []byte) {
	select {
	case l.in <- append([]byte(nil), b...):
	default:
	}
}

func (l *link) addr() net.Addr { return net.UDPAddrFromAddrPort(l.s.local) }

// ReadFrom implements net.PacketConn.
func (l *link) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case b := <-l.in:
		return copy(p, b), l.addr(), nil
	case <-l.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	case <-l.done:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn; the address is ignored.
func (l *link) WriteTo(p []byte, _ net.Addr) (int, error) {
	select {
	case <-l.done:
		return 0, net.ErrClosed
	default:
	}
	l.s.send(p) // not taken is lost
	return len(p), nil
}

// Close implements net.PacketConn.
func (l *link) Close() error { l.once.Do(func() { close(l.done) }); return nil }

// LocalAddr implements net.PacketConn.
func (l *link) LocalAddr() net.Addr { return l.addr() }

// SetDeadline implements net.PacketConn; writes never wait.
func (l *link) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (l *link) SetReadDeadline(t time.Time) error { l.read.Set(t); return nil }

// SetWriteDeadline implements net.PacketConn.
func (l *link) SetWriteDeadline(time.Time) error { return nil }
