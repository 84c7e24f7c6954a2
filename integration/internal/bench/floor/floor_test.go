package floor

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

// pipes returns both ends of the floor's input and output.
func pipes(t *testing.T) (in, feed, out, replies *os.File) {
	t.Helper()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	replies, out, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = out.Close(); _ = replies.Close() })
	return in, feed, out, replies
}

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func TestRelaysBothWaysAndEndsWithItsInput(t *testing.T) {
	for _, gather := range []bool{false, true} {
		in, feed, out, replies := pipes(t)
		done := make(chan error, 1)
		go func() { done <- Serve(in, out, Options{Tag: 16, Gather: gather}) }()
		var browsers, cores [2]*net.UDPConn
		var shared, port [2]int
		lines := bufio.NewReader(replies)
		for i := range browsers {
			browsers[i], cores[i] = listen(t), listen(t)
			if _, err := fmt.Fprintln(feed, browsers[i].LocalAddr(), cores[i].LocalAddr()); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fscan(lines, &shared[i], &port[i]); err != nil {
				t.Fatal(err)
			}
		}
		if shared[0] != shared[1] || port[0] == port[1] {
			t.Fatalf("ports %v %v", shared, port)
		}
		if _, err := fmt.Fprintln(feed, "run"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 300)
		for i := range browsers {
			if _, err := browsers[i].WriteTo(make([]byte, 188+i), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: shared[i]}); err != nil {
				t.Fatal(err)
			}
			if n, from, err := cores[i].ReadFromUDP(buf); err != nil || n != 172+i || from.Port != port[i] {
				t.Errorf("call %d to the core: %d octets from %v, %v", i, n, from, err)
			}
			if _, err := cores[i].WriteTo(make([]byte, 172+i), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port[i]}); err != nil {
				t.Fatal(err)
			}
			if n, from, err := browsers[i].ReadFromUDP(buf); err != nil || n != 188+i || from.Port != shared[i] {
				t.Errorf("call %d to the browser: %d octets from %v, %v", i, n, from, err)
			}
		}
		_ = feed.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("does not end with its input")
		}
	}
}

func TestRefusesMalformedLines(t *testing.T) {
	for _, line := range []string{"127.0.0.1:1", "a b", "127.0.0.1:1 [::1]:2", "run", ""} {
		in, feed, out, _ := pipes(t)
		if _, err := fmt.Fprintln(feed, line); err != nil {
			t.Fatal(err)
		}
		_ = feed.Close()
		if err := Serve(in, out, Options{}); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
}
