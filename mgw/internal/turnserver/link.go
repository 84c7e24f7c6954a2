package turnserver

import (
	"bufio"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// link is a UDP socket or a TCP or TLS connection. read is called by one goroutine, the others by any.
type link interface {
	// read reads a message and tells from where. Errors end the client.
	read(p []byte) (int, netip.AddrPort, error)
	write(p []byte, to netip.AddrPort) (int, error)
	busy(allocations int) // has so many allocations now
	LocalAddr() net.Addr
	Close() error
}

// datagrams is a UDP socket.
type datagrams struct{ *net.UDPConn }

func (d *datagrams) read(p []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := d.ReadFromUDPAddrPort(p)
		if err == nil || errors.Is(err, net.ErrClosed) {
			return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
		}
	}
}

func (d *datagrams) write(p []byte, to netip.AddrPort) (int, error) {
	return d.WriteToUDPAddrPort(p, to)
}
func (d *datagrams) busy(int) {}

// stream is a connection that is framed (RFC 8656 §3.1).
type stream struct {
	net.Conn
	in   *bufio.Reader // owned by the reader
	peer netip.AddrPort

	mu    sync.Mutex // guards what follows, and the order of deadlines
	since time.Time  // since when it has no allocation; zero while it has one
	frame bool       // a message is half read
}

func newStream(conn net.Conn) *stream {
	s := &stream{Conn: conn, in: bufio.NewReaderSize(conn, 2048), peer: addrPort(conn.RemoteAddr()), since: time.Now()}
	s.deadlineLocked() // nobody else has it yet
	return s
}

func (s *stream) read(p []byte) (int, netip.AddrPort, error) {
	n, err := readFrame(s.in, p, func() { s.halfRead(true) })
	if err == nil {
		s.halfRead(false)
	}
	return n, s.peer, err
}

func (s *stream) halfRead(half bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frame = half
	s.deadlineLocked()
}

func (s *stream) busy(allocations int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if allocations > 0 {
		s.since = time.Time{}
	} else {
		s.since = time.Now()
	}
	s.deadlineLocked()
}

// deadlineLocked is the time until which the client must have sent something; none while it has an allocation, whose lifetime is enough.
func (s *stream) deadlineLocked() {
	var at time.Time
	if !s.since.IsZero() {
		at = s.since.Add(idleTime)
	}
	if half := time.Now().Add(frameTime); s.frame && (at.IsZero() || half.Before(at)) {
		at = half
	}
	_ = s.SetReadDeadline(at) // fails only when closed
}

func (s *stream) write(p []byte, _ netip.AddrPort) (int, error) {
	_ = s.SetWriteDeadline(time.Now().Add(writeTime)) // fails only when closed
	return s.Write(p)
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
