//go:build linux && !portable

package flow

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	pionice "github.com/pion/ice/v4"
	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/icetcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/race"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// tcpBed is a bed whose access realm takes TCP; workers: how many.
func tcpBed(t *testing.T, workers int) (*bed, netip.AddrPort) {
	t.Helper()
	port := freeports.Port(t)
	b := newBed(t, func(c *Config) { c.Access[0].TCP, c.Workers = port, workers })
	return b, netip.AddrPortFrom(loopback, port)
}

// tcpCall sets a relayed call up with a browser that has TCP only.
func tcpCall(t *testing.T, b *bed, id string) *call {
	t.Helper()
	x := &call{bed: b}
	x.a = b.access(id)
	x.joinCore(t, "c-"+id, relaySpec())
	x.b = newBrowserOver(t, pionice.NetworkTypeTCP4)
	if err := x.a.SetRemote(x.b.remote(RoleServer)); err != nil {
		t.Fatal(err)
	}
	x.b.connect(x.a.Local())
	if err := x.b.secure(x.a.Local(), true); err != nil {
		t.Fatal("browser DTLS: ", err)
	}
	b.ev.wait(t, x.a, DTLSConnected, 1)
	return x
}

// TestR6544_CallOverTCP: pion's agent, active, with nothing but TCP: checks, DTLS and SRTP in the frames of RFC 4571, on each of the
// workers behind the one port.
func TestR6544_CallOverTCP(t *testing.T) {
	b, addr := tcpBed(t, 2)
	used := map[*worker]bool{}
	for _, id := range []string{"a1", "a2", "a3"} {
		x := tcpCall(t, b, id)
		used[x.a.w] = true
		x.exchange(20, 1)
		e := b.ev.wait(t, x.a, ICEConnected, 1)
		if l, r := e.Pair.Local, e.Pair.Remote; l.Transport != "tcp" || l.TCPType != "passive" || l.Port != addr.Port() || r.Transport != "tcp" || r.Address != "127.0.0.1" {
			t.Errorf("pair %+v", e.Pair)
		}
		if s := x.a.Stats(); !strings.HasPrefix(s.SelectedPair, addr.String()+"/tcp 127.0.0.1:") {
			t.Errorf("pair %q", s.SelectedPair)
		}
		if l := b.e.listeners[0]; l.Refused.Load() != 0 {
			t.Errorf("%d connections refused", l.Refused.Load())
		}
	}
	if len(used) != 2 {
		t.Error("all calls are on one worker")
	}
	if unknown, addrs := b.e.listeners[0].Counts(); unknown != 0 || addrs != 1 {
		t.Errorf("%d unknown connections, %d addresses", unknown, addrs)
	}
}

// TestR6544_CandidateIsPassiveAndLast: what the peer is told, and in what order it will try it.
func TestR6544_4_2_CandidateIsPassiveAndLast(t *testing.T) {
	b, addr := tcpBed(t, 1)
	l := b.access("a1").Local().Candidates
	if len(l) != 2 || l[0].Transport != "udp" || l[1].Transport != "tcp" || l[1].TCPType != "passive" || l[1].Port != addr.Port() {
		t.Fatalf("candidates %+v", l)
	}
	if l[0].Foundation == l[1].Foundation || l[1].Priority >= l[0].Priority || l[1].Priority>>24 != 90 || l[1].Priority>>8&0xffff != 4<<13|8191 {
		t.Errorf("candidates %+v", l)
	}
}

// TestR6544_RestartMovesMediaBetweenTCPAndUDP: the network changes from one that lets UDP through to one that does not, and back.
func TestR6544_RestartMovesMediaBetweenTCPAndUDP(t *testing.T) {
	b, _ := tcpBed(t, 1)
	x := tcpCall(t, b, "a1")
	x.exchange(3, 1)
	for i, network := range []pionice.NetworkType{pionice.NetworkTypeUDP4, pionice.NetworkTypeTCP4} {
		next := newBrowserOver(t, network)
		next.inherit(x.b)
		if err := x.a.SetRemote(next.remote(0)); err != nil {
			t.Fatal(err)
		}
		seq := uint16(100 * (i + 1))
		x.pump(3, &seq, x.b, x.b)
		next.connect(x.a.Local())
		x.ev.wait(t, x.a, ICEConnected, i+2)
		x.pump(3, &seq, x.b, next)
		x.pump(3, &seq, next, next)
		x.b = next
	}
}

// dialTCP connects to the gateway.
func dialTCP(t *testing.T, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func frame(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// isClosed waits until the gateway has closed a connection.
func isClosed(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(3 * icetcp.Patience))
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("%d bytes, %v; want it closed", n, err)
	}
}

// keyed gives an access side its keys as if a handshake had come to them, and returns the browser's.
func keyed(t *testing.T, a *Access) (seal *srtp.Sender, open *srtp.Receiver) {
	t.Helper()
	pair := func(client bool) (*srtp.Sender, *srtp.Receiver) {
		k, err := srtp.ExportKeys(fixedKeys{}, srtp.AES128GCM, client)
		if err != nil {
			t.Fatal(err)
		}
		tx, rx, err := srtp.NewPair(srtp.AES128GCM, k)
		if err != nil {
			t.Fatal(err)
		}
		return tx, rx
	}
	tx, rx := pair(false)
	a.w.do(func() { a.s.t.out.tx, a.s.t.in.rx = tx, rx })
	return pair(true)
}

func checkFor(t *testing.T, ufrag, pwd string) []byte {
	t.Helper()
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ufrag+":abcd"),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.RawAttribute{Type: stun.AttrICEControlling, Length: 8, Value: make([]byte, 8)},
		stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: []byte{1, 2, 3, 4}}, stun.NewShortTermIntegrity(pwd), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

// TestR6544_UnauthenticatedConnectionsEnd: what is no check, or a check for nobody, is closed at once; one with a wrong password gets its
// time and is closed then, and the gateway holds nothing of it.
func TestR6544_UnauthenticatedConnectionsEnd(t *testing.T) {
	b, addr := tcpBed(t, 1)
	a := b.access("a1")
	l := a.Local()
	if err := a.SetRemote(AccessRemote{Ufrag: "abcd", Pwd: "0123456789012345678901"}); err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string][]byte{
		"HTTP": []byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"), "nobody's": frame(checkFor(t, "nobodyis", l.Pwd)), "empty": {0, 0}, "long": {0xff, 0xff, 1, 2},
		"RTP": frame(packet(8, 1, 1, 1, make([]byte, 20))),
	} {
		t.Run(name, func(t *testing.T) {
			c := dialTCP(t, addr)
			if _, err := c.Write(first); err != nil {
				t.Fatal(err)
			}
			isClosed(t, c)
		})
	}
	c := dialTCP(t, addr)
	if _, err := c.Write(frame(checkFor(t, l.Ufrag, "wrong-wrong-wrong-wrong"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker has the connection", func() (has bool) {
		a.w.do(func() { has = len(a.w.streams) == 1 })
		return has
	})
	eventually(t, "it alone counts as unknown", func() bool { unknown, _ := b.e.listeners[0].Counts(); return unknown == 1 })
	isClosed(t, c)
	if _, ok := b.ev.find(a, ICEConnected, 1); ok {
		t.Error("a wrong password made a pair")
	}
	eventually(t, "nothing is held", func() bool { unknown, addrs := b.e.listeners[0].Counts(); return unknown == 0 && addrs == 0 })
}

// TestR6544_UnknownConnectionsAreBounded: an address that opens connections and says nothing has only so many of them.
func TestR6544_UnknownConnectionsAreBounded(t *testing.T) {
	b, addr := tcpBed(t, 1)
	var all []net.Conn
	for range icetcp.MaxUnknownPerAddress + 10 {
		all = append(all, dialTCP(t, addr))
	}
	eventually(t, "the rest is refused", func() bool { return b.e.listeners[0].Refused.Load() == 10 })
	if unknown, _ := b.e.listeners[0].Counts(); unknown != icetcp.MaxUnknownPerAddress {
		t.Errorf("%d unknown connections", unknown)
	}
	for _, c := range all {
		_ = c.Close()
	}
	eventually(t, "places are free again", func() bool { unknown, _ := b.e.listeners[0].Counts(); return unknown == 0 })
}

// TestR6544_SlowReceiverLosesMediaOnly: a peer that does not read does not hold the worker up; what does not fit is dropped and counted, and
// the frames that it does get stay whole.
func TestR6544_SlowReceiverLosesMediaOnly(t *testing.T) {
	b, addr := tcpBed(t, 1)
	x := &call{bed: b, a: b.access("a1")}
	x.joinCore(t, "c1", relaySpec())
	a, c, s := x.a, x.c, x.s
	if err := a.SetRemote(AccessRemote{Ufrag: "abcd", Pwd: "0123456789012345678901"}); err != nil {
		t.Fatal(err)
	}
	conn := dialTCP(t, addr)
	_ = conn.(*net.TCPConn).SetReadBuffer(2048)
	check := frame(checkFor(t, a.Local().Ufrag, a.Local().Pwd))
	for _, part := range [][]byte{check[:1], check[1:30], check[30:]} { // as TCP may cut it
		if _, err := conn.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	b.ev.wait(t, a, ICEConnected, 1)
	_, open := keyed(t, a)
	const n = 1500
	for i := range uint16(n) {
		s.send(c.Local().RTP, packet(8, 1, i+1, uint32(i)*160, make([]byte, 160)))
		if i%50 == 0 {
			eventually(t, "taken", func() bool { return c.Stats().PacketsReceived+50 > uint64(i) })
		}
	}
	eventually(t, "the worker took them all", func() bool { return c.Stats().PacketsReceived == n })
	lost := b.e.Counters().Unsent
	if lost == 0 {
		t.Fatal("nothing was dropped: the test does not fill the connection")
	}
	got := uint64(0)
	for {
		if got+lost < n-1 {
			_ = conn.SetReadDeadline(time.Now().Add(wait.Limit))
		} else { // all are accounted for: there must not be more
			_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		}
		var head [2]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			break
		}
		p := make([]byte, binary.BigEndian.Uint16(head[:]), 2048)
		if _, err := io.ReadFull(conn, p); err != nil {
			break // the rest of the last frame waits for the next packet
		}
		if rtp.Classify(p) != rtp.RTP {
			continue
		}
		if _, err := open.OpenRTP(p); err != nil {
			t.Fatalf("frame %d is not whole: %v", got, err)
		}
		got++
	}
	if got+lost > n || got+lost < n-1 || got == 0 {
		t.Errorf("%d received and %d dropped of %d", got, lost, n)
	}
	t.Logf("%d of %d packets dropped for a peer that does not read", lost, n)
}

// TestR6544_EndOfConnectionEndsItsPath: media goes nowhere then, the worker holds nothing of it, and a new connection serves.
func TestR6544_EndOfConnectionEndsItsPath(t *testing.T) {
	b, addr := tcpBed(t, 1)
	a := b.access("a1")
	b.configure(a, relaySpec().access)
	if err := a.SetRemote(AccessRemote{Ufrag: "abcd", Pwd: "0123456789012345678901"}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		conn := dialTCP(t, addr)
		if _, err := conn.Write(frame(checkFor(t, a.Local().Ufrag, a.Local().Pwd))); err != nil {
			t.Fatal(err)
		}
		b.ev.wait(t, a, ICEConnected, i+1)
		head := make([]byte, 4)
		if _, err := io.ReadFull(conn, head); err != nil || !bytes.Equal(head[2:], []byte{1, 1}) {
			t.Errorf("no success response: % x, %v", head, err)
		}
		_ = conn.Close()
		eventually(t, "the path is gone", func() bool {
			var streams, paths int
			a.w.do(func() { streams, paths = len(a.w.streams), len(a.sock.paths) })
			return streams == 0 && paths == 0
		})
	}
}

// TestStreamedPacketDoesNotAllocate holds the packet path over TCP to the same rule as that over UDP.
func TestStreamedPacketDoesNotAllocate(t *testing.T) {
	b, _ := tcpBed(t, 1)
	x := tcpCall(t, b, "a1")
	x.exchange(3, 1)
	var st *stream
	x.a.w.do(func() { st = x.a.s.t.out.stream })
	if st == nil {
		t.Fatal("not over TCP")
	}
	p := make([]byte, 200)
	var allocs float64
	x.a.w.do(func() {
		allocs = testing.AllocsPerRun(100, func() { x.a.w.stream(st, p); st.Fill(); _, _ = st.Next(readSize) })
	})
	if allocs > race.Allocs(1) {
		t.Errorf("%v allocations per packet", allocs)
	}
}
