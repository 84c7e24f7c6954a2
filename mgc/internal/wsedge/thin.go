package wsedge

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
)

// thin takes over the connection of an HTTP request without its buffers, 4 KiB each way: what an idle connection would keep for nothing.
// Buffers are lent while bytes are in them. Reads of a plain connection fill a buffer by one system call; a TLS connection has its record
// at hand. Each frame is written at once, in one system call and one TLS record.
type thin struct {
	net.Conn
	buffers *readBuffers
	raw     syscall.RawConn              // nil: TLS
	fill    func(fd uintptr) (done bool) // receive as a value, made once

	// Owned by the reader.
	rest []byte  // what the HTTP server has read ahead
	lent *[]byte // holds rest; nil: rest is not lent
	err  error   // of the last receive

	out *[]byte // the frame being gathered; nil: none. Owned by the writer, of which the library has one at a time.
}

// smallest is the least that bufio allows, bytes: its buffers only hold frame headers.
const smallest = 16

// hijacker hands a thin connection to the WebSocket library.
type hijacker struct {
	http.ResponseWriter
	buffers *readBuffers
}

// Hijack implements http.Hijacker.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t := &thin{Conn: conn, buffers: h.buffers}
	t.fill = t.receive
	if n := rw.Reader.Buffered(); n > 0 {
		ahead, _ := rw.Reader.Peek(n) // all of it is there
		t.rest = append([]byte(nil), ahead...)
	}
	if plain, ok := conn.(*net.TCPConn); ok {
		if t.raw, err = plain.SyscallConn(); err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
	}
	return t, bufio.NewReadWriter(bufio.NewReaderSize(t, smallest), bufio.NewWriterSize(gather{t}, smallest)), nil
}

// Read implements io.Reader.
func (t *thin) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		if t.raw == nil {
			return t.Conn.Read(p)
		}
		if err := t.raw.Read(t.fill); err != nil {
			return 0, err
		}
		if t.err != nil {
			return 0, t.err
		}
	}
	n := copy(p, t.rest)
	if t.rest = t.rest[n:]; len(t.rest) == 0 {
		t.rest = nil
		if t.lent != nil {
			t.buffers.put(t.lent)
			t.lent = nil
		}
	}
	return n, nil
}

// receive reads once; false: nothing has come yet, and no buffer is kept for it.
func (t *thin) receive(fd uintptr) bool {
	buf := t.buffers.get()
	n, err := 0, error(nil)
	for {
		if n, err = syscall.Read(int(fd), (*buf)[:cap(*buf)]); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if n > 0 {
		t.lent, t.rest, t.err = buf, (*buf)[:n], nil
		return true
	}
	t.buffers.put(buf)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false
	case err == nil:
		t.err = io.EOF
	default:
		t.err = &net.OpError{Op: "read", Net: "tcp", Source: t.LocalAddr(), Addr: t.RemoteAddr(), Err: err}
	}
	return true
}

// gather collects the pieces of a frame, as bufio passes them on, and writes it when it is whole.
type gather struct{ t *thin }

// Write implements io.Writer.
func (g gather) Write(p []byte) (int, error) {
	t := g.t
	if t.out == nil {
		t.out = t.buffers.get()
	}
	*t.out = append(*t.out, p...)
	if size := frameSize(*t.out); size < 0 || len(*t.out) < size {
		return len(p), nil
	}
	_, err := t.Conn.Write(*t.out)
	t.buffers.put(t.out)
	t.out = nil
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// frameSize is the length of the server's frame that begins with b, header and payload (RFC 6455 §5.2, no mask); -1: too little of it.
func frameSize(b []byte) int {
	if len(b) < 2 {
		return -1
	}
	switch n := b[1] & 0x7f; {
	case n < 126:
		return 2 + int(n)
	case n == 126 && len(b) >= 4:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case n == 127 && len(b) >= 10:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	}
	return -1
}
