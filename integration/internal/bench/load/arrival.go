package load

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// When packets came is taken from the kernel, which notes it as it puts them into the socket: how long the generator takes to get there is
// nobody's delay but its own. It costs the generator a little, so in a large fleet some of the calls have it and speak for all.

// stampedCalls is about how many calls of a fleet have their arrivals stamped.
const stampedCalls = 64

// stampEvery is the distance of calls with stamps: of transcoded ones, whose number is small, all have them.
func (f *Fleet) stampEvery() int {
	if f.o.Media.Transcoded() {
		return 1
	}
	return max(1, len(f.calls)/stampedCalls)
}

// stamp makes the kernel note arrivals from now on. Errors: the kernel's.
func (s *socket) stamp() error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1); err != nil {
		return err
	}
	s.stamped = true
	return nil
}

// glance is one moment on both clocks, for what is received after it.
type glance struct {
	mono int64 // the runner's, ns
	wall int64 // ns since 1970
}

func (r *runner) glance() glance { return glance{r.now(), time.Now().UnixNano()} }

// receiveAt is receive with the time of arrival on the runner's clock, ns; 0: unknown.
func (s *socket) receiveAt(b []byte, g glance) (n int, at int64) {
	if !s.stamped {
		return s.receive(b), 0
	}
	var control [64]byte
	iov := unix.Iovec{Base: &b[0], Len: uint64(len(b))}
	msg := unix.Msghdr{Iov: &iov, Iovlen: 1, Control: &control[0], Controllen: uint64(len(control))}
	got, _, e := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT)
	if e != 0 {
		return 0, 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if msg.Controllen < unix.SizeofCmsghdr+16 || h.Level != unix.SOL_SOCKET || h.Type != unix.SO_TIMESTAMPNS_NEW {
		return int(got), 0
	}
	ts := (*[2]int64)(unsafe.Pointer(&control[unix.SizeofCmsghdr])) // struct __kernel_timespec
	return int(got), max(1, g.mono+ts[0]*int64(time.Second)+ts[1]-g.wall)
}
