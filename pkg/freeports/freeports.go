// Package freeports finds ports for tests that have to name them: ranges, where port 0 does not do. Where they lie is random, so that tests of other
// processes, and packets that are late for them, do not meet in them.
package freeports

import (
	"math/rand/v2"
	"net"
	"testing"
)

const (
	lowest, highest = 10000, 32767 // below what systems give to sockets that name no port
	tries           = 200
)

// UDPPairs returns a range of n pairs of UDP ports, an even one first, of which no program has one at any address now: max is min + 2n - 1.
// No other range that is found before the test ends meets it, be it in another process (on Linux).
func UDPPairs(t testing.TB, n int) (min, max uint16) {
	return find(t, n, func(first, end int) bool { return end == first+2*n })
}

// UDPRange is UDPPairs for those who skip what others have: of max-min+1 ports at least n pairs are free.
func UDPRange(t testing.TB, n int) (min, max uint16) {
	return find(t, n, func(_, end int) bool { return end != 0 })
}

// find tries ranges at random until one is fit and nobody's.
func find(t testing.TB, n int, fit func(first, end int) bool) (min, max uint16) {
	t.Helper()
	for range tries {
		first := (lowest + rand.IntN(highest+1-lowest-2*n)) &^ 1
		end := grow(first, n)
		if !fit(first, end) {
			continue
		}
		release, ok := reserve(first, end)
		if !ok {
			continue
		}
		t.Cleanup(release)
		return uint16(first), uint16(end - 1)
	}
	t.Fatalf("no range with %d pairs of free UDP ports in %d tries", n, tries)
	return 0, 0
}

// grow returns where the n-th free pair from first on ends; 0: there are not so many.
func grow(first, n int) int {
	for p := first; p < highest; p += 2 {
		if free(p) && free(p+1) {
			n--
		}
		if n == 0 {
			return p + 2
		}
	}
	return 0
}

// free binds a port at all addresses, and leaves it.
func free(port int) bool {
	s, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return false
	}
	_ = s.Close()
	return true
}
