//go:build linux && !portable

package flow

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// marked is a peer's socket that sees the mark of what it gets.
func marked(t *testing.T, a netip.Addr) *net.UDPConn {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	level, option := unix.IPPROTO_IP, unix.IP_RECVTOS
	if a.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil || set != nil {
		t.Fatal(err, set)
	}
	return u
}

// readMarked returns a datagram and its TOS or traffic class byte, -1 when the kernel tells none.
func readMarked(t *testing.T, u *net.UDPConn) ([]byte, int) {
	t.Helper()
	buf, oob := make([]byte, 1500), make([]byte, 128)
	_ = u.SetReadDeadline(time.Now().Add(wait.Limit))
	n, m, _, _, err := u.ReadMsgUDPAddrPort(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range msgs {
		if c.Header.Level == unix.IPPROTO_IP && c.Header.Type == unix.IP_TOS || c.Header.Level == unix.IPPROTO_IPV6 && c.Header.Type == unix.IPV6_TCLASS {
			return buf[:n], int(c.Data[0])
		}
	}
	return buf[:n], -1
}

// families is a call between an access side and a core side of given families. Its browser is hand-made, since pion's full agent does not use
// the IPv6 loopback address.
type families struct {
	*bed
	a                *Access
	c                *Core
	brow, core, rtcp *net.UDPConn
	toA              netip.AddrPort
	seal             *srtp.Sender
	seq              uint16
}

// eachFamily runs a test with both sides in each family.
func eachFamily(t *testing.T, change func(*Config), test func(*testing.T, *families)) {
	six := netip.MustParseAddr("::1")
	for name, c := range map[string][2]netip.Addr{
		"4 to 4": {loopback, loopback}, "6 to 4": {six, loopback}, "4 to 6": {loopback, six}, "6 to 6": {six, six},
	} {
		t.Run(name, func(t *testing.T) { test(t, newFamilies(t, change, c[0], c[1])) })
	}
}

func newFamilies(t *testing.T, change func(*Config), access, core netip.Addr) *families {
	t.Helper()
	x := &families{brow: marked(t, access), core: marked(t, core), rtcp: marked(t, core)}
	x.bed = newBed(t, func(c *Config) {
		c.Access[0].Listen, c.Core[0].Listen = access, core
		if change != nil {
			change(c)
		}
	})
	x.a = x.access("a1")
	x.c = x.bed.core("c1", x.a)
	spec := relaySpec()
	x.configure(x.a, spec.access)
	x.configure(x.c, spec.core)
	l := x.a.Local()
	if l.Candidates[0].Address != access.String() || x.c.Local().RTP.Addr() != core {
		t.Errorf("local %+v, %+v", l.Candidates, x.c.Local().RTP)
	}
	for _, err := range []error{
		x.e.Connect(x.a, x.c), x.c.SetRemote(CoreRemote{RTP: addrPortOf(x.core), RTCP: addrPortOf(x.rtcp)}),
		x.a.SetRemote(AccessRemote{Ufrag: "abcd", Pwd: "0123456789012345678901"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	x.toA = netip.AddrPortFrom(access, l.Candidates[0].Port)
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(l.Ufrag+":abcd"),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.RawAttribute{Type: stun.AttrICEControlling, Length: 8, Value: make([]byte, 8)},
		stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: []byte{1, 2, 3, 4}},
		stun.NewShortTermIntegrity(l.Pwd), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	write(t, x.brow, m.Raw, x.toA)
	if b, _ := readMarked(t, x.brow); len(b) < 20 || b[0] != 1 || b[1] != 1 {
		t.Fatalf("no success response: % x", b)
	}
	if e := x.ev.wait(t, x.a, ICEConnected, 1); e.Pair.Remote.Address != access.String() || e.Pair.Remote.Port != addrPortOf(x.brow).Port() {
		t.Errorf("pair %+v", e.Pair)
	}
	ours, _ := srtp.ExportKeys(fixedKeys{}, srtp.AES128GCM, false)
	theirs, _ := srtp.ExportKeys(fixedKeys{}, srtp.AES128GCM, true)
	tx, rx, err := srtp.NewPair(srtp.AES128GCM, ours)
	if err != nil {
		t.Fatal(err)
	}
	if x.seal, _, err = srtp.NewPair(srtp.AES128GCM, theirs); err != nil {
		t.Fatal(err)
	}
	x.a.w.do(func() { x.a.s.t.out.tx, x.a.s.t.in.rx = tx, rx })
	return x
}

// send makes both peers send one packet.
func (x *families) send() {
	x.t.Helper()
	x.seq++
	write(x.t, x.core, packet(8, 1, x.seq, uint32(x.seq)*160, make([]byte, 160)), x.c.Local().RTP)
	prot, err := x.seal.ProtectRTP(packet(8, 2, x.seq, uint32(x.seq)*160, make([]byte, 160)))
	if err != nil {
		x.t.Fatal(err)
	}
	write(x.t, x.brow, prot, x.toA)
}

// next is the next RTP or RTCP datagram at a peer, and its mark.
func (x *families) next(u *net.UDPConn, control bool) ([]byte, int) {
	x.t.Helper()
	for range 1000 {
		b, mark := readMarked(x.t, u)
		if isControl := len(b) > 1 && b[1] >= 192 && b[1] < 224; isControl == control {
			return b, mark
		}
	}
	x.t.Fatal("none among 1000 datagrams")
	return nil, 0
}

func TestIQ05_RelayBetweenTheFamilies(t *testing.T) {
	eachFamily(t, nil, func(t *testing.T, x *families) {
		for range 3 {
			x.send()
			if b, _ := x.next(x.brow, false); len(b) != rtp.HeaderLen+160+16 {
				t.Errorf("%d bytes at the browser", len(b))
			}
			if b, _ := x.next(x.core, false); len(b) != rtp.HeaderLen+160 {
				t.Errorf("%d bytes at the core", len(b))
			}
		}
	})
}

// TestIQ10_H248_52_DSCP: what we send is marked per stream as told, RTCP like RTP, on both legs and in both families; marks of what comes in
// are not copied, and none stays when there shall be none.
func TestIQ10_H248_52_DSCP(t *testing.T) {
	eachFamily(t, func(c *Config) { c.Timers.RTCP = 20 * time.Millisecond }, func(t *testing.T, x *families) {
		for _, dscp := range [][2]int{{46, 34}, {0, 0}} {
			spec := relaySpec()
			spec.access.DSCP, spec.core.DSCP = dscp[0], dscp[1]
			x.configure(x.a, spec.access)
			x.configure(x.c, spec.core)
			x.send()
			if _, mark := x.next(x.brow, false); mark != dscp[0]<<2 {
				t.Errorf("RTP to the browser: %#x, want %#x", mark, dscp[0]<<2)
			}
			if _, mark := x.next(x.core, false); mark != dscp[1]<<2 {
				t.Errorf("RTP to the core: %#x, want %#x", mark, dscp[1]<<2)
			}
			for i, u := range map[string]*net.UDPConn{"RTCP to the browser": x.brow, "RTCP to the core": x.rtcp} {
				for len(pending(t, u)) > 0 { // reports that were on their way with the former mark
				}
				want := dscp[0] << 2
				if u == x.rtcp {
					want = dscp[1] << 2
				}
				if _, mark := x.next(u, true); mark != want {
					t.Errorf("%s: %#x, want %#x", i, mark, want)
				}
			}
		}
	})
}

// pending takes a datagram that has come already; empty: none.
func pending(t *testing.T, u *net.UDPConn) []byte {
	t.Helper()
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buf, n := make([]byte, 1500), 0
	if err := raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
		return true
	}); err != nil || n < 0 {
		return nil
	}
	return buf[:n]
}
