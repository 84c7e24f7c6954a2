package freeports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
)

// TestUDPPairs: what is found is even, whole and free at every address; a port that somebody has at one address counts neither as one of a row nor of a range.
func TestUDPPairs(t *testing.T) {
	min, max := UDPPairs(t, 5)
	if min%2 != 0 || max != min+9 || int(min) < lowest || int(max) > highest {
		t.Fatalf("%d to %d", min, max)
	}
	if min, max := UDPRange(t, 5); min%2 != 0 || max%2 != 1 || max < min+9 || int(min) < lowest || int(max) > highest {
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
			if n := pairs(first, first+10); n != 4 {
				t.Errorf("%d pairs from %d to %d are free while somebody has %s", n, min, max, s.LocalAddr())
			}
			if n := pairs(first, first+8); n != 4 {
				t.Errorf("%d pairs from %d to %d are free, want all", n, min, first+7)
			}
		})
	}
}

// TestPort: somebody's port of UDP or TCP at any address is not given.
func TestPort(t *testing.T) {
	p := Port(t)
	if int(p) < lowest || int(p) > highest {
		t.Errorf("%d", p)
	}
	if _, ok := reserve(int(p), int(p)+1); ok {
		t.Errorf("%d is free for others", p)
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: int(p)})
	if err != nil {
		t.Fatal(err)
	}
	if freeTCP(int(p)) || !free(int(p)) {
		t.Errorf("TCP port %d is free while somebody has it, or UDP is not", p)
	}
	_ = l.Close()
	if !freeTCP(int(p)) {
		t.Errorf("TCP port %d is not free", p)
	}
}

// TestReservedPortsAreNotTried: who looks for ports does not take one of another's range, not for the moment that it takes to try it.
func TestReservedPortsAreNotTried(t *testing.T) {
	first, last := UDPPairs(t, 100)
	try, from, to := free, lowest, highest
	t.Cleanup(func() { free, lowest, highest = try, from, to })
	lowest, highest = max(lowest, int(first)-1000), min(highest, int(last)+1000) // there they look
	free = func(port int) bool {
		if port >= int(first) && port <= int(last) {
			t.Errorf("%d is tried, of %d to %d", port, first, last)
		}
		return rand.IntN(20) > 0 && try(port)
	}
	for i := range 20 {
		t.Run(fmt.Sprint("while others have them ", i), func(t *testing.T) {
			UDPRange(t, 60)
			UDPPairs(t, 1)
			Port(t)
		})
	}
}

// TestRangesDoNotMeet: what a test has nobody else gets, in this process or in another, until the test ends.
func TestRangesDoNotMeet(t *testing.T) {
	t.Run("while the test runs", func(t *testing.T) {
		for _, f := range []func(testing.TB, int) (uint16, uint16){UDPPairs, UDPRange} {
			min, max := f(t, 60)
			for p := int(min); p < int(max); p += block {
				if _, ok := reserve(p, p+1); ok {
					t.Errorf("%d of %d to %d is free for others", p, min, max)
				}
			}
		}
	})
	if len(taken) != 0 {
		t.Errorf("blocks held after the test: %v", taken)
	}
	at := 40000 + os.Getpid()%200*2*block // where no test gets any
	if runtime.GOOS == "linux" {
		other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: fmt.Sprintf("@isthmus-freeports-%d", at/block+1)})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := reserve(at, at+2*block); ok || len(taken) != 0 {
			t.Errorf("another process's ports were reserved, or half: %v, %v", ok, taken)
		}
		_ = other.Close()
	}
	release, ok := reserve(at, at+2*block)
	if !ok || len(taken) != 2 {
		t.Fatalf("reserved %v, %v", ok, taken)
	}
	if _, ok := reserve(at-block, at+1); ok || len(taken) != 2 {
		t.Errorf("reserved twice, or half: %v, %v", ok, taken)
	}
	release()
	if len(taken) != 0 {
		t.Errorf("not released: %v", taken)
	}
}
