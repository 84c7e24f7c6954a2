package signalling

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// socket is a client's end of a WebSocket (RFC 6455) that spends little: unfragmented text frames, pongs, close.
type socket struct {
	conn net.Conn
	in   *bufio.Reader

	mu  sync.Mutex // guards out and the order of writes
	out []byte
}

// Bounds of a connection.
const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	maxFrame     = 64 << 10
)

var errFrame = errors.New("signalling: unexpected WebSocket frame")

// dial opens a WebSocket for SIP (RFC 7118) from the local address to a server whose certificate is not checked.
func dial(from net.IP, addr, path string, secure bool) (*socket, error) {
	d := net.Dialer{Timeout: dialTimeout, LocalAddr: &net.TCPAddr{IP: from}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("signalling: %w", err)
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) // a test certificate on loopback
	}
	s := &socket{conn: conn, in: bufio.NewReaderSize(conn, 4096)}
	if err := s.upgrade(addr, path); err != nil {
		return nil, errors.Join(fmt.Errorf("signalling: WebSocket to %s: %w", addr, err), conn.Close())
	}
	return s, nil
}

func (s *socket) upgrade(addr, path string) error {
	if err := s.conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	var key [16]byte
	rand.Read(key[:])
	_, err := fmt.Fprintf(s.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\nOrigin: http://%s\r\n\r\n", path, addr, base64.StdEncoding.EncodeToString(key[:]), addr)
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || !strings.EqualFold(resp.Header.Get("Sec-WebSocket-Protocol"), "sip") {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return s.conn.SetDeadline(time.Time{})
}

// Opcodes of RFC 6455 §5.2.
const (
	opText, opBinary, opClose, opPing, opPong = 1, 2, 8, 9, 10
	final                                     = 0x80
)

// read returns the next message; pings are answered. The buffer is the caller's and may be grown.
func (s *socket) read(buf []byte) ([]byte, error) {
	for {
		op, body, err := s.frame(buf)
		if err != nil {
			return buf, err
		}
		switch op {
		case final | opText, final | opBinary:
			return body, nil
		case final | opPing:
			if err := s.write(opPong, body); err != nil {
				return buf, err
			}
		case final | opPong:
		case final | opClose:
			return buf, io.EOF
		default:
			return buf, fmt.Errorf("%w: %#x", errFrame, op)
		}
		buf = body
	}
}

func (s *socket) frame(buf []byte) (op byte, body []byte, err error) {
	var h [8]byte
	if _, err = io.ReadFull(s.in, h[:2]); err != nil {
		return 0, buf, err
	}
	op = h[0]
	n := uint64(h[1])
	switch {
	case n == 126:
		if _, err = io.ReadFull(s.in, h[:2]); err != nil {
			return op, buf, err
		}
		n = uint64(binary.BigEndian.Uint16(h[:2]))
	case n > 126:
		return op, buf, fmt.Errorf("%w: length byte %d", errFrame, n)
	}
	if n > uint64(cap(buf)) {
		buf = make([]byte, n, min(2*n, maxFrame))
	}
	body = buf[:n]
	_, err = io.ReadFull(s.in, body)
	return op, body, err
}

// send writes a text message.
func (s *socket) send(msg []byte) error { return s.write(opText, msg) }

func (s *socket) write(op byte, msg []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := append(s.out[:0], final|op)
	switch n := len(msg); {
	case n < 126:
		out = append(out, 0x80|byte(n))
	case n < maxFrame:
		out = binary.BigEndian.AppendUint16(append(out, 0x80|126), uint16(n))
	default:
		return fmt.Errorf("%w: message of %d bytes", errFrame, n)
	}
	var mask [4]byte
	rand.Read(mask[:])
	out = append(out, mask[:]...)
	for i, c := range msg {
		out = append(out, c^mask[i&3])
	}
	s.out = out
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(out)
	return err
}

func (s *socket) close() error { return s.conn.Close() }
