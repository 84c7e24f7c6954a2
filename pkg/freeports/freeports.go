// Package freeports finds ports for tests that have to name them: ranges, or one where port 0 does not do. Where they lie is random, so that tests of other
// processes, and packets that are late for them, do not meet in them.
package freeports

import (
	"math/rand/v2"
	"net"
	"testing"
)

var lowest, highest = 10000, 32767 // below what systems give to sockets that name no port

const tries = 200

// UDPPairs returns a range of n pairs of UDP ports, an even one first, of which no program has one at any address now: max is min + 2n - 1.
// No other range that is found before the test ends meets it, be it in another process (on Linux).
func UDPPairs(t testing.TB, n int) (min, max uint16) {
	t.Helper()
	return find(t, n, false)
}

// UDPRange is UDPPairs for those who skip what others have: of max-min+1 ports at least n pairs are free.
func UDPRange(t testing.TB, n int) (min, max uint16) {
	t.Helper()
	return find(t, n, true)
}

// Port returns a port that no program has now at any address, neither of UDP nor of TCP; it is the test's like a range. A port that the system has given to a
// socket, and that the test names after it has closed that, may be another socket's meanwhile.
func Port(t testing.TB) uint16 {
	t.Helper()
	for range tries {
		p := lowest + rand.IntN(highest+1-lowest)
		release, ok := reserve(p, p+1)
		if !ok {
			continue
		}
		if free(p) && freeTCP(p) {
			t.Cleanup(release)
			return uint16(p)
		}
		release()
	}
	t.Fatalf("no free port in %d tries", tries)
	return 0
}

// find tries ranges at random until one is nobody's and has n free pairs; longer: it may have others beside them.
func find(t testing.TB, n int, longer bool) (min, max uint16) {
	t.Helper()
	for range tries {
		first := (lowest + rand.IntN(highest+1-lowest-2*n)) &^ 1
		for end := first + 2*n; end <= highest+1; {
			release, ok := reserve(first, end) // before ports are tried: to try one takes it for a moment from whom it is reserved for
			if !ok {
				break
			}
			missing := n - pairs(first, end)
			if missing == 0 {
				t.Cleanup(release)
				return uint16(first), uint16(end - 1)
			}
			release()
			if !longer {
				break
			}
			end += 2 * missing
		}
	}
	t.Fatalf("no range with %d pairs of free UDP ports in %d tries", n, tries)
	return 0, 0
}

// pairs counts the free pairs from first to end-1.
func pairs(first, end int) (n int) {
	for p := first; p < end; p += 2 {
		if free(p) && free(p+1) {
			n++
		}
	}
	return n
}

// free binds a UDP port at all addresses, and leaves it.
var free = func(port int) bool {
	s, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return false
	}
	_ = s.Close()
	return true
}

// freeTCP binds a TCP port at all addresses, and leaves it.
func freeTCP(port int) bool {
	s, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err != nil {
		return false
	}
	_ = s.Close()
	return true
}
