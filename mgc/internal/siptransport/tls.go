package siptransport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// Security says how a TLS transport authenticates. The functions are called for each connection, so that what they return may
// change; they must not block.
type Security struct {
	Server func() *tls.Config
	// Client is for a connection to a peer whose certificate must name name.
	Client func(name string) *tls.Config
	// Trust reports whether a peer that has shown its certificate counts as one of ours; nil: none does by that alone.
	Trust func(tls.ConnectionState) bool
}

// handshake makes a TLS connection of an adopted socket. Its time is that of a dial, or of the first message.
func (c *tcpConn) handshake(raw net.Conn) (net.Conn, error) {
	sec, limit := c.t.sec, c.t.cfg.DialTimeout
	var conn *tls.Conn
	if c.inbound {
		conn, limit = tls.Server(raw, sec.Server()), c.t.cfg.FirstTimeout
	} else {
		conn = tls.Client(raw, sec.Client(c.key.name))
	}
	ctx, cancel := context.WithTimeout(c.t.ctx, limit)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		c.t.in.Metrics.Refused(c.t.kind, reasonHandshake)
		return nil, fmt.Errorf("siptransport: handshake, %s: %w", c, err)
	}
	c.from.Trusted = sec.Trust != nil && sec.Trust(conn.ConnectionState())
	return conn, nil
}
