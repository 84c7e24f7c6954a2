package freeports

import (
	"net"
	"testing"
)

// TestUDPPairs: what is found is even, whole and free at every address; a port that somebody has at one address counts neither as one of a row nor of a range.
func TestUDPPairs(t *testing.T) {
	min, max := UDPPairs(t, 5)
	if min%2 != 0 || max != min+9 || min < lowest || max > highest {
		t.Fatalf("%d to %d", min, max)
	}
	if min, max := UDPRange(t, 5); min%2 != 0 || max%2 != 1 || max < min+9 || min < lowest || max > highest {
		t.Fatalf("%d to %d", min, max)
	}
	first := int(min)
	for _, a := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		t.Run(a, func(t *testing.T) {
			s, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(a), Port: int(max)})
			if err != nil && a == "::1" {
				t.Skip("no IPv6 here")
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if end := grow(first, 5); end != 0 && end < first+12 {
				t.Errorf("5 pairs from %d to %d are free while somebody has %s", min, end-1, s.LocalAddr())
			}
			if end := grow(first, 4); end != first+8 {
				t.Errorf("4 pairs from %d end at %d", min, end)
			}
		})
	}
}
