package flow

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// stage is a rig whose peers have sockets: what leaves is read back, while time is the test's. A step is 20 ms.
type stage struct {
	*rig
	now  int64
	ends [2]*net.UDPConn // browser, core
	ev   []Event
	last [2]rtp.Packet // newest packet of each end
	all  [2][]arrival
	peer *peerCrypto // of the core's peer, with SRTP
}

// arrival is a plaintext packet and when it came.
type arrival struct {
	rtp.Packet
	at int64
}

const (
	browserEnd = 0
	coreEnd    = 1
)

func newStage(t testing.TB, access, core Settings) *stage {
	t.Helper()
	s := &stage{rig: newRig(t, srtp.AES128GCM, access, core), now: int64(time.Second)}
	for i := range s.ends {
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = u.Close() })
		s.ends[i] = u
	}
	s.a.access.check(2, 1, ice.Check{From: addrPortOf(s.ends[browserEnd]), Nominated: true})
	if err := s.c.core.setRemote(0, CoreRemote{RTP: addrPortOf(s.ends[coreEnd])}); err != nil {
		t.Fatal(err)
	}
	s.w.cfg.Events = func(e Event) { s.ev = append(s.ev, e) }
	t.Cleanup(func() {
		for _, x := range []*term{s.a, s.c} {
			if x.sound != nil {
				x.sound.end()
			}
		}
	})
	return s
}

// speak lets packets into the termination as if its peer had sent them now.
func (s *stage) speak(from *term, packets ...[]byte) {
	for _, p := range packets {
		b := make([]byte, bufferSize)
		if out := from.media(s.now, b[:copy(b, p):bufferSize]); out != nil {
			s.w.send(from.partner, out)
		}
	}
}

// step lets 20 ms pass: what is due is coded and sent, and what has come to the ends is checked and kept.
func (s *stage) step() {
	s.t.Helper()
	s.code()
	s.w.flush()
	s.w.used = 0
	for i, u := range s.ends {
		for p := s.receive(u, i); p != nil; p = s.receive(u, i) {
			s.arrived(i, p)
		}
	}
}

// code lets 20 ms pass in which the frames that are due are coded.
func (s *stage) code() {
	for end := s.now + int64(20*time.Millisecond); s.now < end; s.now += int64(2 * time.Millisecond) {
		s.w.now = s.now
		for range 20 {
			due, ok := s.w.clock.next()
			if !ok || due > s.now {
				break
			}
			s.w.clock.heap[0].of.tick(s.now)
		}
	}
}

func (s *stage) receive(u *net.UDPConn, end int) rtp.Packet {
	b := make([]byte, bufferSize)
	raw, err := u.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	n := -1
	_ = raw.Read(func(fd uintptr) bool { // what was sent above loopback has delivered: there is nothing to wait for
		n, _, _ = syscall.Recvfrom(int(fd), b, syscall.MSG_DONTWAIT)
		return true
	})
	if n <= 0 {
		return nil
	}
	b = b[:n]
	if rtp.Classify(b) != rtp.RTP {
		return s.receive(u, end)
	}
	if end == browserEnd {
		if b, err = s.peerRx.OpenRTP(b); err != nil {
			s.t.Fatalf("the browser cannot open a packet: %v", err)
		}
	}
	if end == coreEnd && s.peer != nil {
		return s.peer.open(b)
	}
	return b
}

// arrived checks that the stream goes on: one SSRC, each number once and in order, time never backwards.
func (s *stage) arrived(i int, p rtp.Packet) {
	s.t.Helper()
	if q := s.last[i]; q != nil {
		if p.SSRC() != q.SSRC() || p.Seq() != q.Seq()+1 || rtp.TSDiff(p.TS(), q.TS()) < 0 {
			s.t.Fatalf("end %d: SSRC %x number %d time %d after SSRC %x number %d time %d", i, p.SSRC(), p.Seq(), p.TS(), q.SSRC(), q.Seq(), q.TS())
		}
	}
	s.last[i] = p
	s.all[i] = append(s.all[i], arrival{p, s.now})
}

// told are the events of a kind.
func (s *stage) told(k EventKind) (out []Event) {
	for _, e := range s.ev {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}
