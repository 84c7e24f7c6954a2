package wsedge

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// oneConn is a listener of one connection.
type oneConn struct {
	conn chan net.Conn // cap 1
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.done); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// inBubble runs the test with a connection of a browser that speaks when the test says so, on the clock of the bubble, and with the
// defaults of Config. The handshake is done.
func inBubble(t *testing.T, body func(t *testing.T, browser net.Conn, from *bufio.Reader, s *sink)) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{make(chan got, 10), make(chan siptransport.Flow, 10)}
		s, err := New(Config{}, siptransport.NewFlows(), out, siptransport.NewMetrics(prometheus.NewRegistry()), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ln := &oneConn{make(chan net.Conn, 1), make(chan struct{})}
		server := NewHTTPServer(s, nil, nil)
		go func() { _ = server.Serve(ln) }()
		browser, gateway := net.Pipe()
		ln.conn <- gateway
		defer func() { // also when the test fails: the bubble must not outlive it
			_ = browser.Close()
			_ = server.Close()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		if _, err := io.WriteString(browser, "GET /sip HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		from := bufio.NewReader(browser)
		if resp, err := http.ReadResponse(from, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("handshake: %+v, %v", resp, err)
		}
		body(t, browser, from, out)
	})
}

// control reads the next frame, which has no mask and is short.
func control(r io.Reader) (opcode byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, head[1]&0x7f)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0x0f, payload, err
}

// pong is the frame that answers a ping, masked by zeros.
func pong(payload []byte) []byte {
	return append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

// TestR7118_5_PingsAreSentAllTheTime: an idle connection hears a PING every 25 to 30 s, so that no NAT on the way forgets it, and lives
// for as long as it answers.
func TestR7118_5_PingsAreSentAllTheTime(t *testing.T) {
	inBubble(t, func(t *testing.T, browser net.Conn, from *bufio.Reader, s *sink) {
		for n := range 50 {
			before := time.Now()
			opcode, payload, err := control(from)
			if err != nil || opcode != 0x9 {
				t.Fatalf("frame %d has opcode %x: %v", n, opcode, err)
			}
			if d := time.Since(before); d < 25*time.Second || d > 30*time.Second {
				t.Fatalf("ping %d after %s", n, d)
			}
			if _, err := browser.Write(pong(payload)); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.closed) > 0 {
			t.Error("a connection that answers was closed")
		}
	})
}

// TestR5626_4_SilentFlowIsDropped: a browser that is gone without a word is noticed before the Flow-Timer of one minute that it was given
// is over.
func TestR5626_4_SilentFlowIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, _ net.Conn, from *bufio.Reader, s *sink) {
		start := time.Now()
		if opcode, _, err := control(from); err != nil || opcode != 0x9 {
			t.Fatalf("opcode %x: %v", opcode, err)
		}
		if _, err := from.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after the ping: %v", err)
		}
		if d := time.Since(start); d > time.Minute {
			t.Errorf("dropped after %s", d)
		}
		synctest.Wait()
		if len(s.closed) != 1 {
			t.Error("nobody was told")
		}
	})
}

// TestR7118_5_KeepAlivesAreAnswered: a PING by a PONG with the same data (RFC 6455 §5.5.2), the double CRLF by one CRLF
// (RFC 5626 §3.5.1), a single CRLF by nothing; none of them is taken for SIP.
func TestR7118_5_KeepAlivesAreAnswered(t *testing.T) {
	r := newRig(t, Config{}, nil)
	conn, from, status := r.upgrade(t, "Sec-WebSocket-Protocol: sip")
	if status != "101 sip" {
		t.Fatal(status)
	}
	send := func(opcode byte, payload string) {
		t.Helper()
		if _, err := conn.Write(append([]byte{0x80 | opcode, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(opcode byte, payload string) {
		t.Helper()
		if o, p, err := control(from); err != nil || o != opcode || string(p) != payload {
			t.Fatalf("opcode %x, %q, %v; want %x, %q", o, p, err, opcode, payload)
		}
	}
	send(0x9, "are you there")
	expect(0xa, "are you there")
	send(0x1, "\r\n")
	send(0x1, "\r\n\r\n")
	expect(0x1, "\r\n")
	send(0x2, "\r\n\r\n")
	expect(0x2, "\r\n")
	m := register("alive")
	if _, err := conn.Write(append([]byte{0x81, 0xfe, byte(len(m) >> 8), byte(len(m)), 0, 0, 0, 0}, m...)); err != nil {
		t.Fatal(err)
	}
	if g := wait.Receive(t, r.sink.got); g.m.Get("Call-ID") != "alive" {
		t.Errorf("a keep-alive was taken for %+v", g.m)
	}
}
