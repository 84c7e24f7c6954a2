package turnserver

import (
	"net"

	"github.com/pion/stun/v4"
)

// answer is what goes out in the place of a response of pion/turn; nil: that itself. pion/turn refuses channels to a forbidden peer with
// 401 and everything else with 508 or 400; RFC 8656 has a code for each.
func (c *client) answer(p []byte) []byte {
	if len(p) < stunHeader || p[0] >= 0x40 {
		return nil
	}
	var kind stun.MessageType
	kind.ReadValue(uint16(p[0])<<8 | uint16(p[1]))
	if kind.Class != stun.ClassErrorResponse && kind.Class != stun.ClassSuccessResponse {
		return nil // an indication, of any goroutine; responses are the reading one's
	}
	c.req.answered = true
	if kind.Class != stun.ClassErrorResponse || c.req.code == 0 || c.req.msg == nil {
		return nil
	}
	return c.failure(c.req.code)
}

// settle answers an authenticated request that pion/turn has passed over in silence: it is for no allocation (RFC 8656 §5: 437), or
// for that of another user (441).
func (c *client) settle() {
	r := &c.req
	if r.msg == nil || r.key == nil || r.answered {
		return
	}
	code := stun.CodeAllocMismatch
	if a := c.allocation(r.from); a != nil && a.user != r.user {
		code = stun.CodeWrongCredentials
	}
	if out := c.failure(code); out != nil {
		_, _ = c.send(out, r.from) // the client asks again
	}
}

// failure is an error response to the request, with its integrity when it was authenticated.
func (c *client) failure(code stun.ErrorCode) []byte {
	r := &c.req
	parts := []stun.Setter{&stun.Message{TransactionID: r.msg.TransactionID}, stun.NewType(r.msg.Type.Method, stun.ClassErrorResponse), code}
	if r.key != nil {
		parts = append(parts, stun.MessageIntegrity(r.key))
	}
	m, err := stun.Build(parts...)
	if err != nil {
		return nil // a code without reason phrase, which ours all have
	}
	return m.Raw
}

// network of an allocation that we have an address of.
func (c *client) familyFits(network string) bool {
	return (network == "udp4") == c.server.cfg.Relay.Listen.Unmap().Is4()
}

// udpAddr is the relayed address that the client is told.
func (c *client) udpAddr(port uint16) *net.UDPAddr {
	return &net.UDPAddr{IP: c.server.cfg.Relay.Advertise.Unmap().AsSlice(), Port: int(port)}
}
