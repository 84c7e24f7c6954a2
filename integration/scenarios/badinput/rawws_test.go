package badinput

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

// rawWS is a WebSocket client that may break every rule of RFC 6455.
type rawWS struct {
	conn net.Conn
	in   *bufio.Reader
}

// Opcodes (RFC 6455 §5.2).
const (
	opContinue, opText, opBinary = 0, 1, 2
	opClose, opPing, opPong      = 8, 9, 10
)

// handshake is a correct upgrade request; further header lines may follow.
func handshake(host string, lines ...string) string {
	return "GET " + wsPath + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

// dialTCP opens a connection that lives to the end of the test at most, each read and write of it within the deadline.
func dialTCP(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * deadline))
	return c
}

// httpAsk writes a request as it is and returns the response.
func httpAsk(t *testing.T, c net.Conn, request string) (*http.Response, *bufio.Reader) {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("no HTTP response to %.60q: %v", request, err)
	}
	return resp, in
}

// text is a response as "403 body".
func text(resp *http.Response) string {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // a cut body shows in the comparison
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
}

func (b *bed) rawWS(t *testing.T) *rawWS {
	t.Helper()
	c := dialTCP(t, b.At(scenario.PortWS))
	resp, in := httpAsk(t, c, handshake(b.At(scenario.PortWS), "Sec-WebSocket-Protocol: sip"))
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %s", text(resp))
	}
	return &rawWS{c, in}
}

// frameOf is one frame; length may differ from the payload's. Zero key: the payload stays readable.
func frameOf(first byte, masked bool, length int, payload []byte) []byte {
	out := []byte{first, 0}
	switch {
	case length < 126:
		out[1] = byte(length)
	case length < 1<<16:
		out[1] = 126
		out = binary.BigEndian.AppendUint16(out, uint16(length))
	default:
		out[1] = 127
		out = binary.BigEndian.AppendUint64(out, uint64(length))
	}
	if masked {
		out[1] |= 0x80
		out = append(out, 0, 0, 0, 0)
	}
	return append(out, payload...)
}

// send writes a correct frame.
func (w *rawWS) send(t *testing.T, fin bool, op byte, payload []byte) {
	t.Helper()
	if fin {
		op |= 0x80
	}
	w.write(t, frameOf(op, true, len(payload), payload))
}

func (w *rawWS) write(t *testing.T, b []byte) {
	t.Helper()
	if _, err := w.conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

// read returns the next frame of the server; an end of the connection is opcode 0 with the error's text.
func (w *rawWS) read() (op byte, payload []byte) {
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		return 0, []byte(err.Error())
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		var l [2]byte
		if _, err := io.ReadFull(w.in, l[:]); err != nil {
			return 0, []byte(err.Error())
		}
		n = int(binary.BigEndian.Uint16(l[:]))
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(w.in, payload); err != nil {
		return 0, []byte(err.Error())
	}
	return head[0] & 0x0f, payload
}

// mustClose reads on to the close frame, which must carry the status, and to the end of the connection.
func (w *rawWS) mustClose(t *testing.T, status int) {
	t.Helper()
	for {
		op, p := w.read()
		switch {
		case op == 0:
			t.Errorf("closed without a close frame (%s), want status %d", p, status)
			return
		case op != opClose:
			continue
		case len(p) < 2 || int(binary.BigEndian.Uint16(p)) != status:
			t.Errorf("closed with %q, want status %d", p, status)
		}
		return
	}
}

// open reports whether the server has neither closed the connection nor sent anything.
func open(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// ended waits until the server has closed the connection.
func ended(c net.Conn, within time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, c)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fmt.Errorf("still open after %v", within)
	}
	return nil
}
