//go:build !linux || portable

package udpio

import (
	"errors"
	"net"
	"net/netip"
)

// Stream stands in for what this build has not: TCP connections in the packet path.
type Stream struct {
	Socket
	Remote netip.AddrPort
	Stamp  int64
	in     frames
}

// NewStream refuses: this build has no streams. c is closed.
func NewStream(c *net.TCPConn) (*Stream, error) {
	_ = c.Close()
	return nil, errors.New("udpio: no TCP in this build")
}

// Fill reports the end.
func (s *Stream) Fill() bool { return false }

// Next has nothing.
func (s *Stream) Next(longest int) ([]byte, error) { return s.in.next(longest) }

// Send drops.
func (s *Stream) Send([]byte) bool { return false }
