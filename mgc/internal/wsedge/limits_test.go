package wsedge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestSlowMessageEndsItsConnection(t *testing.T) {
	r := newRig(t, Config{MessageTimeout: 200 * time.Millisecond}, nil)
	c, br, _ := r.upgrade(t, "Sec-WebSocket-Protocol: sip")
	if _, err := io.WriteString(c, "\x81\xfe\x10\x00\x00\x00\x00\x00REGISTER"); err != nil { // 8 of 4096 bytes
		t.Fatal(err)
	}
	if _, err := io.ReadAll(br); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("not closed: %v", err)
	}
	wait.Receive(t, r.sink.closed)
}

func TestDeadPeerIsFoundByPing(t *testing.T) {
	r := newRig(t, Config{PingInterval: 100 * time.Millisecond, PongTimeout: 2 * time.Second}, nil) // the live one answers within it
	alive := r.mustDial()
	reading := alive.CloseRead(context.Background())      // answers pings
	_, _, _ = r.upgrade(t, "Sec-WebSocket-Protocol: sip") // never does
	wait.Receive(t, r.sink.closed)
	if r.s.Len() != 1 || reading.Err() != nil {
		t.Errorf("%d connections, live one: %v", r.s.Len(), reading.Err())
	}
}

func TestConnectionCaps(t *testing.T) {
	r := newRig(t, Config{MaxConnsPerIP: 2}, nil)
	first := r.mustDial()
	r.mustDial()
	_, resp, err := r.dial(nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("third connection: %v", err)
	}
	_ = first.Close(websocket.StatusNormalClosure, "")
	wait.Receive(t, r.sink.closed)
	if n := r.refused("violation"); n != 0 {
		t.Errorf("an ordered close counts as %v violations", n)
	}
	r.mustDial() // the place is free again
	r.s.Drain()
	if _, resp, err := r.dial(nil); err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("connection while draining: %v", err)
	}
	if ipKey(netip.MustParseAddr("2001:db8::1")) != ipKey(netip.MustParseAddr("2001:db8::ffff")) {
		t.Error("addresses of one /64 count apart")
	}
}

func TestFlowClosedHookAndDeadFlow(t *testing.T) {
	hook := make(chan siptransport.Flow, 1)
	r := newRig(t, Config{OnFlowClosed: func(f siptransport.Flow) { hook <- f }}, nil)
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("h"))
	f := wait.Receive(t, r.sink.got).from
	link, err := r.flows.Get(f.ID)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.CloseNow()
	if h := wait.Receive(t, hook); h.ID != f.ID {
		t.Errorf("hook got %+v", h)
	}
	if err := link.Send([]byte("x")); !errors.Is(err, siptransport.ErrFlowGone) {
		t.Errorf("send on a dead flow: %v", err)
	}
	if _, err := r.flows.Get(f.ID); !errors.Is(err, siptransport.ErrFlowGone) {
		t.Errorf("dead flow in the table: %v", err)
	}
}

func TestPeerThatDoesNotReadIsCut(t *testing.T) {
	r := newRig(t, Config{Queue: 8, WriteTimeout: 300 * time.Millisecond}, nil)
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("slow"))
	link, err := r.flows.Get(wait.Receive(t, r.sink.got).from.ID)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("y"), 1<<20)
	var sendErr error
	for range 200 {
		if sendErr = link.Send(big); sendErr != nil {
			break
		}
	}
	if !errors.Is(sendErr, siptransport.ErrQueueFull) && !errors.Is(sendErr, siptransport.ErrFlowGone) {
		t.Errorf("queue took everything: %v", sendErr)
	}
	wait.Receive(t, r.sink.closed)
}

func TestTrustedProxyTellsTheClient(t *testing.T) {
	r := newRig(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, nil)
	c, _, err := r.dial(http.Header{"X-Forwarded-For": {"6.6.6.6, 203.0.113.5, 127.0.0.9"}, "X-Forwarded-Proto": {"https"}})
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, websocket.MessageText, register("p"))
	g := wait.Receive(t, r.sink.got)
	if g.from.Remote.Addr().String() != "203.0.113.5" || g.from.Transport != "WSS" {
		t.Errorf("flow %+v", g.from)
	}
	if !strings.HasSuffix(g.m.Get("Via"), ";received=203.0.113.5") {
		t.Errorf("Via %s", g.m.Get("Via"))
	}
	plain := newRig(t, Config{}, nil)
	c, _, err = plain.dial(http.Header{"X-Forwarded-For": {"203.0.113.5"}})
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, websocket.MessageText, register("q"))
	if g := wait.Receive(t, plain.sink.got); g.from.Remote.Addr().String() != "127.0.0.1" {
		t.Errorf("a stranger's X-Forwarded-For was believed: %+v", g.from)
	}
}

func TestCloseSaysGoingAway(t *testing.T) {
	r := newRig(t, Config{}, nil)
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("g"))
	wait.Receive(t, r.sink.got)
	closed := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		closed <- err
	}()
	if err := r.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wait.Receive(t, closed); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("client saw %v", err)
	}
}

func TestWSS(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	tlsConfig := &tls.Config{Certificates: cert.TLS.Certificates}
	cert.Close()
	r := newRig(t, Config{}, tlsConfig)
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("s"))
	if g := wait.Receive(t, r.sink.got); g.from.Transport != "WSS" {
		t.Errorf("flow %+v", g.from)
	}
}

// idleClientEnv tells a run of this test binary to be the client of TestIdleConnectionMemory: "scheme address count".
const idleClientEnv = "WSEDGE_IDLE_CLIENT"

// idleClient opens connections, sends one message on each, and holds them until its standard input ends.
func idleClient(spec string) error {
	var scheme, addr string
	var n int
	if _, err := fmt.Sscan(spec, &scheme, &addr, &n); err != nil {
		return err
	}
	msg := register("idle")
	frame := append([]byte{0x81, 0xfe, byte(len(msg) >> 8), byte(len(msg)), 0, 0, 0, 0}, msg...)
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		if scheme == "wss" {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		}
		if _, err := io.WriteString(c, "GET /sip HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 512)); err != nil {
			return err
		}
		if _, err := c.Write(frame); err != nil {
			return err
		}
		defer c.Close()
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// TestIdleConnectionMemory pins what an idle connection that has sent a message costs this process in heap and stacks. The
// clients are another process.
func TestIdleConnectionMemory(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	tlsConfig := &tls.Config{Certificates: cert.TLS.Certificates}
	cert.Close()
	for scheme, conf := range map[string]*tls.Config{"ws": nil, "wss": tlsConfig} {
		t.Run(scheme, func(t *testing.T) {
			r := newRig(t, Config{MaxConnsPerIP: 10000}, conf)
			const n = 300
			before := memory()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			client := exec.CommandContext(t.Context(), self, "-test.run=^$")
			client.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", idleClientEnv, scheme, r.addr, n))
			hold, err := client.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			client.Stdout, client.Stderr = &out, &out
			if err := client.Start(); err != nil {
				t.Fatal(err)
			}
			for range n {
				wait.Receive(t, r.sink.got)
			}
			per := (memory() - before) / n
			t.Logf("%d bytes of heap and stack per idle connection", per)
			if per > 35_000 {
				t.Errorf("%d bytes per idle connection, want at most 35000", per)
			}
			_ = hold.Close()
			if err := client.Wait(); err != nil {
				t.Errorf("client: %v\n%s", err, out.String())
			}
			for range n {
				wait.Receive(t, r.sink.closed)
			}
		})
	}
}

// memory returns the heap and stacks in use after a collection.
func memory() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
