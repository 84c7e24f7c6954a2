// Package floor is the kernel floor of the relay figure: a process of one thread with epoll, recvmmsg on the socket that all browsers
// share and recvfrom per call socket, sendmmsg and sendto, no cryptography, no RTP. Floor 1 of the integration module. Linux only.
//
// Serve speaks on two pipes: for each line "BROWSER CORE" (host:port) it opens a socket and answers "SHARED CALL" (ports); at the line
// "run" it relays until the input ends.
package floor

/*
#include "floor.h"
*/
import "C"

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer is asked for the shared socket, as the gateway does for its.
const receiveBuffer = 4 << 20

// Options of Serve.
type Options struct {
	Tag    int  // octets that a datagram is longer on the browser side: what SRTP adds
	Gather bool // let datagrams gather under load, as the gateway does
}

// Serve reads calls from in and relays until in ends. in must be a pipe or a socket. Errors: the kernel's, or a malformed line.
func Serve(in *os.File, out io.Writer, o Options) error {
	s, err := open(receiveBuffer)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s.fd) }()
	var calls []C.struct_floor_call
	defer func() {
		for i := range calls {
			_ = unix.Close(int(calls[i].fd))
		}
	}()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if lines.Text() == "run" {
			return relay(s.fd, calls, o, in)
		}
		call, port, err := newCall(lines.Text())
		if err != nil {
			return err
		}
		calls = append(calls, call)
		if _, err := fmt.Fprintln(out, s.port, port); err != nil {
			return err
		}
	}
	return errors.New("floor: the input ended before run")
}

func relay(shared int, calls []C.struct_floor_call, o Options, stop *os.File) error {
	if len(calls) == 0 {
		return errors.New("floor: no calls")
	}
	gather := C.int(0)
	if o.Gather {
		gather = 1
	}
	rc := C.floor_run(C.int(shared), &calls[0], C.int(len(calls)), C.int(o.Tag), gather, C.int(stop.Fd()))
	if rc != 0 {
		return fmt.Errorf("floor: %w", syscall.Errno(-rc))
	}
	return nil
}

type sock struct {
	fd   int
	port uint16
}

// open binds a UDP socket on loopback.
func open(buffer int) (sock, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return sock{}, fmt.Errorf("floor: %w", err)
	}
	if buffer > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) // a wish
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		var sa unix.Sockaddr
		if sa, err = unix.Getsockname(fd); err == nil {
			return sock{fd, uint16(sa.(*unix.SockaddrInet4).Port)}, nil
		}
	}
	_ = unix.Close(fd)
	return sock{}, fmt.Errorf("floor: %w", err)
}

func newCall(line string) (C.struct_floor_call, uint16, error) {
	var call C.struct_floor_call
	var ends [2]netip.AddrPort
	words := strings.Fields(line)
	if len(words) != 2 {
		return call, 0, fmt.Errorf("floor: line %q", line)
	}
	for i, w := range words {
		var err error
		if ends[i], err = netip.ParseAddrPort(w); err != nil || !ends[i].Addr().Is4() {
			return call, 0, fmt.Errorf("floor: address %q", w)
		}
	}
	s, err := open(0)
	if err != nil {
		return call, 0, err
	}
	call.fd, call.browser, call.core = C.int(s.fd), sockaddr(ends[0]), sockaddr(ends[1])
	return call, s.port, nil
}

func sockaddr(a netip.AddrPort) C.struct_sockaddr_in {
	var sa C.struct_sockaddr_in
	sa.sin_family = C.AF_INET
	sa.sin_port = C.in_port_t(a.Port()<<8 | a.Port()>>8)
	ip := a.Addr().As4()
	sa.sin_addr.s_addr = C.in_addr_t(uint32(ip[0]) | uint32(ip[1])<<8 | uint32(ip[2])<<16 | uint32(ip[3])<<24)
	return sa
}
