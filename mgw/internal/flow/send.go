package flow

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

func (w *worker) send(to *term, b []byte) {
	if to.out.stream != nil {
		w.stream(to.out.stream, b)
		return
	}
	w.queue(to.out.sock, &to.out.addr, b, to.out.tos)
}

// stream sends at once: a connection has a queue of its own, and what does not fit into that is lost.
func (w *worker) stream(to *stream, b []byte) {
	if to.Send(b) {
		w.count.sent.Add(1)
	} else {
		w.count.lost.Add(1)
	}
}

func (w *worker) queue(s *udpio.Socket, to *udpio.Addr, b []byte, tos uint8) {
	w.writer.Queue(s, to, b, tos)
}

// buffer is an unused buffer for what the worker writes itself; it is the writer's until the next drain.
func (w *worker) buffer() []byte {
	if w.ownUsed == ownArena {
		w.drain()
	}
	b := w.own[w.ownUsed]
	w.ownUsed++
	return b
}

// drain sends everything queued. What was read and not yet forwarded stays.
func (w *worker) drain() {
	if queued := udpio.MaxQueue - w.writer.Room(); queued > 0 {
		sent := w.writer.Flush()
		w.count.sent.Add(uint64(sent))
		w.count.lost.Add(uint64(queued - sent))
	}
	w.ownUsed = 0
}

// sendParcel sends what has been forwarded when it is a parcel; the next datagram has room then.
func (w *worker) sendParcel() {
	if w.used >= parcel {
		w.forward()
		w.flush()
	}
}

// flush is drain at a point where nothing is left to forward: the arena is free again.
func (w *worker) flush() {
	w.drain()
	w.used = 0
}
