package flow

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// intruder is somebody on another host, and on another port of the peer's host, who knows everything of the call but its keys: addresses,
// ufrags, SSRCs, payload types and sequence numbers, and every packet as it is on the wire.
type intruder struct {
	*call
	away, beside *net.UDPConn
	hello        []byte // a whole ClientHello
	evil         *peerCrypto
	secure       bool // the core peer has SRTP
	p            *peerCrypto
	seq          uint16
	also         func(when string) uint64 // what it does beside datagrams, and how many refusals that makes
	echo         func(up []byte)          // repeats a packet of the browser otherwise than by datagrams
	listens      func(when string)        // checks that it has heard nothing otherwise
}

// mark is the payload of everything that an intruder sends as media.
const mark = 0xee

func newIntruder(t *testing.T, x *call) *intruder {
	t.Helper()
	i := &intruder{call: x, beside: stranger(t)}
	var err error
	if i.away, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.9:0"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.away.Close() })
	i.hello = clientHello(t)
	i.also, i.echo, i.listens = func(string) uint64 { return 0 }, func([]byte) {}, func(string) {}
	return i
}

// clientHello is the first flight of a DTLS client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	cert, err := dtls.NewCertificate(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	flight := make(chan []byte, 8)
	link := dtls.NewLink(testPool, func(b []byte) error {
		select {
		case flight <- bytes.Clone(b):
		default:
		}
		return nil
	})
	c, err := piondtls.ClientWithOptions(link, link.RemoteAddr(), piondtls.WithCertificates(cert), piondtls.WithInsecureSkipVerify(true),
		piondtls.WithSRTPProtectionProfiles(piondtls.SRTP_AEAD_AES_128_GCM))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = c.HandshakeContext(ctx); close(done) }()
	hello := <-flight
	cancel()
	<-done
	_ = c.Close()
	_ = link.Close()
	return hello
}

// forged are the datagrams of one kind; cloned: with the SSRC of the peer of side and the sequence number that is due.
func (i *intruder) forged(kind string, access, cloned bool) [][]byte {
	ssrc, pt := uint32(0xbad), uint8(8)
	if cloned {
		if ssrc = 0xcc; access {
			ssrc = 0xbb
		}
	}
	body := bytes.Repeat([]byte{mark}, 160)
	media := packet(pt, ssrc, i.seq+1, uint32(i.seq+1)*160, body)
	switch kind {
	case "media":
		return [][]byte{media, i.evil.protect(media)}
	case "rtcp":
		bye, report := make([]byte, 8), lossReport(ssrc, i.c.Local().SSRC, 200) // most is lost
		bye[0], bye[1], bye[3] = 0x81, 203, 1
		binary.BigEndian.PutUint32(bye[4:], ssrc)
		return [][]byte{append(bytes.Clone(report), bye...), report}
	case "stun":
		l := i.a.Local()
		theirs := "none"
		if i.b != nil {
			theirs = i.b.remote(0).Ufrag
		}
		user := stun.NewUsername(l.Ufrag + ":" + theirs)
		nominate := []stun.Setter{
			stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.RawAttribute{Type: stun.AttrICEControlling, Length: 8, Value: make([]byte, 8)},
			stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: []byte{110, 0, 1, 255}},
		}
		var out [][]byte
		for _, how := range [][]stun.Setter{
			{stun.TransactionID, stun.BindingRequest, user, stun.NewShortTermIntegrity("not the password of the agent"), stun.Fingerprint},
			{stun.TransactionID, stun.BindingRequest, user, stun.Fingerprint}, // no integrity at all
			{stun.TransactionID, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.IPv4(127, 0, 0, 9), Port: 9}, stun.Fingerprint},
			{stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication), stun.Fingerprint},
		} {
			m, err := stun.Build(append(append([]stun.Setter{how[0], how[1]}, nominate...), how[2:]...)...)
			if err != nil {
				i.t.Fatal(err)
			}
			out = append(out, m.Raw)
		}
		return out
	}
	return [][]byte{i.hello}
}

// attack sends everything to both sides of the gateway, and more with the peers' own addresses where keys are what protects.
func (i *intruder) attack(when string) {
	i.t.Helper()
	before := i.sight()
	refused, n := i.refused(), uint64(0)
	for _, kind := range []string{"media", "rtcp", "stun", "hello"} {
		for _, cloned := range []bool{false, true} {
			for _, b := range i.forged(kind, true, cloned) {
				write(i.t, i.away, b, i.accessAddr())
				write(i.t, i.beside, b, i.accessAddr())
			}
			for _, b := range i.forged(kind, false, cloned) {
				write(i.t, i.away, b, i.c.Local().RTP)
				write(i.t, i.away, b, i.c.Local().RTCP)
				write(i.t, i.beside, b, i.c.Local().RTP)
				n += 3
			}
			if kind == "stun" {
				n += 2 * 2 // responses and indications; what becomes of requests is counted by the agents
				continue
			}
			n += 2 * uint64(len(i.forged(kind, true, cloned)))
			if i.b != nil && i.b.conn != nil && kind == "media" { // the browser's address is known by now, not so its keys
				for _, b := range i.forged(kind, true, cloned) {
					if _, err := i.b.conn.Write(b); err != nil {
						i.t.Fatal(err)
					}
					n++
				}
			}
			if i.secure && i.s != nil && kind != "hello" {
				for _, b := range i.forged(kind, false, cloned) {
					i.s.send(i.c.Local().RTP, b)
					write(i.t, i.s.rtcp, b, i.c.Local().RTCP) // a report in clear, also where keys are not known yet
					n += 2
				}
			}
		}
	}
	n += i.also(when)
	eventually(i.t, when+": everything refused and counted", func() bool { return i.refused() >= refused+n })
	if got := i.refused(); got != refused+n {
		i.t.Errorf("%s: %d refused, %d sent", when, got-refused, n)
	}
	if after := i.sight(); after != before {
		i.t.Fatalf("%s: a stranger moves something:\n%s\n%s", when, before, after)
	}
}

// refused counts what has been dropped, by anyone.
func (i *intruder) refused() (n uint64) {
	for _, d := range []map[string]uint64{i.a.Stats().Dropped, i.c.Stats().Dropped} {
		for _, c := range d {
			n += c
		}
	}
	for _, l := range i.e.listeners {
		n += l.Refused.Load()
	}
	return n + i.e.Counters().Dropped
}

// sight is all that an intruder could wish to change.
func (i *intruder) sight() string {
	a, c := i.a.Stats(), i.c.Stats()
	var kinds []int
	for k := range EventKind(DTMF + 1) {
		n := 1
		for ; ; n++ {
			_, ok1 := i.ev.find(i.a, k, n)
			_, ok2 := i.ev.find(i.c, k, n)
			if !ok1 && !ok2 {
				break
			}
		}
		kinds = append(kinds, n-1)
	}
	return fmt.Sprintf("pairs %q %q events %v received %d %d sent %d %d loss %d %d",
		a.SelectedPair, c.SelectedPair, kinds, a.PacketsReceived, c.PacketsReceived, a.PacketsSent, c.PacketsSent, a.RemoteLossPermille, c.RemoteLossPermille)
}

// talk sends a few packets each way. The intruder sends each of them first, as it is on the wire, and is not believed for it; both peers
// hear each other and nobody else, without a gap in our numbers.
func (i *intruder) talk(when string) {
	i.t.Helper()
	for range 3 {
		i.seq++
		body := bytes.Repeat([]byte{byte(i.seq)}, 160)
		up, err := i.b.tx.ProtectRTP(packet(8, 0xbb, i.seq, uint32(i.seq)*160, body))
		if err != nil {
			i.t.Fatal(err)
		}
		write(i.t, i.away, up, i.accessAddr())
		write(i.t, i.beside, up, i.accessAddr())
		i.echo(up)
		if _, err := i.b.conn.Write(up); err != nil {
			i.t.Fatal(err)
		}
		got := i.s.read()
		if i.secure {
			got = i.p.open(got)
		}
		i.heard(when, "core", got, body)
		down := packet(8, 0xcc, i.seq, uint32(i.seq)*160, body)
		if i.secure {
			down = i.p.protect(down)
		}
		write(i.t, i.away, down, i.c.Local().RTP)
		write(i.t, i.beside, down, i.c.Local().RTP)
		i.s.send(i.c.Local().RTP, down)
		i.heard(when, "browser", i.b.read(), body)
	}
	i.deaf(when)
}

func (i *intruder) heard(when, who string, p rtp.Packet, body []byte) {
	i.t.Helper()
	if !bytes.Equal(p.Payload(), body) {
		i.t.Fatalf("%s: the %s hears %x..., not its peer's %x...", when, who, p.Payload()[:4], body[:4])
	}
}

// deaf checks that the intruder has got nothing but, at most, refusals of checks.
func (i *intruder) deaf(when string) {
	i.t.Helper()
	buf := make([]byte, 2048)
	for _, u := range []*net.UDPConn{i.away, i.beside} {
		for {
			_ = u.SetReadDeadline(time.Now().Add(time.Millisecond)) // what there is, is there: loopback
			n, err := u.Read(buf)
			if err != nil {
				break
			}
			m := stun.Message{Raw: buf[:n]}
			if err := m.Decode(); err != nil || m.Type.Class != stun.ClassErrorResponse {
				i.t.Fatalf("%s: the stranger gets %x", when, buf[:n])
			}
		}
	}
	i.listens(when)
}

// hold and resume as a re-INVITE does.
func (i *intruder) mode(m Mode) {
	spec := relaySpec()
	spec.access.Mode, spec.core.Mode = m, m
	i.configure(i.a, spec.access)
	i.configure(i.c, spec.core)
}

// agree tells the core termination of its peer.
func (i *intruder) agree(latch LatchMode) {
	i.t.Helper()
	r := CoreRemote{RTP: i.s.addr(), RTCP: addrPortOf(i.s.rtcp), Latch: latch}
	if latch != LatchOff {
		r.RTP = netip.AddrPortFrom(loopback, 9)
		r.Filter = []netip.Prefix{netip.PrefixFrom(loopback, 32)}
		if !i.secure { // nothing but the port tells the peer from its neighbour
			r.FilterPorts = [2]uint16{i.s.addr().Port(), i.s.addr().Port()}
		}
	}
	if i.secure {
		r.Secure, r.Crypto = true, i.p.own
	}
	if err := i.c.SetRemote(r); err != nil {
		i.t.Fatal(err)
	}
}

// attackLatching: who sends first does not capture the port.
func (i *intruder) attackLatching() {
	i.t.Helper()
	i.attack("latching")
	i.seq++
	body := bytes.Repeat([]byte{byte(i.seq)}, 160)
	first := packet(8, 0xcc, i.seq, uint32(i.seq)*160, body)
	if i.secure {
		first = i.p.protect(first)
	}
	i.s.send(i.c.Local().RTP, first)
	i.heard("latching", "browser", i.b.read(), body)
	if e := i.ev.wait(i.t, i.c, Latched, 1); e.Addr != i.s.addr() {
		i.t.Fatalf("latched %s", e.Addr)
	}
	i.attack("latched")
	i.talk("latched")
}
