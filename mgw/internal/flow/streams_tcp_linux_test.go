//go:build linux && !portable

package flow

import (
	"testing"

	pionice "github.com/pion/ice/v4"

	"github.com/isthmus-gateway/isthmus/pkg/freeports"
)

// TestR6544_StreamsOverTCP: streams share a TCP connection like a UDP pair; when it ends none has a way to the peer.
func TestR6544_StreamsOverTCP(t *testing.T) {
	x := newStreamedOver(t, 2, nil, func(c *Config) { c.Access[0].TCP = freeports.Port(t) }, func() *browser { return newBrowserOver(t, pionice.NetworkTypeTCP4) })
	x.bothWays(1, true)
	second := x.ends[1].(*AccessStream)
	none := false
	x.a.w.do(func() {
		x.a.w.endStream(second.t.out.stream)
		none = x.a.s.t.out.stream == nil && second.t.out.stream == nil
	})
	if !none {
		t.Error("a stream writes to a connection that has ended")
	}
}
