package wsedge

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

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
			r := newRig(t, Config{MessageTimeout: 500 * time.Millisecond, PingInterval: 300 * time.Millisecond, PongTimeout: wait.Limit}, nil)
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
			wait.Receive(t, r.sink.closed)
			if n := r.refused("violation"); n != 1 {
				t.Errorf("%v violations counted, want 1", n)
			}
			if pongs.Err() != nil {
				t.Error("the other connection ended, too")
			}
			send(t, other, websocket.MessageText, register("other"))
			wait.Receive(t, r.sink.got)
		})
	}
}

func TestARC07_R7118_1_HandshakeVerdicts(t *testing.T) {
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
	for name, kept := range map[string]time.Duration{"nobody waits for their end": time.Hour, "they end": 500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) { halfOpen(t, kept) })
	}
}

// halfOpen makes half-open handshakes, which are kept for a while, and a whole one, which is served; they are gone at the end, unless they were to stay.
func halfOpen(t *testing.T, kept time.Duration) {
	r := newRig(t, Config{}, nil, func(s *http.Server) { s.ReadHeaderTimeout = kept })
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
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("quick"))
	wait.Receive(t, r.sink.got)
	if kept > wait.Limit {
		return
	}
	for _, h := range held {
		_ = h.SetReadDeadline(time.Now().Add(wait.Limit))
		if _, err := io.ReadAll(h); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("half-open handshake still open: %v", err)
		}
	}
}

func TestHalfOpenTLSHandshakesDelayNobody(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	tlsConfig := &tls.Config{Certificates: cert.TLS.Certificates}
	cert.Close()
	r := newRig(t, Config{}, tlsConfig, func(s *http.Server) { s.ReadHeaderTimeout = 500 * time.Millisecond })
	var held []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01}); err != nil { // the start of a ClientHello
			t.Fatal(err)
		}
		held = append(held, c)
	}
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("quick"))
	wait.Receive(t, r.sink.got)
	for _, h := range held {
		_ = h.SetReadDeadline(time.Now().Add(wait.Limit))
		if _, err := io.ReadAll(h); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("half-open TLS handshake still open: %v", err)
		}
	}
}
