//go:build linux && !portable

package flow

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// TestR6544_IPv6: a call over TCP in an IPv6 realm, by hand, since pion's agent does not use the IPv6 loopback address.
func TestR6544_IPv6(t *testing.T) {
	six := netip.MustParseAddr("::1")
	port := freeports.Port(t)
	b := newBed(t, func(c *Config) { c.Access[0].Listen, c.Access[0].TCP = six, port })
	x := &call{bed: b, a: b.access("a1")}
	x.joinCore(t, "c1", relaySpec())
	a, c, s := x.a, x.c, x.s
	if err := a.SetRemote(AccessRemote{Ufrag: "abcd", Pwd: "0123456789012345678901"}); err != nil {
		t.Fatal(err)
	}
	if l := a.Local().Candidates; len(l) != 2 || l[1].Address != "::1" || l[1].Port != port {
		t.Fatalf("candidates %+v", l)
	}
	conn, err := net.Dial("tcp6", netip.AddrPortFrom(six, port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(wait.Limit))
	if _, err := conn.Write(frame(checkFor(t, a.Local().Ufrag, a.Local().Pwd))); err != nil {
		t.Fatal(err)
	}
	if p := readFramed(t, conn); rtp.Classify(p) != rtp.STUN {
		t.Fatalf("no response: % x", p)
	}
	if e := b.ev.wait(t, a, ICEConnected, 1); e.Pair.Remote.Address != "::1" || e.Pair.Remote.Transport != "tcp" {
		t.Errorf("pair %+v", e.Pair)
	}
	seal, open := keyed(t, a)
	s.send(c.Local().RTP, packet(8, 1, 1, 160, make([]byte, 160)))
	for {
		p := readFramed(t, conn)
		if rtp.Classify(p) != rtp.RTP {
			continue // a report
		}
		if plain, err := open.OpenRTP(p); err != nil || len(plain) != rtp.HeaderLen+160 {
			t.Errorf("%d bytes at the browser, %v", len(plain), err)
		}
		break
	}
	prot, err := seal.ProtectRTP(packet(8, 2, 1, 160, make([]byte, 160)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(frame(prot)); err != nil {
		t.Fatal(err)
	}
	if p := s.read(); len(p) != rtp.HeaderLen+160 {
		t.Errorf("%d bytes at the core", len(p))
	}
}

func readFramed(t *testing.T, c net.Conn) []byte {
	t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, binary.BigEndian.Uint16(head[:]), 2048)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestR8835_RealmsOfBothFamiliesAndBehindNAT: realms of IPv4 and IPv6 side by side, each with its own candidates; behind a 1:1 NAT the
// candidates of both transports have the outer address (RFC 8445 §5.1.1.1 host candidates, signalled by configuration).
func TestR8835_RealmsOfBothFamiliesAndBehindNAT(t *testing.T) {
	p4, p6 := freeports.Port(t), freeports.Port(t)
	b := newBed(t, func(c *Config) {
		c.Access = []AccessRealm{
			{Name: "access", Listen: loopback, Advertise: netip.MustParseAddr("203.0.113.7"), TCP: p4},
			{Name: "six", Listen: netip.MustParseAddr("::1"), TCP: p6},
			{Name: "no-tcp", Listen: loopback},
		}
	})
	for realm, want := range map[string][]Candidate{
		"access": {{Transport: "udp", Address: "203.0.113.7"}, {Transport: "tcp", Address: "203.0.113.7", Port: p4}},
		"six":    {{Transport: "udp", Address: "::1"}, {Transport: "tcp", Address: "::1", Port: p6}},
		"no-tcp": {{Transport: "udp", Address: "127.0.0.1"}},
	} {
		a, err := b.e.NewAccess(AccessSpec{ID: realm, Realm: realm})
		if err != nil {
			t.Fatal(err)
		}
		got := a.Local().Candidates
		if len(got) != len(want) {
			t.Fatalf("%s: candidates %+v", realm, got)
		}
		for i, c := range got {
			if c.Transport != want[i].Transport || c.Address != want[i].Address || want[i].Port != 0 && c.Port != want[i].Port || c.Component != 1 || c.Type != "host" {
				t.Errorf("%s: candidate %+v", realm, c)
			}
		}
	}
	// Whoever comes to one realm's port with another realm's credentials is nobody there.
	a, err := b.e.NewAccess(AccessSpec{ID: "x", Realm: "no-tcp"})
	if err != nil {
		t.Fatal(err)
	}
	c := dialTCP(t, netip.AddrPortFrom(loopback, p4))
	if _, err := c.Write(frame(checkFor(t, a.Local().Ufrag, a.Local().Pwd))); err != nil {
		t.Fatal(err)
	}
	isClosed(t, c)
}

// TestR8835_OneRealmOfBothFamilies: a browser of either family, or one that moves from the one to the other in a restart, over UDP and TCP.
func TestR8835_OneRealmOfBothFamilies(t *testing.T) {
	six, port := netip.MustParseAddr("::1"), freeports.Port(t)
	for name, c := range map[string][2]netip.Addr{"IPv4 first": {loopback, six}, "IPv6 first": {six, loopback}} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, func(cfg *Config) { cfg.Access[0].Listen, cfg.Access[0].Second, cfg.Access[0].TCP = c[0], c[1], port })
			x := &call{bed: b, a: b.access("a1")}
			x.joinCore(t, "c1", relaySpec())
			a, core, s := x.a, x.c, x.s
			seal, open := keyed(t, a)

			l := a.Local().Candidates
			if len(l) != 4 || l[0].Transport+l[1].Transport+l[2].Transport+l[3].Transport != "udpudptcptcp" || l[0].Address != c[0].String() || l[1].Address != c[1].String() {
				t.Fatalf("candidates %+v", l)
			}
			for i := range l[1:] {
				if l[i+1].Priority >= l[i].Priority || l[i+1].Foundation == l[i].Foundation {
					t.Errorf("candidates %+v", l)
				}
			}
			for i, cand := range append(l, l...) {
				if err := a.SetRemote(AccessRemote{Ufrag: "abcd", Pwd: "012345678901234567890" + string(rune('a'+i))}); err != nil {
					t.Fatal(err)
				}
				to := netip.AddrPortFrom(netip.MustParseAddr(cand.Address), cand.Port)
				conn, err := net.Dial(cand.Transport, to.String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				p := &carried{t: t, c: conn, framed: cand.Transport == "tcp"}
				p.send(checkFor(t, a.Local().Ufrag, a.Local().Pwd))
				if e := b.ev.wait(t, a, ICEConnected, i+1); e.Pair.Local != cand || e.Pair.Remote.Address != cand.Address || e.Pair.Remote.Transport != cand.Transport {
					t.Errorf("pair %+v", e.Pair)
				}
				s.send(core.Local().RTP, packet(8, 1, uint16(i+1), uint32(i+1)*160, make([]byte, 160)))
				if plain, err := open.OpenRTP(p.media()); err != nil || len(plain) != rtp.HeaderLen+160 {
					t.Errorf("%s %s: %d bytes at the browser, %v", cand.Transport, cand.Address, len(plain), err)
				}
				prot, err := seal.ProtectRTP(packet(8, 2, uint16(i+1), uint32(i+1)*160, make([]byte, 160)))
				if err != nil {
					t.Fatal(err)
				}
				p.send(prot)
				if got := s.read(); len(got) != rtp.HeaderLen+160 {
					t.Errorf("%d bytes at the core", len(got))
				}
			}
		})
	}
}

// carried is a browser's end of a pair, in frames or not.
type carried struct {
	t      *testing.T
	c      net.Conn
	framed bool
}

func (p *carried) send(b []byte) {
	p.t.Helper()
	if p.framed {
		b = frame(b)
	}
	if _, err := p.c.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// media waits for a packet of media.
func (p *carried) media() []byte {
	p.t.Helper()
	_ = p.c.SetReadDeadline(time.Now().Add(wait.Limit))
	for {
		b := make([]byte, 2048)
		if p.framed {
			b = readFramed(p.t, p.c)
		} else {
			n, err := p.c.Read(b)
			if err != nil {
				p.t.Fatal(err)
			}
			b = b[:n]
		}
		if rtp.Classify(b) == rtp.RTP {
			return b
		}
	}
}

// TestR8839_1_NamesAreOfNoUse: an offer whose candidates are all mDNS names connects: the peer's checks tell its address (RFC 8445 §7.3.1.3).
func TestR8839_1_NamesAreOfNoUse(t *testing.T) {
	b := newBed(t, nil)
	a := b.access("a1")
	b.configure(a, relaySpec().access)
	br := newBrowser(t)
	r := br.remote(RoleServer)
	r.Candidates = []Candidate{
		{Foundation: "1", Component: 1, Transport: "udp", Priority: 2122260223, Address: "7c1f3a52-1d7e-4a53-9a53-7c1f3a521d7e.local", Port: 52341, Type: "host"},
		{Foundation: "2", Component: 1, Transport: "tcp", Priority: 1518280447, Address: "7c1f3a52-1d7e-4a53-9a53-7c1f3a521d7e.local", Port: 9, Type: "host", TCPType: "active"},
	}
	if err := a.SetRemote(r); err != nil {
		t.Fatal(err)
	}
	br.connect(a.Local())
	if e := b.ev.wait(t, a, ICEConnected, 1); e.Pair.Remote.Type != "prflx" || e.Pair.Remote.Address != "127.0.0.1" {
		t.Errorf("pair %+v", e.Pair)
	}
}
