package wsedge

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// counted is a connection that keeps each Write apart.
type counted struct {
	net.Conn
	writes [][]byte
	err    error
}

func (c *counted) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.writes = append(c.writes, bytes.Clone(p))
	return len(p), nil
}

// frame is a server's frame of n bytes of payload.
func frame(n int) []byte {
	head := []byte{0x81, byte(n)}
	switch {
	case n >= 1<<16:
		head = []byte{0x81, 127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	case n >= 126:
		head = []byte{0x81, 126, byte(n >> 8), byte(n)}
	}
	return append(head, bytes.Repeat([]byte{'x'}, n)...)
}

// TestAFrameIsOneWrite: however bufio cuts it, it leaves by one system call, and nothing is kept after it.
func TestAFrameIsOneWrite(t *testing.T) {
	for _, n := range []int{0, 1, 12, 14, 15, 125, 126, 1000, 65535, 65536, 70000} {
		c := &counted{}
		x := &thin{Conn: c, buffers: &readBuffers{}}
		w := bufio.NewWriterSize(gather{x}, smallest)
		want := frame(n)
		for i := range 2 {
			head := len(want) - n
			for _, part := range [][]byte{want[:1], want[1:head], want[head:]} {
				if _, err := w.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Flush(); err != nil || len(c.writes) != i+1 || !bytes.Equal(c.writes[i], want) || x.out != nil {
				t.Fatalf("payload of %d: %d writes, %v, buffer kept: %v", n, len(c.writes), err, x.out != nil)
			}
		}
	}
}

func TestAFailedWriteIsTold(t *testing.T) {
	c := &counted{err: errors.New("broken")}
	x := &thin{Conn: c, buffers: &readBuffers{}}
	if _, err := (gather{x}).Write(frame(3)); !errors.Is(err, c.err) || x.out != nil {
		t.Errorf("%v, buffer kept: %v", err, x.out != nil)
	}
}

// hijacked is a thin connection over loopback whose peer has sent first with its request.
func hijacked(t *testing.T, first string) (x *thin, in *bufio.Reader, peer net.Conn) {
	t.Helper()
	got := make(chan struct{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(got)
		conn, rw, err := hijacker{w, &readBuffers{}}.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		x, in = conn.(*thin), rw.Reader
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }() // closed below
	t.Cleanup(func() { _ = srv.Close(); <-done })
	if peer, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	if _, err := io.WriteString(peer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"+first); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Fatal("no request")
	}
	if x == nil {
		t.FailNow()
	}
	t.Cleanup(func() { _ = x.Close() })
	if err := x.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil { // of the test; reads obey it
		t.Fatal(err)
	}
	return x, in, peer
}

// TestNothingIsLostAndNothingIsKept: what came with the request is read first, what comes later after it; buffers go back.
func TestNothingIsLostAndNothingIsKept(t *testing.T) {
	x, in, peer := hijacked(t, "early frame, longer than the smallest buffer;")
	const later = " and one that comes later"
	if _, err := io.WriteString(peer, later); err != nil {
		t.Fatal(err)
	}
	want := "early frame, longer than the smallest buffer;" + later
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(in, buf); err != nil || string(buf) != want {
		t.Fatalf("%q, %v", buf, err)
	}
	if x.lent != nil || x.rest != nil || x.raw == nil {
		t.Errorf("kept %d bytes, buffer %v, plain %v", len(x.rest), x.lent != nil, x.raw != nil)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestCloseEndsAWaitingRead: a reader that waits for a peer that is silent ends with the connection, as net.Conn promises.
func TestCloseEndsAWaitingRead(t *testing.T) {
	x, in, _ := hijacked(t, "")
	ended := make(chan error, 1)
	go func() { _, err := in.ReadByte(); ended <- err }()
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still waiting")
	}
}
