package turnserver

import (
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

// raw is a client over UDP that sends what a test wants.
type raw struct {
	b     *bed
	conn  *net.UDPConn
	nonce string
}

var (
	udpTransport  = stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}
	channelNumber = stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{0x40, 1, 0, 0}}
)

type peerAddress netip.AddrPort

func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

func xorPeer(a netip.AddrPort) stun.Setter { return peerAddress(a) }

func (b *bed) raw() *raw {
	b.t.Helper()
	udp, _, _ := b.Addresses()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(udp[0]))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return &raw{b: b, conn: conn}
}

func (r *raw) send(p []byte) {
	r.b.t.Helper()
	if _, err := r.conn.Write(p); err != nil {
		r.b.t.Fatal(err)
	}
}

func (r *raw) receive() []byte {
	r.b.t.Helper()
	p := make([]byte, 2048)
	_ = r.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := r.conn.Read(p)
	if err != nil {
		r.b.t.Fatal(err)
	}
	return p[:n]
}

func (r *raw) transact(parts ...stun.Setter) *stun.Message {
	r.b.t.Helper()
	req, err := stun.Build(append([]stun.Setter{stun.TransactionID}, parts...)...)
	if err != nil {
		r.b.t.Fatal(err)
	}
	r.send(req.Raw)
	m := &stun.Message{Raw: r.receive()}
	if err := m.Decode(); err != nil || m.TransactionID != req.TransactionID {
		r.b.t.Fatalf("%v %v", m, err)
	}
	return m
}

// nonceOf learns the server's nonce.
func (r *raw) nonceOf() {
	r.b.t.Helper()
	m := r.transact(stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport)
	var n stun.Nonce
	if errorCode(m) != stun.CodeUnauthorized || n.GetFrom(m) != nil {
		r.b.t.Fatalf("challenge: %v", m)
	}
	r.nonce = n.String()
}

// do sends an authenticated request; a refusal that is authenticated must fit.
func (r *raw) do(c turnauth.Credential, method stun.Method, attrs ...stun.Setter) *stun.Message {
	r.b.t.Helper()
	parts := append([]stun.Setter{stun.NewType(method, stun.ClassRequest)}, attrs...)
	key := stun.NewLongTermIntegrity(c.Username, "isthmus", c.Password)
	m := r.transact(append(parts, stun.NewUsername(c.Username), stun.NewRealm("isthmus"), stun.NewNonce(r.nonce), key)...)
	if code := errorCode(m); code != stun.CodeUnauthorized && key.Check(m) != nil {
		r.b.t.Errorf("answer without integrity: %v", m)
	}
	return m
}

func (r *raw) try(c turnauth.Credential, method stun.Method, attrs ...stun.Setter) *stun.Message {
	r.b.t.Helper()
	r.nonceOf()
	return r.do(c, method, attrs...)
}

func (r *raw) allocate(c turnauth.Credential) netip.AddrPort {
	r.b.t.Helper()
	m := r.try(c, stun.MethodAllocate, udpTransport)
	var a stun.XORMappedAddress
	if m.Type.Class != stun.ClassSuccessResponse || a.GetFromAs(m, stun.AttrXORRelayedAddress) != nil {
		r.b.t.Fatalf("allocation: %v", m)
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
}

func errorCode(m *stun.Message) stun.ErrorCode {
	var e stun.ErrorCodeAttribute
	if e.GetFrom(m) != nil {
		return 0
	}
	return e.Code
}
