package turnserver

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"github.com/isthmus-gateway/isthmus/mgw/internal/pionlog"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

// client is a UDP socket with all that speak to it, or one connection. To pion/turn it is the socket (net.PacketConn), who makes
// relayed addresses, and who decides on credentials and peers. Its ReadFrom and what pion/turn calls while it works on what was read run
// on one goroutine, in turns; WriteTo is also called by the allocations' goroutines.
type client struct {
	server    *Server
	transport string
	link      link
	once      sync.Once

	req request // owned by the reading goroutine

	mu     sync.Mutex // guards allocs
	allocs map[netip.AddrPort]*relay
}

// request is the request that is being worked on.
type request struct {
	from     netip.AddrPort
	msg      *stun.Message  // nil: none
	key      []byte         // nil: not authenticated
	user     string         // with key
	code     stun.ErrorCode // 0, or what a refusal is to say
	answered bool
}

func newClient(s *Server, transport string, l link) *client {
	return &client{server: s, transport: transport, link: l, allocs: map[netip.AddrPort]*relay{}}
}

// serve starts pion/turn on the client.
func (c *client) serve() error {
	cfg := &c.server.cfg
	_, err := turn.NewServer(turn.ServerConfig{ // closed by closing c
		PacketConnConfigs:   []turn.PacketConnConfig{{PacketConn: c, RelayAddressGenerator: c, PermissionHandler: c.permit}},
		LoggerFactory:       pionlog.Silent{},
		Realm:               cfg.Realm,
		AuthHandler:         c.authenticate,
		StrictAddressFamily: cfg.Relay.Listen.Unmap().Is4(),
		InboundMTU:          maxMessage,
	})
	return err
}

// remote is the peer of a connection.
func (c *client) remote() netip.AddrPort {
	if s, ok := c.link.(*stream); ok {
		return s.peer
	}
	return netip.AddrPort{}
}

// ReadFrom returns the next message that pion/turn may see. An error ends the client.
func (c *client) ReadFrom(p []byte) (int, net.Addr, error) {
	c.settle()
	for {
		n, from, err := c.link.read(p)
		switch {
		case errors.Is(err, errFraming), errors.Is(err, errLong):
			c.server.metrics.refuse(refusedFraming)
		case err != nil && timedOut(err):
			c.server.metrics.refuse(refusedSlow)
		}
		if err != nil {
			c.end()
			return 0, nil, err
		}
		if c.admit(p[:n], from) {
			return n, net.UDPAddrFromAddrPort(from), nil
		}
	}
}

// admit looks at a message before pion/turn does.
func (c *client) admit(p []byte, from netip.AddrPort) bool {
	c.req = request{}
	if len(p) < 4 || p[0] >= 0x80 || len(p) >= maxMessage {
		c.server.metrics.refuse(refusedStray)
		return false
	}
	var kind stun.MessageType
	kind.ReadValue(uint16(p[0])<<8 | uint16(p[1]))
	switch {
	case p[0] >= 0x40, kind.Class == stun.ClassIndication && kind.Method == stun.MethodSend:
		if c.allocation(from) == nil {
			c.server.metrics.refuse(refusedStray)
			return false
		}
		return true
	case kind.Class != stun.ClassRequest:
		c.server.metrics.refuse(refusedStray)
		return false
	case !c.server.rates.take(c.server.cfg.Now(), from.Addr()):
		c.server.metrics.refuse(refusedRate)
		return false
	case kind.Method == stun.MethodConnect, kind.Method == stun.MethodConnectionBind:
		c.server.metrics.refuse(refusedTransport)
		return false
	}
	msg := &stun.Message{Raw: append([]byte(nil), p...)}
	if msg.Decode() != nil {
		c.server.metrics.refuse(refusedStray)
		return false
	}
	c.req = request{from: from, msg: msg}
	return true
}

// authenticate finds the key of a request (RFC 8489 §9.2.4). A credential may expire while it keeps an allocation alive, since a browser
// cannot be given another one in a call: only for a new allocation does its time count.
func (c *client) authenticate(ra *turn.RequestAttributes) (user string, key []byte, ok bool) {
	cfg, m := &c.server.cfg, c.server.metrics
	expires, user, err := turnauth.Parse(ra.Username)
	if err != nil || c.req.msg == nil {
		m.refuse(refusedUsername)
		return "", nil, false
	}
	for _, secret := range cfg.Secrets() {
		if k := turnauth.Key(secret, ra.Username, cfg.Realm); stun.MessageIntegrity(k).Check(c.req.msg) == nil {
			key = k
			break
		}
	}
	switch {
	case key == nil:
		m.refuse(refusedForged)
		return "", nil, false
	case ra.Method == stun.MethodAllocate && cfg.Now().After(expires.Add(cfg.Skew)):
		m.refuse(refusedExpired)
		return "", nil, false
	}
	c.req.key, c.req.user = key, user
	return user, key, true
}

// permit decides on a permission or channel.
func (c *client) permit(_ net.Addr, peer net.IP) bool {
	a, _ := netip.AddrFromSlice(peer) // an invalid one is not allowed
	if c.server.cfg.Peers.address(a) {
		return true
	}
	return c.refuse(refusedPeer, stun.CodeForbidden)
}

// refuse counts, and keeps the code for the answer. It returns false.
func (c *client) refuse(reason string, code stun.ErrorCode) bool {
	c.server.metrics.refuse(reason)
	c.req.code = code
	return false
}

func (c *client) allocation(from netip.AddrPort) *relay {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allocs[from]
}

// WriteTo sends to the client. A client that does not read in time is given up.
func (c *client) WriteTo(p []byte, to net.Addr) (int, error) {
	if out := c.answer(p); out != nil {
		if _, err := c.send(out, addrPort(to)); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return c.send(p, addrPort(to))
}

func (c *client) send(p []byte, to netip.AddrPort) (int, error) {
	n, err := c.link.write(p, to)
	if _, ok := c.link.(*stream); ok && err != nil {
		if timedOut(err) {
			c.server.metrics.refuse(refusedSlow)
		}
		_ = c.link.Close() // half a message may be out; ReadFrom ends the rest
	}
	return n, err
}

// end closes the client for good.
func (c *client) end() {
	c.once.Do(func() {
		_ = c.link.Close() // it is gone either way
		c.server.leave(c)
	})
}

// Close makes ReadFrom fail.
func (c *client) Close() error { return c.link.Close() }

// LocalAddr is the address that the client has reached. pion/turn wants one kind of address for both ends.
func (c *client) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(addrPort(c.link.LocalAddr())) }

// Deadlines are the link's business.
func (c *client) SetDeadline(time.Time) error      { return nil }
func (c *client) SetReadDeadline(time.Time) error  { return nil }
func (c *client) SetWriteDeadline(time.Time) error { return nil }

var _ net.PacketConn = (*client)(nil)
var _ io.Closer = (*client)(nil)
