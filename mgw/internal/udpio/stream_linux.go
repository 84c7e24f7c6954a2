//go:build linux && !portable

package udpio

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// streamRead is the room for what is read from a stream and not cut yet, bytes: one longest frame and more.
	streamRead = 4096
	// streamSend is asked of the kernel for what the peer has not acknowledged: with its own cost per segment, twice this is about half a
	// second of audio, so that no round trip is too long. What does not fit is dropped, since late media is worse than none.
	streamSend = 16 << 10
)

// Stream is a TCP connection that carries packets in frames of RFC 4571. It is read and written by one worker and never blocks it.
type Stream struct {
	Socket // for the Poller; its UDP methods are not for use
	Remote netip.AddrPort
	// Stamp is when the kernel took the newest of what the last Fill has read, ns of the wall clock; 0: not told. See StampArrivals.
	Stamp int64

	in   frames
	out  outbox
	hdr  unix.Msghdr
	iov  unix.Iovec
	ctrl stampRoom
}

// NewStream takes the connection over; c is closed whatever happens. The caller closes the Stream. Errors: the kernel's.
func NewStream(c *net.TCPConn) (*Stream, error) {
	defer func() { _ = c.Close() }()
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("udpio: stream: %w", err)
	}
	fd := -1
	var dup error
	if err := raw.Control(func(f uintptr) { fd, dup = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || dup != nil {
		return nil, fmt.Errorf("udpio: stream: %w", errors.Join(err, dup))
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, streamSend)
	s := &Stream{in: frames{buf: make([]byte, streamRead)}}
	s.fd = fd
	s.local = c.LocalAddr().(*net.TCPAddr).AddrPort()
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	s.Remote = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	return s, nil
}

// Fill reads once what waits. False: the stream has ended, or failed.
func (s *Stream) Fill() (open bool) {
	n, e := s.receive(s.in.space())
	switch {
	case e == unix.EAGAIN || e == unix.EINTR:
		return true
	case e != 0 || n == 0:
		return false
	}
	s.in.filled(int(n))
	return true
}

func (s *Stream) receive(b []byte) (n uintptr, e unix.Errno) {
	s.Stamp = 0
	if !s.stamps {
		n, _, e = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		return n, e
	}
	s.iov.Base = &b[0]
	s.iov.SetLen(len(b))
	s.hdr.Iov = &s.iov
	s.hdr.SetIovlen(1)
	s.hdr.Control = (*byte)(unsafe.Pointer(&s.ctrl))
	s.hdr.SetControllen(int(unsafe.Sizeof(s.ctrl)))
	n, _, e = unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.hdr)), unix.MSG_DONTWAIT)
	if e == 0 {
		s.Stamp = s.ctrl.stamp(uint64(s.hdr.Controllen))
	}
	return n, e
}

// Next is the next whole packet of what Fill has read; it is valid until the next Fill. nil: none. Errors: ErrFrame.
func (s *Stream) Next(longest int) ([]byte, error) {
	return s.in.next(min(longest, streamRead-FrameHeader))
}

// Send sends one packet, or drops it when the peer does not take what it was sent before. False: dropped.
func (s *Stream) Send(p []byte) bool { return !s.closed.Load() && s.out.send(p, s) }

// write gives b to the kernel; n: how much it took. ok is false when the stream is broken, which reading will tell.
func (s *Stream) write(b []byte) (n int, ok bool) {
	got, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if e != 0 {
		return 0, e == unix.EAGAIN || e == unix.EINTR
	}
	return int(got), true
}
