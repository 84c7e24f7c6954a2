//go:build linux && !portable

package udpio

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is one non-blocking UDP socket.
type Socket struct {
	fd int
	// Owned by the worker: the queue of a Writer.
	first, last int32 // 1-based indices into Writer.msgs; 0: none
	stamps      bool  // the kernel tells when datagrams came; the worker's, too

	v6    bool
	local netip.AddrPort

	closeOnce sync.Once
	closed    atomic.Bool
}

// Open binds a socket; port 0 lets the kernel choose. Errors name the address and the cause.
func Open(local netip.AddrPort, o Options) (*Socket, error) {
	addr := local.Addr().Unmap()
	local = netip.AddrPortFrom(addr, local.Port())
	s := &Socket{v6: addr.Is6()}
	family := unix.AF_INET
	if s.v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("udpio: socket for %s: %w", local, err)
	}
	s.fd = fd
	if err := s.setup(local, o); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("udpio: open %s: %w", local, err)
	}
	return s, nil
}

func (s *Socket) setup(local netip.AddrPort, o Options) error {
	// The buffer sizes are wishes: the kernel caps them and that is no error.
	if o.ReceiveBuffer > 0 {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReceiveBuffer)
	}
	if o.SendBuffer > 0 {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, o.SendBuffer)
	}
	if o.TOS != 0 {
		if err := s.SetTOS(o.TOS); err != nil {
			return err
		}
	}
	var sa unix.Sockaddr
	if s.v6 {
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
		sa = &unix.SockaddrInet6{Port: int(local.Port()), Addr: local.Addr().As16()}
	} else {
		sa = &unix.SockaddrInet4{Port: int(local.Port()), Addr: local.Addr().As4()}
	}
	if err := unix.Bind(s.fd, sa); err != nil {
		return err
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return err
	}
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrPortFrom(local.Addr(), uint16(b.Port))
	case *unix.SockaddrInet6:
		s.local = netip.AddrPortFrom(local.Addr(), uint16(b.Port))
	}
	return nil
}

// Local is the bound address with the port that the kernel chose.
func (s *Socket) Local() netip.AddrPort { return s.local }

// SetTOS sets the TOS or traffic class byte of everything that the socket sends from now on.
func (s *Socket) SetTOS(tos int) error {
	if s.v6 {
		return unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos)
	}
	return unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TOS, tos)
}

// StampArrivals lets reading, Fill of a Stream too, tell when the kernel took what is read, or stops it. It costs 0.1 us for each datagram of
// a batch, 0.3 us for one alone. It is a wish: where the kernel cannot (before Linux 5.1), and for datagrams that came before, stamps are missing or those of
// the reading. By the worker only.
func (s *Socket) StampArrivals(on bool) {
	v := 0
	if on {
		v = 1
	}
	s.stamps = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, v) == nil && on
}

// SendTo sends one datagram at once, from any goroutine; for control packets. Errors: ErrClosed, or the kernel's.
func (s *Socket) SendTo(b []byte, to netip.AddrPort) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if len(b) == 0 {
		return nil
	}
	a := s.Addr(to)
	_, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&a.raw)), uintptr(a.n))
	if e != 0 {
		return e
	}
	return nil
}

// Close closes the socket. The caller has removed it from its Poller and no Writer holds datagrams of it. Idempotent.
func (s *Socket) Close() error {
	var err error
	s.closeOnce.Do(func() {
		s.closed.Store(true)
		err = unix.Close(s.fd)
	})
	return err
}

// Addr is a destination in the kernel's form, made once per destination and not per packet. It belongs to the family of one socket.
type Addr struct {
	raw unix.RawSockaddrInet6 // large enough for IPv4, which is laid over it
	n   uint32                // bytes; 0: no destination
}

// IsZero reports that a holds no destination.
func (a *Addr) IsZero() bool { return a.n == 0 }

// Addr makes the destination ap for sending on s. A destination of the other family gives a zero Addr.
func (s *Socket) Addr(ap netip.AddrPort) Addr {
	var a Addr
	addr := ap.Addr().Unmap()
	if !ap.IsValid() || addr.Is6() != s.v6 {
		return a
	}
	port := ap.Port()<<8 | ap.Port()>>8
	if s.v6 {
		a.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: addr.As16()}
		a.n = unix.SizeofSockaddrInet6
		return a
	}
	in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
	in4.Family, in4.Port, in4.Addr = unix.AF_INET, port, addr.As4()
	a.n = unix.SizeofSockaddrInet4
	return a
}

// addrPort reads a source address as the kernel wrote it.
func addrPort(raw *unix.RawSockaddrInet6) netip.AddrPort {
	port := raw.Port<<8 | raw.Port>>8
	if raw.Family == unix.AF_INET {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(raw.Addr).Unmap(), port)
}
