package flow

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/icetcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// A browser whose network lets no UDP through comes over TCP (RFC 6544). One listener serves all workers; the first frame names the
// termination, and with it the worker, which reads and writes the connection like a socket of its own. Among paths and pairs an address
// that no host has stands for the connection, so that everything behind the socket is the same for both.

// sweepStreams is how often connections that nobody has authenticated are looked for.
const sweepStreams = time.Second

// stream is one TCP connection of a browser. Owned by the worker.
type stream struct {
	*udpio.Stream
	as    *accessSock
	from  netip.AddrPort // stands for it
	place *icetcp.Place
	key   uint32 // of the poller
	slot  int    // index in worker.streams
	seen  int64  // when it was last a path, or when it came
	over  bool
}

// streamBlock4 and streamBlock6 hold the addresses that stand for connections: reserved (RFC 1112 §4), discard-only (RFC 6666).
var (
	streamBlock4 = netip.MustParsePrefix("240.0.0.0/4")
	streamBlock6 = netip.MustParsePrefix("100::/64")
)

// isStream reports whether an address stands for a TCP connection.
func isStream(a netip.AddrPort) bool {
	return streamBlock4.Contains(a.Addr()) || streamBlock6.Contains(a.Addr())
}

// streamAddr is the n-th address of the block of v6's family.
func streamAddr(v6 bool, n uint64) netip.AddrPort {
	if v6 {
		b := streamBlock6.Addr().As16()
		binary.BigEndian.PutUint64(b[8:], n)
		return netip.AddrPortFrom(netip.AddrFrom16(b), 9)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0xf0000000|uint32(n)&0x0ffffffe)
	return netip.AddrPortFrom(netip.AddrFrom4(b), 9)
}

// listenTCP opens the port for ICE-TCP in realm r.
func (e *Engine) listenTCP(r AccessRealm) error {
	if err := e.listenTCPOn(r, r.Listen); err != nil || !r.Second.IsValid() {
		return err
	}
	return e.listenTCPOn(r, r.Second)
}

func (e *Engine) listenTCPOn(r AccessRealm, addr netip.Addr) error {
	l, err := icetcp.Listen(netip.AddrPortFrom(addr, r.TCP), ice.MaxCheck, func(c *net.TCPConn, first []byte, p *icetcp.Place) bool {
		return e.takeStream(r.Name, c, first, p)
	})
	if err != nil {
		return err
	}
	e.listeners = append(e.listeners, l)
	for _, w := range e.workers {
		for _, as := range w.access {
			if as.realm == r.Name {
				as.tcp = l.Addr().Port()
			}
		}
	}
	return nil
}

// takeStream gives a connection to the worker of the termination that its first frame names.
func (e *Engine) takeStream(realm string, c *net.TCPConn, first []byte, p *icetcp.Place) bool {
	for _, w := range e.workers {
		for _, as := range w.access {
			if as.realm != realm || !as.mux.Serves(first) {
				continue
			}
			s, err := udpio.NewStream(c)
			if err != nil {
				return false
			}
			if !w.post(func() { w.adopt(as, s, p, first) }) {
				_ = s.Close()
				p.End()
			}
			return true
		}
	}
	return false
}

// adopt begins to read a connection; its first frame is the first packet.
func (w *worker) adopt(as *accessSock, s *udpio.Stream, p *icetcp.Place, first []byte) {
	st := &stream{Stream: s, as: as, place: p, seen: w.now, slot: len(w.streams)}
	var err error
	if st.key, err = w.watch(&s.Socket, sockRef{stream: st}); err != nil || w.stop {
		_ = s.Close()
		p.End()
		return
	}
	for st.from = as.nextStream(); as.streams[st.from] != nil; st.from = as.nextStream() {
	}
	if len(w.streams) == 0 {
		w.streamsAt = w.now + int64(sweepStreams)
	}
	as.streams[st.from] = st
	st.StampArrivals(as.timed > 0)
	w.streams = append(w.streams, st)
	w.accessPacket(as, first, st.from)
}

func (as *accessSock) nextStream() netip.AddrPort {
	as.made += 2
	return streamAddr(as.mux.Advertise().Addr().Is6(), as.made)
}

// readStream takes what waits on a ready connection and returns the number of packets.
func (w *worker) readStream(st *stream) (got int) {
	w.runCommands() // as for datagrams
	if st.over {
		return 0
	}
	open := st.Fill()
	waited := w.arrivals.waited(st.Stamp)
	for {
		p, err := st.Next(readSize)
		if err != nil {
			open = false
		}
		if p == nil {
			break
		}
		w.sendParcel()
		b := w.reads[w.used]
		w.used++
		w.waited = waited // other packets may have gone before
		w.accessPacket(st.as, b[:copy(b, p):bufferSize], st.from)
		got++
	}
	if !open {
		w.endStream(st)
	}
	return got
}

// endStream closes a connection and forgets its path; a termination that used it has no way to the peer until a check comes another way.
func (w *worker) endStream(st *stream) {
	if st.over {
		return
	}
	st.over = true
	if p := st.as.paths[st.from]; p != nil {
		if o := &p.owner.t.out; o.stream == st {
			o.stream = nil
			p.owner.share()
		}
		p.owner.forget(st.from)
	}
	delete(st.as.streams, st.from)
	last := len(w.streams) - 1
	w.streams[st.slot] = w.streams[last]
	w.streams[st.slot].slot = st.slot
	w.streams[last] = nil
	w.streams = w.streams[:last]
	w.unwatch(&st.Socket, st.key)
	_ = st.Close()
	st.place.End()
}

// runStreams ends connections that no check has authenticated, or that nobody uses any more.
func (w *worker) runStreams() {
	if len(w.streams) == 0 || w.now < w.streamsAt {
		return
	}
	w.streamsAt = w.now + int64(sweepStreams)
	for i := len(w.streams) - 1; i >= 0; i-- {
		st := w.streams[i]
		switch {
		case st.as.paths[st.from] != nil:
			st.seen = w.now
		case w.now-st.seen > int64(icetcp.Patience):
			w.endStream(st)
		}
	}
}

// via is the socket for an address.
func (as *accessSock) via(a netip.AddrPort) *udpio.Socket {
	if as.second != nil && a.Addr().Is6() == as.secondAddr.Addr().Is6() {
		return as.second
	}
	return as.sock
}

// sendControl sends STUN or DTLS, from any goroutine.
func (as *accessSock) sendControl(b []byte, to netip.AddrPort) error {
	if !isStream(to) {
		return as.via(to).SendTo(b, to)
	}
	buf := as.pool.Copy(b)
	if !as.w.post(func() {
		if st := as.streams[to]; st != nil {
			st.Send(buf.Bytes())
		}
		buf.Release()
	}) {
		buf.Release()
		return udpio.ErrClosed
	}
	return nil
}

// tcpPriority is that of a passive TCP host candidate: below every UDP one, and as RFC 6544 §4.2 has it among those of TCP.
const tcpPriority = 90<<24 | (4<<13|8191)<<8 | 255
