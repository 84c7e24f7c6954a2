package icetcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func framed(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

// TestFirstFrameHasItsTime: a peer that sends byte after byte cannot keep a place for longer than Patience.
func TestFirstFrameHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			b := framed(make([]byte, 100))
			for len(b) > 0 {
				if _, err := theirs.Write(b[:1]); err != nil {
					return
				}
				b = b[1:]
				time.Sleep(Patience / 10)
			}
		}()
		start := time.Now()
		_, err := readFrame(ours, 1000)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != Patience {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		_ = ours.Close()
		<-done
	})
}

func TestFirstFrameIsReadAndNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Write(append(framed([]byte("first")), "second"...))
			_ = theirs.Close()
		}()
		b, err := readFrame(ours, 5)
		if err != nil || string(b) != "first" {
			t.Fatalf("%q, %v", b, err)
		}
		if rest, err := io.ReadAll(ours); err != nil || string(rest) != "second" {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

// TestPlaces: whoever is taken keeps a place until it is closed, and is unknown until it is said to be known.
func TestPlaces(t *testing.T) {
	taken := make(chan *Place, 1)
	var conn *net.TCPConn
	l, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 100, func(c *net.TCPConn, first []byte, p *Place) bool {
		conn = c
		if !bytes.Equal(first, []byte("hello")) {
			return false
		}
		taken <- p
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(framed([]byte("hello"))); err != nil {
		t.Fatal(err)
	}
	p := <-taken
	for i, want := range [][2]int{{1, 1}, {0, 1}, {0, 1}, {0, 0}, {0, 0}} {
		if unknown, addrs := l.Counts(); unknown != want[0] || addrs != want[1] {
			t.Errorf("step %d: %d unknown, %d addresses; want %v", i, unknown, addrs, want)
		}
		switch i {
		case 0, 1:
			p.Known()
		case 2, 3:
			p.End()
		}
	}
	_ = conn.Close()
}

// TestCloseEndsConnectionsThatSayNothing: nothing is left behind (goleak).
func TestCloseEndsConnectionsThatSayNothing(t *testing.T) {
	l, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), 100, func(*net.TCPConn, []byte, *Place) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for unknown, _ := l.Counts(); unknown == 0; unknown, _ = l.Counts() {
		<-time.After(time.Millisecond)
	}
	l.Close()
	if _, err := io.ReadAll(c); err != nil {
		t.Log(err) // a reset will do
	}
	_ = c.Close()
}

// TestLongFirstFrameIsNotWaitedFor: its length alone ends it.
func TestLongFirstFrameIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() { _, _ = theirs.Write(framed([]byte("longer"))[:2]) }()
		start := time.Now()
		if b, err := readFrame(ours, 5); err == nil || time.Since(start) != 0 {
			t.Errorf("%q, %v after %v", b, err, time.Since(start))
		}
		_, _ = ours.Close(), theirs.Close()
	})
}
