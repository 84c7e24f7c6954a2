//go:build linux && !portable

package udpio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's: its alignment, so its size, is that of the pointers in hdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// Reader reads datagrams for one worker. Use NewReader; it holds about 10 KiB of headers.
type Reader struct {
	hdrs  [MaxBatch]mmsghdr
	iovs  [MaxBatch]unix.Iovec
	names [MaxBatch]unix.RawSockaddrInet6
	ctrl  [MaxBatch]stampRoom
	one   unix.RawSockaddrInet6
	oneN  uint32
}

// stampRoom is room for one SCM_TIMESTAMPNS_NEW control message.
type stampRoom struct {
	hdr       unix.Cmsghdr
	sec, nsec int64
}

// stamp is what the kernel wrote, ns; 0: nothing. n: length of all control messages.
func (c *stampRoom) stamp(n uint64) int64 {
	if n < uint64(unix.SizeofCmsghdr+16) || c.hdr.Level != unix.SOL_SOCKET || c.hdr.Type != unix.SO_TIMESTAMPNS_NEW {
		return 0
	}
	return c.sec*1e9 + c.nsec
}

// NewReader returns a Reader.
func NewReader() *Reader {
	r := &Reader{}
	for i := range r.hdrs {
		h := &r.hdrs[i].hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	return r
}

// ReadBatch takes up to MaxBatch waiting datagrams, one per buffer of bufs, and describes them in msgs; it returns how many, 0 when
// none waits. It never blocks. Every buffer must be non-empty; msgs must be as long as bufs. Errors: the kernel's.
func (r *Reader) ReadBatch(s *Socket, bufs [][]byte, msgs []Message) (int, error) {
	n := min(len(bufs), MaxBatch)
	for i, b := range bufs[:n] {
		r.iovs[i].Base = &b[0]
		r.iovs[i].SetLen(len(b))
		r.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
	}
	if s.stamps {
		r.ask(n)
	}
	got, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.hdrs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, quiet(e)
	}
	for i := range int(got) {
		h := &r.hdrs[i]
		msgs[i].From = addrPort(&r.names[i])
		msgs[i].N = int(h.n)
		msgs[i].Truncated = h.hdr.Flags&unix.MSG_TRUNC != 0
		msgs[i].Stamp = 0
		if s.stamps {
			msgs[i].Stamp = r.ctrl[i].stamp(uint64(h.hdr.Controllen))
		}
	}
	return int(got), nil
}

// ask gives the first n headers room for stamps. It stays there, a socket that is not asked for stamps leaves it empty.
func (r *Reader) ask(n int) {
	for i := range r.hdrs[:n] {
		r.hdrs[i].hdr.Control = (*byte)(unsafe.Pointer(&r.ctrl[i]))
		r.hdrs[i].hdr.SetControllen(int(unsafe.Sizeof(r.ctrl[i])))
	}
}

// ReadOne takes one waiting datagram; it is cheaper than a batch of one. ok is false when none waits or the kernel reports an error,
// which a later read will meet again. It never blocks.
func (r *Reader) ReadOne(s *Socket, buf []byte, m *Message) (ok bool) {
	if s.stamps {
		return r.readStamped(s, buf, m)
	}
	r.oneN = unix.SizeofSockaddrInet6
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)),
		unix.MSG_DONTWAIT|unix.MSG_TRUNC, uintptr(unsafe.Pointer(&r.one)), uintptr(unsafe.Pointer(&r.oneN)))
	if e != 0 {
		return false
	}
	m.From = addrPort(&r.one)
	m.N, m.Truncated, m.Stamp = int(n), int(n) > len(buf), 0
	return true
}

// readStamped is ReadOne with a stamp.
func (r *Reader) readStamped(s *Socket, buf []byte, m *Message) (ok bool) {
	r.iovs[0].Base = &buf[0]
	r.iovs[0].SetLen(len(buf))
	h := &r.hdrs[0].hdr
	h.Namelen = unix.SizeofSockaddrInet6
	r.ask(1)
	n, _, e := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(h)), unix.MSG_DONTWAIT)
	if e != 0 {
		return false
	}
	m.From = addrPort(&r.names[0])
	m.N, m.Truncated, m.Stamp = int(n), h.Flags&unix.MSG_TRUNC != 0, r.ctrl[0].stamp(uint64(h.Controllen))
	return true
}

// quiet hides the results that mean "nothing now".
func quiet(e unix.Errno) error {
	switch e {
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		return nil
	}
	return e
}
