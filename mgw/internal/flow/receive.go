package flow

import (
	"net/netip"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// maxLooks bounds how often a round looks for more to read before it plays: beyond that it is overload, and frames must not wait for its end.
const maxLooks = 8

// readAll reads from the n ready sockets, in a round that plays frames until nothing waits, and returns the number of datagrams.
func (w *worker) readAll(n int) (got int) {
	for looks := 1; n > 0; looks++ {
		w.fetchSockets(n)
		for i := range n {
			got += w.read(w.poll.Ready(i))
		}
		w.forward()
		if w.writer.Room() == udpio.MaxQueue {
			w.used = 0 // all went to jitter buffers
		}
		if due, ok := w.clock.next(); !ok || due > w.now || looks == maxLooks {
			break
		}
		var err error
		if n, _, err = w.poll.Wait(0, true); err != nil {
			panic(err) // as in run
		}
	}
	w.waited = 0
	return got
}

// read takes what waits on a ready socket and returns the number of datagrams.
func (w *worker) read(key uint32) int {
	w.waited = 0
	switch ref := w.socks[key]; {
	case ref.access != nil:
		if ref.second {
			return w.readAccess(ref.access, ref.access.second)
		}
		return w.readAccess(ref.access, ref.access.sock)
	case ref.core != nil:
		return w.gatherCore(ref.core, ref.rtcp)
	case ref.stream != nil:
		return w.readStream(ref.stream)
	}
	return 0 // closed by a command of this round
}

func (w *worker) readAccess(as *accessSock, sock *udpio.Socket) (got int) {
	for range maxBursts {
		w.sendParcel()
		first := w.used
		n, err := w.reader.ReadBatch(sock, w.reads[first:first+udpio.MaxBatch], w.msgs)
		if err != nil || n == 0 {
			return got
		}
		w.count.batches.Add(1)
		w.used = first + n
		// A command may have been posted before these datagrams were sent: an address that was authenticated, a new key.
		w.runCommands()
		w.findPaths(as, n)
		for i := range n {
			m := &w.msgs[i]
			if m.Truncated {
				w.count.stray.Add(1)
				continue
			}
			w.waited = w.arrivals.waited(m.Stamp)
			w.accessFrom(as, w.found[i], w.reads[first+i][:m.N:bufferSize], m.From)
		}
		got += n
		if n < udpio.MaxBatch {
			return got
		}
	}
	return got
}

// gathered is a datagram of a core peer that has been read and not been looked at yet. A system call takes the place of what the processor had at hand,
// so all of a parcel are read before the first is processed: less comes and goes between.
type gathered struct {
	c    *coreState
	b    []byte
	from netip.AddrPort
	at   int64 // when the kernel had it; 0: not told
	rtcp bool
}

// gatherCore reads what waits on a core socket and returns the number of datagrams.
func (w *worker) gatherCore(c *coreState, isRTCP bool) (got int) {
	s := c.rtp
	if isRTCP {
		s = c.rtcp
	}
	var m udpio.Message
	for range maxBursts {
		w.sendParcel()
		b := w.reads[w.used]
		if !w.reader.ReadOne(s, b, &m) {
			break
		}
		got++
		if m.Truncated {
			c.t.in.drops.Count(gate.Malformed)
			continue
		}
		w.cores = append(w.cores, gathered{c, b[:m.N:bufferSize], m.From, m.Stamp, isRTCP})
		w.used++
		// The usual case is one datagram per round; a second look costs a system call and pays only in a burst.
		if c.round != w.round-1 && c.round != w.round {
			break
		}
	}
	c.round = w.round
	return got
}

// forward processes what has been gathered.
func (w *worker) forward() {
	for i := range w.cores {
		w.flight[i] = w.cores[i].c.t
	}
	fetch(w.flight[:len(w.cores)])
	for i := range w.cores {
		g := &w.cores[i]
		w.waited = w.arrivals.waited(g.at)
		w.corePacket(g.c, g.b, g.from, g.rtcp)
	}
	clear(w.cores)
	w.cores = w.cores[:0]
	w.waited = 0
}

// accessPacket takes one datagram of a browser. b has spare capacity.
func (w *worker) accessPacket(as *accessSock, b []byte, src netip.AddrPort) {
	w.accessFrom(as, as.paths[src], b, src)
}

// accessFrom demultiplexes one datagram of a browser (RFC 7983 §7), whose source p is authenticated unless it is nil.
func (w *worker) accessFrom(as *accessSock, p *path, b []byte, src netip.AddrPort) {
	switch rtp.Classify(b) {
	case rtp.STUN:
		if as.mux.Deliver(b, src) != ice.Delivered {
			w.count.stray.Add(1)
		}
		return
	case rtp.DTLS:
		if p != nil {
			p.owner.dtls(b, src)
			return
		}
	case rtp.RTP:
		if p != nil {
			if out, to := p.owner.rtp(w.now, b); out != nil {
				w.load.urgent++
				w.send(to, out)
			}
			return
		}
	case rtp.RTCP:
		if p != nil {
			p.owner.rtcp(w.now, b)
			return
		}
	}
	w.count.stray.Add(1)
}

// corePacket takes one datagram of the core network.
func (w *worker) corePacket(c *coreState, b []byte, src netip.AddrPort, isRTCP bool) {
	if isRTCP || c.mux && rtp.IsRTCP(b) {
		c.control(w.now, src, b)
		return
	}
	if out := c.media(w.now, src, b); out != nil {
		w.load.urgent++
		w.send(c.t.partner, out)
	}
}
