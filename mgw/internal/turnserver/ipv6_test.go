package turnserver

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

// A server of IPv6 relays IPv6, and one of IPv4 gives an IPv6 client an IPv4 address, which is what it asks for when it says
// nothing (RFC 8656 §7.2).
func TestR8656_7_AddressFamilies(t *testing.T) {
	six := netip.IPv6Loopback()
	probe, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(six, 0)))
	if err != nil {
		t.Fatal("the tests need IPv6 on loopback: ", err)
	}
	_ = probe.Close()
	for name, relay := range map[string]netip.Addr{"IPv6": six, "IPv4": loopback} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, func(c *Config) {
				c.UDP = []netip.AddrPort{netip.AddrPortFrom(six, 0)}
				c.Relay.Listen = relay
			})
			if a := b.raw().allocate(b.credential("alice", time.Hour)).Addr(); a != relay {
				t.Errorf("relayed address %v", a)
			}
			other := stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{1, 0, 0, 0}}
			if relay.Is4() {
				other.Value[0] = 2
			}
			if m := b.raw().try(b.credential("alice", time.Hour), stun.MethodAllocate, udpTransport, other); errorCode(m) != stun.CodeAddrFamilyNotSupported {
				t.Errorf("the other family: %v", m)
			}
		})
	}
}

// A /64 is one source: a host has all of its addresses.
func TestSourcesOfIPv6(t *testing.T) {
	a, b, c := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2:3"), netip.MustParseAddr("2001:db8:0:1::1")
	if source(a) != source(b) || source(a) == source(c) {
		t.Errorf("%v %v %v", source(a), source(b), source(c))
	}
	if got := source(netip.MustParseAddr("::ffff:192.0.2.1")); got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("%v", got)
	}
}

// What strangers cost: nothing that is kept, however many they are.
func TestStrangersAreNotRemembered(t *testing.T) {
	b := newBed(t)
	for range 50 {
		b.raw().try(turnauth.Issue("nobody has this secret", "mallory", time.Now(), time.Hour), stun.MethodAllocate, udpTransport)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.users) + len(b.sources) + len(b.bySource) + b.allocs; n != 0 {
		t.Errorf("%d things are kept", n)
	}
	for _, c := range b.sockets {
		if len(c.allocs) != 0 {
			t.Errorf("%d allocations", len(c.allocs))
		}
	}
}
