//go:build linux && !portable

package flow

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// tosListener is a peer that sees the TOS byte of what it gets.
func tosListener(t *testing.T) *net.UDPConn {
	t.Helper()
	u := stranger(t)
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1) }); err != nil || set != nil {
		t.Fatal(err, set)
	}
	return u
}

func readTOS(t *testing.T, u *net.UDPConn) int {
	t.Helper()
	oob := make([]byte, 128)
	_ = u.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, n, _, _, err := u.ReadMsgUDPAddrPort(make([]byte, 1500), oob)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS {
			return int(m.Data[0])
		}
	}
	t.Fatal("no TOS")
	return 0
}

func TestH248_52_DSCPOnBothSides(t *testing.T) {
	b := newBed(t, nil)
	x := newLoadCall(t, b.e, 1)
	t.Cleanup(func() {
		_ = x.b.Close()
		_ = x.s.Close()
	})
	brow, core := tosListener(t), tosListener(t)
	x.a.w.do(func() { x.a.s.check(x.a.w.now, 1, ice.Check{From: addrPortOf(brow), Nominated: true}) })
	if err := x.c.SetRemote(CoreRemote{RTP: addrPortOf(core), Filter: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}); err != nil {
		t.Fatal(err)
	}
	for seq, dscp := range []int{46, 0} {
		spec := relaySpec()
		spec.access.DSCP, spec.core.DSCP = dscp, dscp
		b.configure(x.a, spec.access)
		b.configure(x.c, spec.core)
		p := packet(8, 5, uint16(seq+1), uint32(seq+1)*160, make([]byte, 160))
		write(t, core, p, x.c.Local().RTP)
		if tos := readTOS(t, brow); tos != dscp<<2 {
			t.Errorf("to the browser: TOS %#x, want %#x", tos, dscp<<2)
		}
		p = packet(8, 6, uint16(seq+1), uint32(seq+1)*160, make([]byte, 160))
		prot, err := x.tx.ProtectRTP(p)
		if err != nil {
			t.Fatal(err)
		}
		write(t, brow, prot, netip.AddrPortFrom(loopback, x.a.locals[0].Port))
		if tos := readTOS(t, core); tos != dscp<<2 {
			t.Errorf("to the core: TOS %#x, want %#x", tos, dscp<<2)
		}
	}
}

// TestRelayOverIPv6 checks with a hand-made STUN message, since pion's full agent does not use the IPv6 loopback address.
func TestRelayOverIPv6(t *testing.T) {
	six := netip.MustParseAddr("::1")
	b := newBed(t, func(c *Config) { c.Access[0].Listen, c.Core[0].Listen = six, six })
	a, c := b.access("a1"), b.core("c1", nil)
	l := a.Local()
	if l.Candidates[0].Address != "::1" {
		t.Errorf("candidate %+v", l.Candidates)
	}
	spec := relaySpec()
	b.configure(a, spec.access)
	b.configure(c, spec.core)
	if err := b.e.Connect(a, c); err != nil {
		t.Fatal(err)
	}
	peers := [2]*net.UDPConn{}
	for i := range peers {
		u, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(six, 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = u.Close() })
		_ = u.SetReadDeadline(time.Now().Add(5 * time.Second))
		peers[i] = u
	}
	brow, core := peers[0], peers[1]
	if err := c.SetRemote(CoreRemote{RTP: addrPortOf(core)}); err != nil {
		t.Fatal(err)
	}
	if err := a.SetRemote(AccessRemote{Ufrag: "abcd", Pwd: "0123456789012345678901"}); err != nil {
		t.Fatal(err)
	}
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(l.Ufrag+":abcd"),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.RawAttribute{Type: stun.AttrICEControlling, Length: 8, Value: make([]byte, 8)},
		stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: []byte{1, 2, 3, 4}},
		stun.NewShortTermIntegrity(l.Pwd), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	write(t, brow, m.Raw, netip.AddrPortFrom(six, l.Candidates[0].Port))
	buf := make([]byte, 1500)
	if n, err := brow.Read(buf); err != nil || n < 20 || buf[0] != 1 || buf[1] != 1 {
		t.Fatalf("no success response: % x, %v", buf[:n], err)
	}
	if e := b.ev.wait(t, a, ICEConnected, 1); e.Pair.Remote.Address != "::1" || e.Pair.Remote.Port != addrPortOf(brow).Port() {
		t.Errorf("pair %+v", e.Pair)
	}
	keys, err := srtp.ExportKeys(fixedKeys{}, srtp.AES128GCM, false)
	if err != nil {
		t.Fatal(err)
	}
	tx, rx, err := srtp.NewPair(srtp.AES128GCM, keys)
	if err != nil {
		t.Fatal(err)
	}
	a.w.do(func() { a.s.t.out.tx, a.s.t.in.rx = tx, rx })
	write(t, core, packet(8, 1, 1, 160, make([]byte, 160)), c.Local().RTP)
	if n, err := brow.Read(buf); err != nil || n != rtp.HeaderLen+160+16 {
		t.Errorf("%d bytes at the browser, %v", n, err)
	}
	theirs, _ := srtp.ExportKeys(fixedKeys{}, srtp.AES128GCM, true)
	peer, _, _ := srtp.NewPair(srtp.AES128GCM, theirs)
	prot, err := peer.ProtectRTP(packet(8, 2, 1, 160, make([]byte, 160)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, brow, prot, netip.AddrPortFrom(six, l.Candidates[0].Port))
	if n, err := core.Read(buf); err != nil || n != rtp.HeaderLen+160 {
		t.Errorf("%d bytes at the core, %v", n, err)
	}
}
