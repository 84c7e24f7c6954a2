package badinput

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

const refusedWS = `isthmus_mgc_sip_refused_total{transport="WS",reason="%s"}`

func wsReason(r string) string { return fmt.Sprintf(refusedWS, r) }

func webSockets(t *testing.T, b *bed) {
	t.Run("handshakes", func(t *testing.T) { handshakes(t, b) })
	t.Run("HTTP", func(t *testing.T) { plainHTTP(t, b) })
	t.Run("messages", func(t *testing.T) { badMessages(t, b) })
	t.Run("frames", func(t *testing.T) { badFrames(t, b) })
	t.Run("fragments and pings", func(t *testing.T) { oddButRight(t, b) })
	t.Run("TLS garbage", func(t *testing.T) { tlsGarbage(t, b) })
}

// slowClients opens 200 half-open handshakes, and headers, frames and messages that come byte by byte; others are not
// delayed by them. The result waits until all are cut: for minutes nobody may hold a place by sending nearly nothing.
func slowClients(t *testing.T, b *bed) (finish func(*testing.T)) {
	half := make([]net.Conn, 200)
	for i := range half {
		half[i] = dialTCP(t, b.At(scenario.PortWS))
		request := handshake(b.At(scenario.PortWS), "Sec-WebSocket-Protocol: sip")
		if _, err := io.WriteString(half[i], request[:rand.IntN(len(request)-2)]); err != nil {
			t.Fatal(err)
		}
	}
	const pause = 100 * time.Millisecond
	big := strings.Repeat("x", 4000)
	slow := map[string]chan error{
		"HTTP header by bytes": drip(dialTCP(t, b.At(scenario.PortWS)), []byte(handshake(b.At(scenario.PortWS), "X-Long: "+big)), pause),
		"frame by bytes":       drip(b.rawWS(t).conn, frameOf(0x81, true, 4000, []byte(big)), pause),
		"TLS hello by bytes":   drip(dialTCP(t, b.At(portWSS)), append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252}, big[:500]...), pause),
		"SIP by bytes":         drip(dialTCP(t, b.At(scenario.PortCore)), []byte("OPTIONS sip:"+b.At(scenario.PortCore)+" SIP/2.0\r\nSubject: "+big), pause),
		"SIP of half a body":   drip(dialTCP(t, b.At(scenario.PortCore)), []byte(coreRequest(b, "OPTIONS").set("Content-Length", "4000").String()+big), pause),
	}
	b.register(t, "bob", nil)
	for _, c := range half { // that it did not wait for their end shows in that they have not ended
		if !open(c) {
			t.Error("a registration succeeded only after half-open handshakes were cut")
			break
		}
	}
	return func(t *testing.T) {
		for i, c := range half {
			if err := ended(c, 2*deadline); err != nil {
				t.Fatalf("half-open handshake %d: %v", i, err)
			}
		}
		for name, done := range slow {
			select {
			case err := <-done:
				if err == nil {
					t.Errorf("%s: taken to the end", name)
				}
			case <-time.After(4 * deadline):
				t.Errorf("%s: not cut", name)
			}
		}
	}
}

// drip writes byte by byte until it is cut off, which gives the error.
func drip(c net.Conn, what []byte, pause time.Duration) chan error {
	done := make(chan error, 1)
	_ = c.SetDeadline(time.Time{})
	go func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := range what {
			<-tick.C
			if _, err := c.Write(what[i : i+1]); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return done
}

// handshakes are upgrades that are refused, each with a text that says why, or taken.
func handshakes(t *testing.T, b *bed) {
	host := b.At(scenario.PortWS)
	const sub, origin = "Sec-WebSocket-Protocol: sip", "Origin: "
	for name, tc := range map[string]struct {
		lines []string
		want  string // status and text; "101" alone: taken
		why   string // reason on /metrics
	}{
		"no subprotocol":           {nil, `400 Sec-WebSocket-Protocol must offer "sip" (RFC 7118)`, "subprotocol"},
		"wrong subprotocol":        {[]string{"Sec-WebSocket-Protocol: chat, mqtt"}, `400 Sec-WebSocket-Protocol must offer "sip" (RFC 7118)`, "subprotocol"},
		"among others":             {[]string{"Sec-WebSocket-Protocol: chat, sip"}, "101", ""},
		"wrong origin":             {[]string{sub, origin + otherOrigin}, "403 this origin is not allowed to connect", "origin"},
		"origin of another scheme": {[]string{sub, origin + "http://phone.example.com"}, "403 this origin is not allowed to connect", "origin"},
		"origin with suffix":       {[]string{sub, origin + allowedOrigin + ".evil.net"}, "403 this origin is not allowed to connect", "origin"},
		"two origins":              {[]string{sub, origin + allowedOrigin, origin + otherOrigin}, "403 this origin is not allowed to connect", "origin"},
		"null origin":              {[]string{sub, origin + "null"}, "403 this origin is not allowed to connect", "origin"},
		"origin of garbage":        {[]string{sub, origin + "\x1b[31m%zz"}, "400", ""},
		"escaped garbage":          {[]string{sub, origin + "http://%1b[31m/"}, "403 this origin is not allowed to connect", "origin"},
		"no origin":                {[]string{sub}, "101", ""},
		"own origin":               {[]string{sub, origin + "http://" + host}, "101", ""},
		"allowed origin":           {[]string{sub, origin + allowedOrigin}, "101", ""},
		"old version":              {[]string{sub, "Sec-WebSocket-Version: 8"}, "", "handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func() {
				request := handshake(host, tc.lines...)
				if name == "old version" {
					request = strings.Replace(request, "Sec-WebSocket-Version: 13\r\n", "", 1)
				}
				resp, _ := httpAsk(t, dialTCP(t, host), request)
				got := fmt.Sprint(resp.StatusCode)
				if len(tc.want) > 3 {
					got = text(resp)
				}
				if tc.want == "" && resp.StatusCode/100 == 4 {
					return
				}
				if got != tc.want {
					t.Errorf("answered %q, want %q", got, tc.want)
				}
			}
			if tc.why == "" {
				ask()
				return
			}
			b.counts(t, "mgc", wsReason(tc.why), 1, ask)
		})
	}
}

// plainHTTP are requests that are no upgrade.
func plainHTTP(t *testing.T, b *bed) {
	host := b.At(scenario.PortWS)
	line := func(method, path string, lines ...string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
	}
	const speaks = "426 this path speaks SIP over WebSocket (RFC 7118)"
	for name, tc := range map[string]struct{ request, want string }{
		"GET":              {line("GET", wsPath), speaks},
		"POST":             {line("POST", wsPath, "Content-Length: 3") + "abc", speaks},
		"DELETE":           {line("DELETE", wsPath), speaks},
		"TRACE":            {line("TRACE", wsPath), speaks},
		"POST as upgrade":  {strings.Replace(handshake(host, "Sec-WebSocket-Protocol: sip"), "GET", "POST", 1), "405"},
		"POST to the page": {line("POST", "/", "Content-Length: 0"), "405"},
		"path out of root": {line("GET", "/../../../../etc/passwd"), "307"},
		"escaped path":     {line("GET", "/..%2f..%2f..%2fetc%2fpasswd"), "404"},
		"hidden file":      {line("GET", "/.keep"), "404"},
		"unknown method":   {line("BREW", wsPath), speaks},
		"SIP":              {"REGISTER sip:isthmus.example SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx\r\n\r\n", "400"},
		"garbage":          {"\x00\x01\x02\x03\xff\r\n\r\n", "400"},
		"two lengths":      {line("POST", wsPath, "Content-Length: 3", "Content-Length: 4") + "abcd", "400"},
		"chunks of nobody": {line("POST", wsPath, "Transfer-Encoding: gzip, nothing") + "abcd", "501"},
		"huge header":      {line("GET", wsPath, "X-Long: "+strings.Repeat("x", 40<<10)), "431"},
		"many headers":     {line("GET", wsPath, strings.Repeat("X-Many: y\r\n", 4000)+"X-End: z"), "431"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, _ := httpAsk(t, dialTCP(t, host), tc.request)
			got := fmt.Sprint(resp.StatusCode)
			if len(tc.want) > 3 {
				got = text(resp)
			}
			if got != tc.want {
				t.Errorf("answered %q, want %q", got, tc.want)
			}
		})
	}
}

// badMessages are whole WebSocket messages that are no SIP.
func badMessages(t *testing.T, b *bed) {
	garbage := make([]byte, 300)
	for i := range garbage {
		garbage[i] = byte(rand.IntN(256))
	}
	garbage[0] = 0xff // no UTF-8, whatever the rest
	for name, tc := range map[string]struct {
		op      byte
		message []byte
		why     string
		close   int // 0: the connection stays
	}{
		"garbage":            {opText, []byte("this is no SIP at all"), "unanswerable", 0},
		"binary garbage":     {opBinary, garbage, "unanswerable", 0},
		"text that is not":   {opText, garbage, "violation", 1007},
		"zeros":              {opBinary, make([]byte, 1000), "unanswerable", 0},
		"half a message":     {opText, []byte("OPTIONS sip:isthmus.example SIP/2.0\r\nVia: SIP/2.0/WS"), "unanswerable", 0},
		"stray response":     {opText, []byte("SIP/2.0 200 OK\r\n\r\n"), "unanswerable", 0},
		"oversize":           {opText, bytes.Repeat([]byte("x"), 70_000), "oversize", 1009},
		"oversize in binary": {opBinary, make([]byte, 1<<20), "oversize", 1009},
	} {
		t.Run(name, func(t *testing.T) {
			w := b.rawWS(t)
			b.counts(t, "mgc", wsReason(tc.why), 1, func() {
				_, _ = w.conn.Write(frameOf(0x80|tc.op, true, len(tc.message), tc.message)) // the server may close before it has all
				if tc.close != 0 {
					w.mustClose(t, tc.close)
				}
			})
			if tc.close == 0 {
				w.alive(t, b)
			}
		})
	}
	t.Run("ten of them", func(t *testing.T) {
		w := b.rawWS(t)
		b.counts(t, "mgc", wsReason("violation"), 1, func() {
			for range 10 {
				w.send(t, true, opText, []byte("nonsense"))
			}
			w.mustClose(t, 1008)
		})
	})
}

// alive requires that the connection still works: OPTIONS for the gateway itself is answered by 200.
func (w *rawWS) alive(t *testing.T, b *bed) {
	t.Helper()
	w.send(t, true, opText, []byte(options(b).String()))
	w.answered(t)
}

// options is a question to the gateway itself, which it answers without a registration.
func options(b *bed) *message {
	return compose("OPTIONS", "sip:"+b.At(scenario.PortWS), "sip:nobody@"+domain, "WS raw.invalid")
}

func (w *rawWS) answered(t *testing.T) {
	t.Helper()
	for {
		op, p := w.read()
		switch {
		case op != opText && op != opBinary:
			t.Errorf("opcode %d %q instead of an answer", op, p)
			return
		case strings.HasPrefix(string(p), "SIP/2.0 200 "):
			return
		}
	}
}

// badFrames break RFC 6455 itself; the server closes with the status of §7.4.1 (close 0: without a word, as §5.1 allows).
func badFrames(t *testing.T, b *bed) {
	for name, tc := range map[string]struct {
		frames [][]byte
		close  int
	}{
		"not masked":            {[][]byte{frameOf(0x81, false, 3, []byte("abc"))}, 0},
		"reserved bit":          {[][]byte{frameOf(0xc1, true, 3, []byte("abc"))}, 1002},
		"reserved opcode":       {[][]byte{frameOf(0x83, true, 3, []byte("abc"))}, 1002},
		"long ping":             {[][]byte{frameOf(0x89, true, 200, make([]byte, 200))}, 1002},
		"fragmented ping":       {[][]byte{frameOf(0x09, true, 3, []byte("abc"))}, 1002},
		"continues nothing":     {[][]byte{frameOf(0x80, true, 3, []byte("abc"))}, 1002},
		"text within a text":    {[][]byte{frameOf(0x01, true, 3, []byte("abc")), frameOf(0x81, true, 3, []byte("abc"))}, 1002},
		"close of one byte":     {[][]byte{frameOf(0x88, true, 1, []byte{3})}, 1002},
		"length above 2^62":     {[][]byte{{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}}, 0},
		"fragments without end": {bytesOf(80, frameOf(0x01, true, 1000, bytes.Repeat([]byte("x"), 1000)), frameOf(0x00, true, 1000, bytes.Repeat([]byte("x"), 1000))), 1009},
	} {
		t.Run(name, func(t *testing.T) {
			w := b.rawWS(t)
			why := map[int]string{0: "violation", 1002: "violation", 1009: "oversize"}[tc.close]
			b.counts(t, "mgc", wsReason(why), 1, func() {
				for _, f := range tc.frames {
					if _, err := w.conn.Write(f); err != nil {
						break // closed meanwhile
					}
				}
				if tc.close == 0 {
					if err := ended(w.conn, deadline); err != nil {
						t.Error(err)
					}
					return
				}
				w.mustClose(t, tc.close)
			})
		})
	}
}

// bytesOf is one frame followed by n others.
func bytesOf(n int, first, next []byte) [][]byte {
	out := [][]byte{first}
	for range n {
		out = append(out, next)
	}
	return out
}

// oddButRight is allowed and must work: fragments, empty fragments, pings between fragments, with payload.
func oddButRight(t *testing.T, b *bed) {
	w := b.rawWS(t)
	msg := []byte(options(b).String())
	for i := range msg {
		op := byte(opContinue)
		if i == 0 {
			op = opText
		}
		w.send(t, i == len(msg)-1, op, msg[i:i+1])
		switch i {
		case 10:
			w.send(t, false, opContinue, nil)
		case 20:
			w.send(t, true, opPing, []byte("are you there?"))
			if op, p := w.read(); op != opPong || string(p) != "are you there?" {
				t.Errorf("ping answered by opcode %d %q", op, p)
			}
		}
	}
	w.answered(t)
	w.send(t, true, opPing, bytes.Repeat([]byte("p"), 125))
	if op, p := w.read(); op != opPong || len(p) != 125 {
		t.Errorf("ping answered by opcode %d, %d bytes", op, len(p))
	}
	w.send(t, true, opPong, []byte("unasked"))
	w.send(t, true, opText, []byte("\r\n\r\n")) // keep-alive (RFC 5626 §3.5.1)
	if op, p := w.read(); op != opText || string(p) != "\r\n" {
		t.Errorf("keep-alive answered by opcode %d %q", op, p)
	}
	w.send(t, true, opClose, binary.BigEndian.AppendUint16(nil, 1000))
	w.mustClose(t, 1000)
}

// tlsGarbage is no TLS, or HTTP, on the TLS port; a real client gets through after it.
func tlsGarbage(t *testing.T, b *bed) {
	for name, what := range map[string]string{
		"garbage": strings.Repeat("\x00\xff\x1b[31m", 200), "SIP": options(b).String(),
		"hello of nonsense": "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "alert": "\x15\x03\x03\x00\x02\x02\x28",
	} {
		c := dialTCP(t, b.At(portWSS))
		_, _ = io.WriteString(c, what) // may be closed already
		if err := ended(c, 2*deadline); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	resp, _ := httpAsk(t, dialTCP(t, b.At(portWSS)), handshake(b.At(portWSS), "Sec-WebSocket-Protocol: sip"))
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP on the TLS port: %s", text(resp))
	}
	if _, err := tls.Dial("tcp", b.At(portWSS), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil { //nolint:gosec // that is the test
		t.Error("TLS 1.1 is taken")
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // self-signed
	c, _, err := websocket.Dial(ctx, "wss://"+b.At(portWSS)+wsPath, &websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPClient: client})
	if err != nil {
		t.Fatalf("wss after garbage: %v", err)
	}
	_ = c.CloseNow()
}
