package ice

import (
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// TestR8835_OtherFamilyIsShownToPionAndPutBack: each address has one stand-in, of the mux's family; made-up ones make room for others, those
// that were answered stay.
func TestR8835_OtherFamilyIsShownToPionAndPutBack(t *testing.T) {
	for _, local := range []string{"127.0.0.1:1", "[::1]:1"} {
		m := NewMux(netip.MustParseAddrPort(local), func([]byte, netip.AddrPort) error { return nil }, &bufpool.Pool{})
		c := newConn(m, "u", nil)
		v6 := m.Advertise().Addr().Is6()
		other := func(n int) netip.AddrPort {
			if v6 {
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(1000+n))
			}
			return netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(1000+n))
		}
		if same := netip.AddrPortFrom(m.Advertise().Addr(), 5); c.shown(same) != same || c.real(same) != same {
			t.Error("an address of the same family is changed")
		}
		first := c.shown(other(0))
		if first.Addr().Is6() != v6 || c.real(first) != other(0) || c.shown(other(0)) != first {
			t.Errorf("%s: shown as %s", local, first)
		}
		c.paths[other(0)] = struct{}{}
		for i := range 20 * maxPaths {
			s := c.shown(other(i + 1))
			if s == first || c.real(s) != other(i+1) {
				t.Fatalf("address %d is shown as %s", i, s)
			}
		}
		if n := len(c.family.shown); n > 2*maxPaths || n != len(c.family.real) || c.real(first) != other(0) {
			t.Errorf("%d addresses kept, the answered one is %s", n, c.real(first))
		}
	}
}
