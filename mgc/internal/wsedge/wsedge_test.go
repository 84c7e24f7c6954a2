package wsedge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type got struct {
	m    headers.Msg
	from siptransport.Flow
}

type sink struct {
	got    chan got
	closed chan siptransport.Flow
}

func (s *sink) OnMessage(m headers.Msg, from siptransport.Flow) { s.got <- got{m, from} }
func (s *sink) OnClosed(f siptransport.Flow, _ error)           { s.closed <- f }

// rig is a server on a real socket.
type rig struct {
	t     *testing.T
	s     *Server
	flows *siptransport.Flows
	sink  *sink
	http  *http.Server
	addr  string
	tls   bool
}

func newRig(t *testing.T, cfg Config, tlsConfig *tls.Config, change ...func(*http.Server)) *rig {
	t.Helper()
	r := &rig{t: t, tls: tlsConfig != nil, flows: siptransport.NewFlows(), sink: &sink{make(chan got, 1000), make(chan siptransport.Flow, 1000)}}
	var err error
	if r.s, err = New(cfg, r.flows, r.sink, siptransport.NewMetrics(nil), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/sip", r.s)
	r.http = NewHTTPServer(mux, tlsConfig, log.New(io.Discard, "", 0))
	for _, f := range change {
		f(r.http)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if tlsConfig != nil {
			_ = r.http.ServeTLS(ln, "", "")
		} else {
			_ = r.http.Serve(ln)
		}
	}()
	t.Cleanup(func() {
		_ = r.http.Close()
		<-served
		if err := r.s.Close(); err != nil {
			t.Error(err)
		}
		if r.flows.Len() != 0 || r.s.Len() != 0 || len(r.s.perIP) != 0 || r.s.total != 0 {
			t.Errorf("left: %d flows, %d connections, %v per IP, total %d", r.flows.Len(), r.s.Len(), r.s.perIP, r.s.total)
		}
	})
	return r
}

func ctx5(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial connects as a browser does. The client's own connections are closed with the test.
func (r *rig) dial(header http.Header) (*websocket.Conn, *http.Response, error) {
	r.t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	scheme := "ws"
	if r.tls {
		scheme = "wss"
	}
	c, resp, err := websocket.Dial(ctx5(r.t), scheme+"://"+r.addr+"/sip", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{"sip"}, HTTPHeader: header,
	})
	r.t.Cleanup(func() {
		if c != nil {
			_ = c.CloseNow()
		}
		tr.CloseIdleConnections()
	})
	return c, resp, err
}

func (r *rig) mustDial() *websocket.Conn {
	r.t.Helper()
	c, _, err := r.dial(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if c.Subprotocol() != "sip" {
		r.t.Fatalf("subprotocol %q", c.Subprotocol())
	}
	return c
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came in 10 s")
		panic("unreachable")
	}
}

func send(t *testing.T, c *websocket.Conn, kind websocket.MessageType, s string) {
	t.Helper()
	if err := c.Write(ctx5(t), kind, []byte(s)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c *websocket.Conn) (websocket.MessageType, string) {
	t.Helper()
	kind, b, err := c.Read(ctx5(t))
	if err != nil {
		t.Fatal(err)
	}
	return kind, string(b)
}

func register(callID string) string {
	return "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK" + callID +
		"\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: " + callID +
		"\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
}

func TestRFC7118_MessagesBothWays(t *testing.T) {
	r := newRig(t, Config{SentBy: "gw.example.com"}, nil)
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("m1"))
	g := receive(t, r.sink.got)
	if g.from.Transport != "WS" || g.from.Edge != siptransport.EdgeAccess || g.from.ID == "" || g.from.Local.String() != r.addr {
		t.Errorf("flow %+v", g.from)
	}
	if via := g.m.Get("Via"); via != "SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKm1;received=127.0.0.1" {
		t.Errorf("Via %s", via)
	}
	link, err := r.flows.Get(g.from.ID)
	if err != nil {
		t.Fatal(err)
	}
	if link.SentBy() != "gw.example.com" {
		t.Errorf("sent-by %s", link.SentBy())
	}
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} { // reply in kind
		send(t, c, kind, register("kind"))
		m := receive(t, r.sink.got).m
		resp := headers.NewResponse(&m, 200, "")
		raw, err := resp.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if err := link.Send(raw); err != nil {
			t.Fatal(err)
		}
		if k, s := read(t, c); k != kind || !strings.HasPrefix(s, "SIP/2.0 200 OK\r\n") {
			t.Errorf("answer of kind %v to %v: %q", k, kind, s)
		}
	}
}

func TestRFC6455_FragmentsPingsAndBigMessages(t *testing.T) {
	r := newRig(t, Config{}, nil)
	c := r.mustDial()
	// A SIP message of 60 kB in fragments with a ping between them.
	m := strings.Replace(register("frag"), "Content-Length: 0\r\n\r\n", fmt.Sprintf("Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", 60000), 1) + strings.Repeat("x", 60000)
	w, err := c.Writer(ctx5(t), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	readErr := make(chan error, 1)
	go func() { // pongs are read here
		_, _, err := c.Read(context.Background())
		readErr <- err
	}()
	for b := []byte(m); len(b) > 0; {
		n := min(9000, len(b))
		if _, err := w.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		if err := c.Ping(ctx5(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if g := receive(t, r.sink.got); len(g.m.Body) != 60000 {
		t.Errorf("body of %d bytes", len(g.m.Body))
	}
	_ = c.CloseNow()
	<-readErr
}

func TestKeepAlive(t *testing.T) {
	r := newRig(t, Config{}, nil)
	c := r.mustDial()
	send(t, c, websocket.MessageText, "\r\n")
	send(t, c, websocket.MessageText, "\r\n\r\n")
	if _, s := read(t, c); s != "\r\n" {
		t.Errorf("answer to the double CRLF: %q", s)
	}
	send(t, c, websocket.MessageText, register("alive"))
	receive(t, r.sink.got)
}

func TestMalformedSIPIsAnsweredAndTheConnectionStays(t *testing.T) {
	r := newRig(t, Config{MaxBad: 3}, nil)
	c := r.mustDial()
	bad := strings.Replace(register("bad"), "CSeq: 1 REGISTER", "CSeq: 1 INVITE", 1)
	send(t, c, websocket.MessageText, bad)
	if _, s := read(t, c); !strings.HasPrefix(s, "SIP/2.0 400 CSeq Method Does Not Match\r\n") {
		t.Errorf("answer %q", s)
	}
	send(t, c, websocket.MessageText, "no SIP at all")
	send(t, c, websocket.MessageText, register("fine"))
	if g := receive(t, r.sink.got); g.m.Get("Call-ID") != "fine" {
		t.Errorf("got %q", g.m.Get("Call-ID"))
	}
	send(t, c, websocket.MessageText, bad) // the third
	read(t, c)                             // is answered before the close
	if _, _, err := c.Read(ctx5(t)); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("after too many: %v", err)
	}
	if f := receive(t, r.sink.closed); f.ID == "" {
		t.Error("no flow id")
	}
}

func TestBadFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, c *websocket.Conn)
		want websocket.StatusCode
	}{
		{"oversize", func(t *testing.T, c *websocket.Conn) {
			_ = c.Write(ctx5(t), websocket.MessageText, bytes.Repeat([]byte("x"), 65537))
		}, websocket.StatusMessageTooBig},
		{"text that is no UTF-8", func(t *testing.T, c *websocket.Conn) { send(t, c, websocket.MessageText, "\xff\xfe") }, websocket.StatusInvalidFramePayloadData},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{}, nil)
			other := r.mustDial()
			conn := r.mustDial()
			conn.SetReadLimit(1 << 20)
			c.do(t, conn)
			if _, _, err := conn.Read(ctx5(t)); websocket.CloseStatus(err) != c.want {
				t.Errorf("close: %v, want status %d", err, c.want)
			}
			receive(t, r.sink.closed)
			send(t, other, websocket.MessageText, register("other"))
			receive(t, r.sink.got)
		})
	}
}

// upgrade writes a handshake by hand and returns the socket with the answer's status.
func (r *rig) upgrade(t *testing.T, lines ...string) (net.Conn, *bufio.Reader, string) {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	req := "GET /sip HTTP/1.1\r\nHost: " + r.addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + strings.Join(lines, "\r\n")
	if len(lines) > 0 {
		req += "\r\n"
	}
	if _, err := io.WriteString(c, req+"\r\n"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := ""
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		body = string(b)
		_ = resp.Body.Close()
	}
	return c, br, strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Sec-WebSocket-Protocol"), body))
}

func TestGarbageFramesEndOnlyTheirConnection(t *testing.T) {
	for name, frame := range map[string]string{
		"unmasked":           "\x81\x05hello",
		"reserved bits":      "\xf1\x85\x00\x00\x00\x00hello",
		"unknown opcode":     "\x83\x80\x00\x00\x00\x00",
		"continuation first": "\x80\x80\x00\x00\x00\x00",
		"long control":       "\x89\xfe\x00\x80\x00\x00\x00\x00" + strings.Repeat("x", 128),
		"fragmented ping":    "\x09\x80\x00\x00\x00\x00",
		"length 2^63":        "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"HTTP again":         "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"noise":              "\xde\xad\xbe\xef\xde\xad\xbe\xef\xde\xad\xbe\xef",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{MessageTimeout: 500 * time.Millisecond, PingInterval: 300 * time.Millisecond, PongTimeout: 300 * time.Millisecond}, nil)
			other := r.mustDial()
			pongs := other.CloseRead(context.Background())
			c, br, status := r.upgrade(t, "Sec-WebSocket-Protocol: sip")
			if status != "101 sip" {
				t.Fatalf("handshake: %s", status)
			}
			if _, err := io.WriteString(c, frame); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(br); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("connection was not closed: %v", err)
			}
			receive(t, r.sink.closed)
			if pongs.Err() != nil {
				t.Error("the other connection ended, too")
			}
			send(t, other, websocket.MessageText, register("other"))
			receive(t, r.sink.got)
		})
	}
}

func TestHandshakeVerdicts(t *testing.T) {
	r := newRig(t, Config{Origins: []string{"https://phone.example.com", "https://*.corp.example", "http://localhost:5173"}}, nil)
	const sip = "Sec-WebSocket-Protocol: sip"
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"sip", []string{sip}, "101 sip"},
		{"sip among others", []string{"Sec-WebSocket-Protocol: xmpp, sip"}, "101 sip"},
		{"none", nil, `400 Sec-WebSocket-Protocol must offer "sip" (RFC 7118)`},
		{"another", []string{"Sec-WebSocket-Protocol: xmpp"}, `400 Sec-WebSocket-Protocol must offer "sip" (RFC 7118)`},
		{"like sip", []string{"Sec-WebSocket-Protocol: sips, sip2"}, `400 Sec-WebSocket-Protocol must offer "sip" (RFC 7118)`},
		{"allowed origin", []string{sip, "Origin: https://phone.example.com"}, "101 sip"},
		{"allowed origin, other case", []string{sip, "Origin: HTTPS://Phone.Example.com"}, "101 sip"},
		{"own origin", []string{sip, "Origin: http://" + r.addr}, "101 sip"},
		{"subdomain", []string{sip, "Origin: https://a.b.corp.example"}, "101 sip"},
		{"with port", []string{sip, "Origin: http://localhost:5173"}, "101 sip"},
		{"other port", []string{sip, "Origin: http://localhost:5174"}, "403 this origin is not allowed to connect"},
		{"foreign origin", []string{sip, "Origin: https://evil.example"}, "403 this origin is not allowed to connect"},
		{"other scheme", []string{sip, "Origin: http://phone.example.com"}, "403 this origin is not allowed to connect"},
		{"suffix trick", []string{sip, "Origin: https://evilcorp.example"}, "403 this origin is not allowed to connect"},
		{"prefix trick", []string{sip, "Origin: https://phone.example.com.evil.example"}, "403 this origin is not allowed to connect"},
		{"null", []string{sip, "Origin: null"}, "403 this origin is not allowed to connect"},
		{"two origins", []string{sip, "Origin: https://phone.example.com", "Origin: https://evil.example"}, "403 this origin is not allowed to connect"},
	} {
		if _, _, got := r.upgrade(t, c.lines...); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	resp, err := http.Get("http://" + r.addr + "/sip")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("plain GET: %d", resp.StatusCode)
	}
}

func TestRequireOriginAndPatterns(t *testing.T) {
	r := newRig(t, Config{RequireOrigin: true, Origins: []string{"*"}}, nil)
	if _, _, got := r.upgrade(t, "Sec-WebSocket-Protocol: sip"); !strings.HasPrefix(got, "403") {
		t.Errorf("no origin: %s", got)
	}
	if _, _, got := r.upgrade(t, "Sec-WebSocket-Protocol: sip", "Origin: https://anything.example"); got != "101 sip" {
		t.Errorf("any origin: %s", got)
	}
	for _, bad := range []string{"phone.example.com", "https://", "https://a.*.b", "https://x/path", "://"} {
		if _, err := New(Config{Origins: []string{bad}}, nil, nil, nil, zap.NewNop()); err == nil {
			t.Errorf("origin %q accepted", bad)
		}
	}
}

func TestHalfOpenHandshakesDelayNobody(t *testing.T) {
	r := newRig(t, Config{}, nil, func(s *http.Server) { s.ReadHeaderTimeout = 500 * time.Millisecond })
	var held []net.Conn
	for i := range 50 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
		if _, err := io.WriteString(c, "GET /sip HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nX-"[:1+i]); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("quick"))
	receive(t, r.sink.got)
	if d := time.Since(start); d > 400*time.Millisecond {
		t.Errorf("a client waited %v behind half-open handshakes", d)
	}
	for _, h := range held { // and they are not kept
		_ = h.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(h); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("half-open handshake still open: %v", err)
		}
	}
}

func TestSlowMessageEndsItsConnection(t *testing.T) {
	r := newRig(t, Config{MessageTimeout: 200 * time.Millisecond}, nil)
	c, br, _ := r.upgrade(t, "Sec-WebSocket-Protocol: sip")
	if _, err := io.WriteString(c, "\x81\xfe\x10\x00\x00\x00\x00\x00REGISTER"); err != nil { // 8 of 4096 bytes
		t.Fatal(err)
	}
	if _, err := io.ReadAll(br); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("not closed: %v", err)
	}
	receive(t, r.sink.closed)
}

func TestDeadPeerIsFoundByPing(t *testing.T) {
	r := newRig(t, Config{PingInterval: 100 * time.Millisecond, PongTimeout: 200 * time.Millisecond}, nil)
	alive := r.mustDial()
	reading := alive.CloseRead(context.Background())      // answers pings
	_, _, _ = r.upgrade(t, "Sec-WebSocket-Protocol: sip") // never does
	receive(t, r.sink.closed)
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
	receive(t, r.sink.closed)
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
	f := receive(t, r.sink.got).from
	link, err := r.flows.Get(f.ID)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.CloseNow()
	if h := receive(t, hook); h.ID != f.ID {
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
	link, err := r.flows.Get(receive(t, r.sink.got).from.ID)
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
	receive(t, r.sink.closed)
}

func TestTrustedProxyTellsTheClient(t *testing.T) {
	r := newRig(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, nil)
	c, _, err := r.dial(http.Header{"X-Forwarded-For": {"6.6.6.6, 203.0.113.5, 127.0.0.9"}, "X-Forwarded-Proto": {"https"}})
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, websocket.MessageText, register("p"))
	g := receive(t, r.sink.got)
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
	if g := receive(t, plain.sink.got); g.from.Remote.Addr().String() != "127.0.0.1" {
		t.Errorf("a stranger's X-Forwarded-For was believed: %+v", g.from)
	}
}

func TestCloseSaysGoingAway(t *testing.T) {
	r := newRig(t, Config{}, nil)
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("g"))
	receive(t, r.sink.got)
	closed := make(chan error, 1)
	go func() {
		_, _, err := c.Read(context.Background())
		closed <- err
	}()
	if err := r.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, closed); websocket.CloseStatus(err) != websocket.StatusGoingAway {
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
	if g := receive(t, r.sink.got); g.from.Transport != "WSS" {
		t.Errorf("flow %+v", g.from)
	}
}

// TestIdleConnectionMemory pins what an idle connection that has sent a message costs over plain WS: heap and stacks of this
// process, in which the client's socket is counted, too. TLS comes on top.
func TestIdleConnectionMemory(t *testing.T) {
	r := newRig(t, Config{MaxConnsPerIP: 10000}, nil)
	const n = 300
	raw := make([]net.Conn, 0, n)
	measure := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := measure()
	for range n {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, c)
		if _, err := io.WriteString(c, "GET /sip HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 512)
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
		msg := register("mem")
		frame := append([]byte{0x81, 0xfe, byte(len(msg) >> 8), byte(len(msg)), 0, 0, 0, 0}, msg...)
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
		receive(t, r.sink.got)
	}
	per := (measure() - before) / n
	t.Logf("%d bytes of heap and stack per idle connection", per)
	if per > 35_000 {
		t.Errorf("%d bytes per idle connection, want at most 35000", per)
	}
	for _, c := range raw {
		_ = c.Close()
	}
	for range n {
		receive(t, r.sink.closed)
	}
}
