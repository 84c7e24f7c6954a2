package ice

import (
	"net/netip"
	"testing"
)

// TestR8445_2_StrangersAreRationed: addresses that have not authenticated share 100 checks per second of an agent; the peer's own address is
// not held back by them.
func TestR8445_2_StrangersAreRationed(t *testing.T) {
	x := newBench(t)
	now := int64(1e9)
	x.mux.clock = func() int64 { return now }
	a, user := x.started()
	good := request(t, user, a.Pwd(), false)
	if m, reported := x.answer(good, peer); m == nil || !reported {
		t.Fatal("the peer's check is not answered")
	}
	forged := request(t, user, "anotheranotheranother22", true)
	flood := func(n int) (taken int) {
		for i := range n {
			if x.mux.Deliver(forged, netip.AddrPortFrom(peer.Addr(), uint16(1+i))) == Delivered {
				taken++
			}
			if m, reported := x.answer(good, peer); m == nil || !reported {
				t.Fatalf("the peer's check after %d strangers is not answered", i)
			}
		}
		return taken
	}
	if n := flood(300); n != 199 { // the peer's first was the burst's first
		t.Errorf("%d taken of a burst, want 199", n)
	}
	now += 1e9
	if n := flood(300); n != 100 {
		t.Errorf("%d taken a second later, want 100", n)
	}
}
