package netns

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// The tests see a loopback interface only; a Space has its own addresses, ports and processes.
func TestSpaceIsApartAndReachable(t *testing.T) {
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifs {
		if up := i.Flags&net.FlagUp != 0; up != (i.Name == "lo") {
			t.Fatalf("interfaces %v; want lo up, and no other", ifs)
		}
	}
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	there, err := s.Command("readlink", "/proc/self/ns/net").Output()
	if err != nil || string(there) == here+"\n" {
		t.Fatalf("the program runs in %q, %v; the test in %q", there, err, here)
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(Here)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	hello := s.Command("bash", "-c", `echo hello >/dev/tcp/`+Here+`/"$0"`, l.Addr().String()[len(Here)+1:])
	if err := hello.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, _, _ := net.SplitHostPort(c.RemoteAddr().String()); got != There {
		t.Errorf("the Space comes from %s, want %s", got, There)
	}
	if err := hello.Wait(); err != nil {
		t.Error(err)
	}
}
