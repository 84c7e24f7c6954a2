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

func TestSpacesJoinedInARow(t *testing.T) {
	var spaces [2]*Space
	for i := range spaces {
		s, err := Alone()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		spaces[i] = s
	}
	if err := spaces[0].Join("near", "10.78.0.1/30", spaces[1], "far", "10.78.0.2/30"); err != nil {
		t.Fatal(err)
	}
	var far, near net.PacketConn
	for _, err := range []error{
		spaces[1].Do(func() (err error) { far, err = net.ListenPacket("udp4", "10.78.0.2:5000"); return err }),
		spaces[0].Do(func() (err error) { near, err = net.ListenPacket("udp4", "10.78.0.1:0"); return err }),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer far.Close()
	defer near.Close()
	if _, err := near.WriteTo([]byte("here"), far.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	_ = far.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 10)
	if n, from, err := far.ReadFrom(buf); err != nil || string(buf[:n]) != "here" || from.String() != near.LocalAddr().String() {
		t.Errorf("%q from %v, %v", buf[:n], from, err)
	}
	if c, err := net.ListenPacket("udp4", "10.78.0.2:0"); err == nil {
		c.Close()
		t.Error("the address is here, too")
	}
}
