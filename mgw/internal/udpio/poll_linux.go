//go:build linux && !portable

package udpio

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxEvents = 128
	wakeKey   = 1<<32 - 1
)

// Poller tells which sockets have datagrams. One goroutine polls; Wake may come from any.
type Poller struct {
	ep, ev int
	events [maxEvents]unix.EpollEvent
	wait   [2]int64      // struct __kernel_timespec of epoll_pwait2, s and ns: as long on 32 bits
	ts     unix.Timespec // of ppoll
	nap    unix.PollFd
}

// NewPoller makes a Poller; the caller closes it. Errors: the kernel's.
func NewPoller() (*Poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("udpio: epoll: %w", err)
	}
	ev, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("udpio: eventfd: %w", err)
	}
	p := &Poller{ep: ep, ev: ev}
	if err := p.add(ev, wakeKey); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Poller) add(fd int, key uint32) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(key)}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("udpio: epoll add: %w", err)
	}
	return nil
}

// Add watches s, level-triggered; Ready reports it as key. key: any value below 2^32-1.
func (p *Poller) Add(s *Socket, key uint32) error { return p.add(s.fd, key) }

// Remove stops watching s. Only before s is closed.
func (p *Poller) Remove(s *Socket) error {
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_DEL, s.fd, nil); err != nil {
		return fmt.Errorf("udpio: epoll remove: %w", err)
	}
	return nil
}

// Wait returns the number of ready sockets; Ready gives their keys. It returns after timeout at the latest (0: at once; negative: no
// limit), or when woken; then woken is true. hold: keep Go's processor meanwhile, so that the scheduler has nothing to do with a wait
// that is short; only for a locked thread for which GOMAXPROCS counts one, else other goroutines starve. A held wait may end early with
// nothing: the scheduler's signals interrupt it. Errors: the kernel's, which a caller cannot repair.
func (p *Poller) Wait(timeout time.Duration, hold bool) (n int, woken bool, err error) {
	var got uintptr
	var e unix.Errno
	if timeout == 0 {
		// Nothing can block here, so the scheduler need not be told.
		got, _, e = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.ep), uintptr(unsafe.Pointer(&p.events[0])), maxEvents, 0, 0, 0)
	} else {
		got, e = p.block(timeout, call(hold))
	}
	if e != 0 {
		if e == unix.EINTR {
			return 0, false, nil
		}
		return 0, false, fmt.Errorf("udpio: epoll wait: %w", e)
	}
	for i := range int(got) {
		if uint32(p.events[i].Fd) == wakeKey {
			p.drain()
			woken = true
			continue
		}
		p.events[n] = p.events[i]
		n++
	}
	return n, woken, nil
}

// call is the way into the kernel for a call that blocks.
func call(hold bool) func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err unix.Errno) {
	if hold {
		return unix.RawSyscall6
	}
	return unix.Syscall6
}

// block waits with nanosecond timeouts where the kernel has epoll_pwait2 (Linux 5.11), else with milliseconds rounded up.
func (p *Poller) block(timeout time.Duration, enter func(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err unix.Errno)) (uintptr, unix.Errno) {
	var limit *[2]int64
	if timeout > 0 {
		p.wait = [2]int64{int64(timeout / time.Second), int64(timeout % time.Second)}
		limit = &p.wait
	}
	got, _, e := enter(unix.SYS_EPOLL_PWAIT2, uintptr(p.ep), uintptr(unsafe.Pointer(&p.events[0])), maxEvents,
		uintptr(unsafe.Pointer(limit)), 0, 0)
	if e != unix.ENOSYS && e != unix.EPERM {
		return got, e
	}
	ms := -1
	if timeout > 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	got, _, e = enter(unix.SYS_EPOLL_PWAIT, uintptr(p.ep), uintptr(unsafe.Pointer(&p.events[0])), maxEvents, uintptr(ms), 0, 0)
	return got, e
}

// Ready is the key of the i-th ready socket of the last Wait.
func (p *Poller) Ready(i int) uint32 { return uint32(p.events[i].Fd) }

// Nap sleeps d, for datagrams to gather; Wake ends it early. hold: as for Wait.
func (p *Poller) Nap(d time.Duration, hold bool) {
	p.ts = unix.NsecToTimespec(int64(d))
	p.nap = unix.PollFd{Fd: int32(p.ev), Events: unix.POLLIN}
	_, _, _ = call(hold)(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.nap)), 1, uintptr(unsafe.Pointer(&p.ts)), 0, 0, 0)
}

// Wake makes a present or the next Wait return. Safe from any goroutine until Close.
func (p *Poller) Wake() {
	one := uint64(1)
	_, _, _ = unix.Syscall(unix.SYS_WRITE, uintptr(p.ev), uintptr(unsafe.Pointer(&one)), 8)
}

func (p *Poller) drain() {
	var v uint64
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(p.ev), uintptr(unsafe.Pointer(&v)), 8)
}

// Close releases the poller's descriptors; nobody waits or wakes any more.
func (p *Poller) Close() error {
	return errors.Join(unix.Close(p.ep), unix.Close(p.ev))
}
