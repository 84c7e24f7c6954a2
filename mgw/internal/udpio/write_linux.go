//go:build linux && !portable

package udpio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Writer queues datagrams of many sockets in the order of processing and sends them with one system call per socket. Use NewWriter.
type Writer struct {
	msgs  [MaxQueue]outgoing
	n     int
	dirty []*Socket // sockets with queued datagrams, cap MaxQueue

	hdrs [MaxBatch]mmsghdr
	iovs [MaxBatch]unix.Iovec
	ctrl [MaxBatch]control
}

type outgoing struct {
	to   *Addr
	b    []byte
	next int32 // 1-based index of the socket's next datagram
	tos  uint8
}

// control is room for one IP_TOS or IPV6_TCLASS control message.
type control struct {
	hdr unix.Cmsghdr
	val int32
	_   [4]byte
}

// NewWriter returns a Writer; it holds about 60 KiB.
func NewWriter() *Writer {
	w := &Writer{dirty: make([]*Socket, 0, MaxQueue)}
	for i := range w.hdrs {
		h := &w.hdrs[i].hdr
		h.Iov = &w.iovs[i]
		h.SetIovlen(1)
	}
	return w
}

// Room is the number of datagrams that can be queued before the next Flush.
func (w *Writer) Room() int { return MaxQueue - w.n }

// Queue notes b for sending on s; to and b belong to the Writer until Flush. tos is the TOS byte of this datagram, 0: the socket's.
// It panics when there is no Room or to is zero: the caller has lost count.
func (w *Writer) Queue(s *Socket, to *Addr, b []byte, tos uint8) {
	if to.n == 0 || len(b) == 0 {
		panic("udpio: queued without destination or content")
	}
	w.msgs[w.n] = outgoing{to: to, b: b, tos: tos}
	w.n++
	i := int32(w.n)
	if s.first == 0 {
		s.first = i
		w.dirty = append(w.dirty, s)
	} else {
		w.msgs[s.last-1].next = i
	}
	s.last = i
}

// Flush sends everything queued, in order per socket, and returns how many the kernel took. The others are lost: a full socket buffer
// is congestion, and media that waits is worse than media that is missing. It never blocks.
func (w *Writer) Flush() (sent int) {
	if w.n == 0 {
		return 0
	}
	for i, s := range w.dirty {
		sent += w.flushSocket(s)
		w.dirty[i] = nil
	}
	w.dirty = w.dirty[:0]
	clear(w.msgs[:w.n])
	w.n = 0
	return sent
}

func (w *Writer) flushSocket(s *Socket) (sent int) {
	i := s.first
	s.first, s.last = 0, 0
	if m := &w.msgs[i-1]; m.next == 0 && m.tos == 0 {
		return sendOne(s, m)
	}
	for i != 0 {
		n := 0
		for i != 0 && n < MaxBatch {
			m := &w.msgs[i-1]
			w.fill(n, s, m)
			i = m.next
			n++
		}
		sent += w.sendBatch(s, n)
	}
	return sent
}

func sendOne(s *Socket, m *outgoing) int {
	_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&m.b[0])), uintptr(len(m.b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&m.to.raw)), uintptr(m.to.n))
	if e != 0 {
		return 0
	}
	return 1
}

func (w *Writer) fill(n int, s *Socket, m *outgoing) {
	w.iovs[n].Base = &m.b[0]
	w.iovs[n].SetLen(len(m.b))
	h := &w.hdrs[n].hdr
	h.Name = (*byte)(unsafe.Pointer(&m.to.raw))
	h.Namelen = m.to.n
	if m.tos == 0 {
		h.Control = nil
		h.SetControllen(0)
		return
	}
	c := &w.ctrl[n]
	c.hdr.SetLen(unix.CmsgLen(4))
	c.hdr.Level, c.hdr.Type = unix.IPPROTO_IP, unix.IP_TOS
	if s.v6 {
		c.hdr.Level, c.hdr.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	c.val = int32(m.tos)
	h.Control = (*byte)(unsafe.Pointer(c))
	h.SetControllen(unix.CmsgSpace(4))
}

// sendBatch sends hdrs[:n]; a datagram that the kernel refuses is skipped, a full buffer ends the batch.
func (w *Writer) sendBatch(s *Socket, n int) (sent int) {
	for at := 0; at < n; {
		got, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&w.hdrs[at])), uintptr(n-at),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case e == 0:
			sent += int(got)
			at += int(got)
		case e == unix.EAGAIN || e == unix.ENOBUFS:
			return sent
		case e != unix.EINTR:
			at++
		}
	}
	return sent
}
