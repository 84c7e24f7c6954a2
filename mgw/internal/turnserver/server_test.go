package turnserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/pionlog"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	oldSecret = "the secret of last month"
	newSecret = "the secret of this month"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// bed is a server on loopback, and a media port of ours that echoes.
type bed struct {
	*Server
	t       *testing.T
	secrets atomic.Pointer[[]string]
	now     atomic.Pointer[time.Time] // nil: the real time
	media   netip.AddrPort            // as it is; the clients know it by advertised
	other   netip.AddrPort            // another service on the same machine
	heard   atomic.Int64              // packets at other
	relay   [2]uint16                 // range of the relayed addresses
}

// advertised is the address of the media port that the clients are told. Nothing listens there: packets must be led to loopback.
var advertised = netip.MustParseAddr("203.0.113.7")

func newBed(t *testing.T, change ...func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t}
	b.secrets.Store(&[]string{newSecret, oldSecret})
	b.media = echo(t, func([]byte) {})
	b.other = echo(t, func([]byte) { b.heard.Add(1) })
	cert := tlstest.SelfSigned(t, "turn.example", "turn.example")
	any := []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}
	low, high := freeports.UDPRange(t, 60)
	b.relay = [2]uint16{low, high}
	cfg := Config{
		UDP: any, TCP: any, TLS: any, Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert.Certificate, nil },
		Realm: "isthmus", Secrets: func() []string { return *b.secrets.Load() },
		Relay: Relay{Listen: loopback, PortMin: low, PortMax: high},
		Peers: Peers{Own: []OwnPeer{{Local: loopback, Advertise: advertised, PortMin: b.media.Port(), PortMax: b.media.Port()}}},
		Log:   zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Now: func() time.Time {
			if at := b.now.Load(); at != nil {
				return *at
			}
			return time.Now()
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if b.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if n, m := b.Allocations(), b.Connections(); n+m+len(b.users)+len(b.sources)+len(b.bySource) != 0 {
			t.Errorf("left: %d allocations, %d connections, %v %v %v", n, m, b.users, b.sources, b.bySource)
		}
	})
	return b
}

// echo is a UDP port that sends back what it gets.
func echo(t *testing.T, got func([]byte)) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(p)
			if err != nil {
				return
			}
			got(p[:n])
			_, _ = conn.WriteToUDPAddrPort(p[:n], from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return addrPort(conn.LocalAddr())
}

func (b *bed) credential(user string, life time.Duration) turnauth.Credential {
	return turnauth.Issue(newSecret, user, time.Now(), life)
}

// client connects pion/turn's client by a transport.
func (b *bed) client(transport string, cred turnauth.Credential) *turn.Client {
	b.t.Helper()
	udp, tcp, secure := b.Addresses()
	var conn net.PacketConn
	at := ""
	switch transport {
	case "udp":
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.t.Fatal(err)
		}
		conn, at = c, udp[0].String()
	case "tcp":
		c, err := net.Dial("tcp", tcp[0].String())
		if err != nil {
			b.t.Fatal(err)
		}
		conn, at = turn.NewSTUNConn(c), tcp[0].String()
	case "tls":
		c, err := tls.Dial("tcp", secure[0].String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			b.t.Fatal(err)
		}
		conn, at = turn.NewSTUNConn(c), secure[0].String()
	}
	c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: at, TURNServerAddr: at, Conn: conn, Username: cred.Username, Password: cred.Password,
		Realm: "isthmus", LoggerFactory: pionlog.Silent{}, RTO: 500 * time.Millisecond})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close(); _ = conn.Close() })
	return c
}

func (b *bed) allocate(c *turn.Client) net.PacketConn {
	b.t.Helper()
	conn, err := c.Allocate()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (b *bed) count(reason string) int { return int(testutil.ToFloat64(b.metrics.refused[reason])) }

func (b *bed) until(what string, holds func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within 10 s", what)
		}
		<-tick.C
	}
}

// code is the STUN error code of a client's error.
func code(err error) stun.ErrorCode {
	var e *stun.TurnError
	if errors.As(err, &e) {
		return e.ErrorCodeAttr.Code
	}
	return 0
}

func (b *bed) peer() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(advertised, b.media.Port()))
}

// exchange sends to the peer until it is echoed.
func (b *bed) exchange(conn net.PacketConn, text string) {
	b.t.Helper()
	p := make([]byte, 2048)
	for range 20 {
		if _, err := conn.WriteTo([]byte(text), b.peer()); err != nil {
			b.t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, from, err := conn.ReadFrom(p)
		if err != nil {
			continue
		}
		if string(p[:n]) == text && from.String() == b.peer().String() {
			return
		}
	}
	b.t.Fatalf("%q was not echoed", text)
}

// The client sends the first packets as indications and binds a channel meanwhile: both ways are taken, over each transport.
func TestR8656_RelayOverEachTransport(t *testing.T) {
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			b := newBed(t)
			conn := b.allocate(b.client(transport, b.credential("alice", time.Hour)))
			if a := addrPort(conn.LocalAddr()); a.Addr() != loopback || a.Port() < b.relay[0] || a.Port() > b.relay[1] {
				t.Errorf("relayed address %v", a)
			}
			for i := range 30 {
				b.exchange(conn, fmt.Sprintf("%s packet %d%s", transport, i, strings.Repeat(".", i%4)))
			}
			if got := testutil.ToFloat64(b.metrics.octets["to_peer"]); got < 300 {
				t.Errorf("%v octets", got)
			}
			if got := testutil.ToFloat64(b.metrics.allocations.WithLabelValues(transport)); got != 1 || b.Allocations() != 1 {
				t.Errorf("%v allocations", got)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			b.until("the allocation to be gone", func() bool { return b.Allocations() == 0 })
		})
	}
}

func TestR8489_BindingNeedsNoCredential(t *testing.T) {
	b := newBed(t)
	c := b.client("udp", turnauth.Credential{})
	if a, err := c.SendBindingRequest(); err != nil || !addrPort(a).Addr().IsLoopback() {
		t.Errorf("%v %v", a, err)
	}
}

func TestR8656_CredentialsThatAreNotTaken(t *testing.T) {
	b := newBed(t)
	forged := b.credential("alice", time.Hour)
	forged.Username = strings.Replace(forged.Username, "alice", "mallory", 1)
	for _, x := range []struct {
		name, reason string
		cred         turnauth.Credential
	}{
		{"expired", refusedExpired, b.credential("alice", -time.Hour)},
		{"user name of another", refusedForged, forged},
		{"unknown secret", refusedForged, turnauth.Issue("nobody has this secret", "alice", time.Now(), time.Hour)},
		{"no user name of ours", refusedUsername, turnauth.Credential{Username: "alice", Password: turnauth.Password(newSecret, "alice")}},
	} {
		before := b.count(x.reason)
		_, err := b.client("udp", x.cred).Allocate()
		if code(err) != stun.CodeUnauthorized || b.count(x.reason) == before {
			t.Errorf("%s: %v, counted %d", x.name, err, b.count(x.reason)-before)
		}
	}
	if b.Allocations() != 0 {
		t.Error("an allocation was made")
	}
	b.allocate(b.client("udp", b.credential("alice", -b.cfg.Skew/2))) // the clocks differ
}

func TestSecretsAreChangedWhileServing(t *testing.T) {
	b := newBed(t)
	old := turnauth.Issue(oldSecret, "alice", time.Now(), time.Hour)
	conn := b.allocate(b.client("tcp", old))
	b.exchange(conn, "while both are taken")
	b.secrets.Store(&[]string{newSecret})
	if _, err := b.client("tcp", old).Allocate(); code(err) != stun.CodeUnauthorized {
		t.Errorf("after the change: %v", err)
	}
	b.allocate(b.client("tcp", b.credential("alice", time.Hour)))
}

// A browser cannot be given a new credential in a call: what it has must keep the allocation alive.
func TestExpiredCredentialKeepsItsAllocation(t *testing.T) {
	b := newBed(t)
	cred := b.credential("alice", time.Hour)
	raw := b.raw()
	raw.allocate(cred)
	later := time.Now().Add(2 * time.Hour)
	b.now.Store(&later)
	if m := raw.do(cred, stun.MethodRefresh); m.Type.Class != stun.ClassSuccessResponse {
		t.Errorf("refresh: %v", m)
	}
	if m := b.raw().try(cred, stun.MethodAllocate, udpTransport); errorCode(m) != stun.CodeUnauthorized {
		t.Errorf("allocation: %v", m)
	}
}

func TestR8656_5_RequestsWithoutTheirAllocation(t *testing.T) {
	b := newBed(t)
	raw := b.raw()
	raw.nonceOf()
	if m := raw.do(b.credential("alice", time.Hour), stun.MethodRefresh); errorCode(m) != stun.CodeAllocMismatch {
		t.Errorf("no allocation: %v", m)
	}
	raw.allocate(b.credential("alice", time.Hour))
	if m := raw.do(b.credential("mallory", time.Hour), stun.MethodRefresh); errorCode(m) != stun.CodeWrongCredentials {
		t.Errorf("of another: %v", m)
	}
	if m := raw.do(b.credential("alice", time.Hour), stun.MethodAllocate, udpTransport); errorCode(m) != stun.CodeAllocMismatch {
		t.Errorf("second: %v", m)
	}
}

func TestR8656_14_ErrorCodes(t *testing.T) {
	b := newBed(t)
	cred := b.credential("alice", time.Hour)
	for name, x := range map[string]struct {
		attr []stun.Setter
		want stun.ErrorCode
	}{
		"relayed TCP":  {[]stun.Setter{stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{6, 0, 0, 0}}}, stun.CodeUnsupportedTransProto},
		"IPv6":         {[]stun.Setter{udpTransport, stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{2, 0, 0, 0}}}, stun.CodeAddrFamilyNotSupported},
		"no such port": {[]stun.Setter{udpTransport, stun.RawAttribute{Type: stun.AttrReservationToken, Value: []byte("12345678")}}, stun.CodeInsufficientCapacity},
	} {
		if m := b.raw().try(cred, stun.MethodAllocate, x.attr...); errorCode(m) != x.want {
			t.Errorf("%s: %v", name, m)
		}
	}
	if b.Allocations() != 0 {
		t.Error("an allocation was made")
	}
}

func TestR8656_7_EvenPortAndTheNext(t *testing.T) {
	b := newBed(t)
	cred := b.credential("alice", time.Hour)
	relayed := func(m *stun.Message) int {
		var a stun.XORMappedAddress
		if err := a.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
			t.Fatalf("%v in %v", err, m)
		}
		return a.Port
	}
	m := b.raw().try(cred, stun.MethodAllocate, udpTransport, stun.RawAttribute{Type: stun.AttrEvenPort, Value: []byte{0x80}})
	even := relayed(m)
	token, err := m.Get(stun.AttrReservationToken)
	if even%2 != 0 || err != nil {
		t.Fatalf("port %d, %v", even, err)
	}
	raw := b.raw()
	if got := relayed(raw.try(cred, stun.MethodAllocate, udpTransport, stun.RawAttribute{Type: stun.AttrReservationToken, Value: token})); got != even+1 {
		t.Errorf("port %d after %d", got, even)
	}
	if b.Allocations() != 2 {
		t.Errorf("%d allocations", b.Allocations())
	}
}

// No open relay: not to other services of this machine, nor to other ports of the media address, nor anywhere else (RFC 8656 §21.1.6).
func TestR8656_21_ForbiddenPeers(t *testing.T) {
	b := newBed(t)
	cred := b.credential("alice", time.Hour)
	raw := b.raw()
	raw.allocate(cred)
	for _, peer := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "203.0.113.8"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(peer), b.other.Port())
		before := b.count(refusedPeer)
		if m := raw.do(cred, stun.MethodCreatePermission, xorPeer(at)); errorCode(m) != stun.CodeForbidden {
			t.Errorf("permission for %s: %v", peer, m)
		}
		if m := raw.do(cred, stun.MethodChannelBind, channelNumber, xorPeer(at)); errorCode(m) != stun.CodeForbidden {
			t.Errorf("channel to %s: %v", peer, m)
		}
		if got := b.count(refusedPeer) - before; got != 2 {
			t.Errorf("%s: %d refusals counted", peer, got)
		}
	}
	// A permission is for an address: the other port is refused packet by packet.
	at := netip.AddrPortFrom(advertised, b.other.Port())
	if m := raw.do(cred, stun.MethodChannelBind, channelNumber, xorPeer(at)); m.Type.Class != stun.ClassSuccessResponse {
		t.Fatalf("channel: %v", m)
	}
	raw.send([]byte{0x40, 0x01, 0, 4, 'e', 'v', 'i', 'l'})
	b.until("the packet to be dropped", func() bool { return b.count(droppedPeer) > 0 })
	if b.heard.Load() != 0 {
		t.Error("another service was reached")
	}
}

func TestPeersByPrefix(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Peers.Prefixes = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	cred := b.credential("alice", time.Hour)
	raw := b.raw()
	raw.allocate(cred)
	if m := raw.do(cred, stun.MethodChannelBind, channelNumber, xorPeer(b.other)); m.Type.Class != stun.ClassSuccessResponse {
		t.Fatalf("channel: %v", m)
	}
	raw.send([]byte{0x40, 0x01, 0, 4, 'g', 'o', 'o', 'd'})
	if got := raw.receive(); string(got) != "\x40\x01\x00\x04good" {
		t.Errorf("%q", got)
	}
}

// What a peer sends that the client has given no permission does not reach it.
func TestR8656_9_NoPermissionNoPacket(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Peers.Prefixes = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	cred := b.credential("alice", time.Hour)
	raw := b.raw()
	relayed := raw.allocate(cred)
	stranger, err := net.Dial("udp4", relayed.String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Write([]byte("unasked")); err != nil {
		t.Fatal(err)
	}
	b.until("the packet to come", func() bool { return testutil.ToFloat64(b.metrics.octets["to_client"]) > 0 })
	if m := raw.do(cred, stun.MethodRefresh); m.Type.Class != stun.ClassSuccessResponse { // the next that comes is the answer
		t.Errorf("%v", m)
	}
}

func TestQuotas(t *testing.T) {
	for name, x := range map[string]struct {
		quota  Quota
		reason string
		want   stun.ErrorCode
		user   string
	}{
		"user":   {Quota{PerUser: 2}, refusedUserQuota, stun.CodeAllocQuotaReached, "alice"},
		"source": {Quota{PerSource: 2}, refusedSourceQuota, stun.CodeAllocQuotaReached, "bob"},
		"total":  {Quota{Total: 2}, refusedTotalQuota, stun.CodeInsufficientCapacity, "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, func(c *Config) { c.Quota = x.quota })
			first := b.raw()
			first.allocate(b.credential("alice", time.Hour))
			b.raw().allocate(b.credential("alice", time.Hour))
			if m := b.raw().try(b.credential(x.user, time.Hour), stun.MethodAllocate, udpTransport); errorCode(m) != x.want || b.count(x.reason) != 1 {
				t.Errorf("%v, counted %d", m, b.count(x.reason))
			}
			first.do(b.credential("alice", time.Hour), stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: []byte{0, 0, 0, 0}})
			b.until("one to be given back", func() bool { return b.Allocations() == 1 })
			b.raw().allocate(b.credential(x.user, time.Hour))
		})
	}
}

func TestDrainRefusesNewUsersOnly(t *testing.T) {
	b := newBed(t)
	b.raw().allocate(b.credential("alice", time.Hour))
	b.Drain()
	if m := b.raw().try(b.credential("bob", time.Hour), stun.MethodAllocate, udpTransport); errorCode(m) != stun.CodeInsufficientCapacity {
		t.Errorf("%v", m)
	}
	b.raw().allocate(b.credential("alice", time.Hour))
}

func TestBandwidth(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Quota.Bandwidth = 8 * 2 * maxMessage }) // two packets a second, one at once
	at := time.Now()
	b.now.Store(&at)
	cred := b.credential("alice", time.Hour)
	raw := b.raw()
	raw.allocate(cred)
	raw.do(cred, stun.MethodChannelBind, channelNumber, xorPeer(netip.AddrPortFrom(advertised, b.media.Port())))
	packet := append([]byte{0x40, 0x01, 4, 0}, make([]byte, 1024)...)
	for range 5 {
		raw.send(packet)
	}
	b.until("four to be dropped", func() bool { return b.count(droppedBandwidth) == 4 })
	if got := testutil.ToFloat64(b.metrics.octets["to_peer"]); got != 1024 {
		t.Errorf("%v octets passed", got)
	}
}

func TestMaxAgeEndsAnAllocation(t *testing.T) {
	b := newBed(t, func(c *Config) { c.MaxAge = 10 * time.Millisecond })
	b.raw().allocate(b.credential("alice", time.Hour))
	b.until("the allocation to end", func() bool { return b.Allocations() == 0 })
}
