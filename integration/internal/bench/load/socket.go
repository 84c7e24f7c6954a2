package load

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// socket is a non-blocking UDP socket on loopback, with one destination.
type socket struct {
	fd      int
	local   netip.AddrPort
	to      unix.RawSockaddrInet4
	stamped bool // the kernel notes when packets came
}

// openSocket binds port, 0: any. Errors: the kernel's.
func openSocket(port uint16) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("load: socket: %w", err)
	}
	sa := &unix.SockaddrInet4{Port: int(port), Addr: loopback.As4()}
	if err = unix.Bind(fd, sa); err == nil {
		var bound unix.Sockaddr
		if bound, err = unix.Getsockname(fd); err == nil {
			return &socket{fd: fd, local: netip.AddrPortFrom(loopback, uint16(bound.(*unix.SockaddrInet4).Port))}, nil
		}
	}
	_ = unix.Close(fd)
	return nil, fmt.Errorf("load: bind port %d: %w", port, err)
}

// openPair binds an even port and the odd one above it (RFC 3550 §11).
func openPair() (media, control *socket, err error) {
	for range 200 {
		if media, err = openSocket(0); err != nil {
			return nil, nil, err
		}
		if p := media.local.Port(); p%2 == 0 {
			if control, err = openSocket(p + 1); err == nil {
				return media, control, nil
			}
		}
		media.close()
	}
	return nil, nil, fmt.Errorf("load: no port pair free: %w", err)
}

func (s *socket) close() { _ = unix.Close(s.fd) }

// aim sets the destination.
func (s *socket) aim(to netip.AddrPort) {
	s.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: to.Port()<<8 | to.Port()>>8, Addr: to.Addr().As4()}
}

// send sends b to the destination; false when the kernel does not take it. It never blocks.
func (s *socket) send(b []byte) bool {
	_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&s.to)), unix.SizeofSockaddrInet4)
	return e == 0
}

// receive takes a waiting datagram; 0: none. It never blocks.
func (s *socket) receive(b []byte) int {
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

// poller waits for datagrams.
type poller struct {
	ep     int
	events [256]unix.EpollEvent
	ts     unix.Timespec
}

func newPoller() (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll: %w", err)
	}
	return &poller{ep: ep}, nil
}

// add watches s as key.
func (p *poller) add(s *socket, key int32) error {
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: key}); err != nil {
		return fmt.Errorf("load: epoll: %w", err)
	}
	return nil
}

// wait returns how many events there are after at most ns; 0 after a signal too.
func (p *poller) wait(ns int64) int {
	p.ts = unix.NsecToTimespec(max(ns, 0))
	n, _, e := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.ep), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)),
		uintptr(unsafe.Pointer(&p.ts)), 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

func (p *poller) close() { _ = unix.Close(p.ep) }
