package sipnode

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	dialTimeout  = 3 * time.Second
	writeTimeout = 5 * time.Second
	tcpQueue     = 256 // messages; a peer that reads slower than this loses its connection
)

// tcpConn is one TCP connection. The reader goroutine owns reading and the end of life, the writer
// goroutine owns writing.
type tcpConn struct {
	n    *Node
	peer Target
	conn net.Conn
	out  chan []byte // cap tcpQueue; writers: any; full: the connection is closed
	done chan struct{}
	once sync.Once
}

func (n *Node) acceptTCP() {
	defer n.wg.Done()
	for {
		c, err := n.tcp.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if _, err := n.adopt(c); err != nil {
			n.warnf("connection from %s refused: %q", c.RemoteAddr(), err.Error())
			c.Close()
		}
	}
}

// adopt takes over c and starts its goroutines.
func (n *Node) adopt(c net.Conn) (*tcpConn, error) {
	ap := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	tc := &tcpConn{
		n: n, peer: Target{Network: TCP, Addr: ap}, conn: c,
		out: make(chan []byte, tcpQueue), done: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	if len(n.conns) >= maxTCPConns {
		return nil, errors.New("too many connections")
	}
	n.conns[ap] = tc
	n.wg.Add(2)
	go tc.read()
	go tc.write()
	return tc, nil
}

// dial returns the connection to t, opening one if there is none.
func (n *Node) dial(t Target) (*tcpConn, error) {
	n.mu.Lock()
	c, closed := n.conns[t.Addr], n.closed
	n.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("sipnode: dial %s: %w", t, err)
	}
	tc, err := n.adopt(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return tc, nil
}

func (c *tcpConn) close() {
	c.once.Do(func() {
		close(c.done)
		c.conn.Close()
	})
}

func (c *tcpConn) enqueue(wire []byte) error {
	select {
	case <-c.done:
		return fmt.Errorf("sipnode: %s: %w", c.peer, net.ErrClosed)
	default:
	}
	select {
	case c.out <- wire:
		return nil
	default:
		c.close()
		return fmt.Errorf("sipnode: %s does not read", c.peer)
	}
}

func (c *tcpConn) write() {
	defer c.n.wg.Done()
	for {
		select {
		case <-c.done:
			return
		case wire := <-c.out:
			c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := c.conn.Write(wire); err != nil {
				c.close()
				return
			}
		}
	}
}

func (c *tcpConn) read() {
	defer c.n.wg.Done()
	defer func() {
		c.close()
		c.n.mu.Lock()
		if c.n.conns[c.peer.Addr] == c {
			delete(c.n.conns, c.peer.Addr)
		}
		c.n.mu.Unlock()
	}()
	r := bufio.NewReaderSize(c.conn, 4096)
	for {
		msg, err := readFrame(r)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				c.n.warnf("connection %s: %q", c.peer, err.Error())
			}
			return
		}
		c.n.receive(msg, c.peer, c)
	}
}

// readFrame reads one message off a stream by its Content-Length (RFC 3261 §18.3), at most
// maxMessage bytes. Leading line ends are keep-alives and skipped.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var buf bytes.Buffer
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err // ErrBufferFull: a header line over 4 KiB
		}
		if buf.Len() == 0 && len(trimCRLF(line)) == 0 {
			continue
		}
		if buf.Len()+len(line) > maxMessage {
			return nil, errors.New("message too long")
		}
		buf.Write(line)
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			break
		}
		name, value, ok := strings.Cut(text, ":")
		name = strings.TrimSpace(name)
		if ok && (strings.EqualFold(name, "content-length") || strings.EqualFold(name, "l")) {
			v, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil || v < 0 {
				return nil, fmt.Errorf("content length %q", value)
			}
			length = v
		}
	}
	if length < 0 {
		return nil, errors.New("no Content-Length on a stream")
	}
	if buf.Len()+length > maxMessage {
		return nil, errors.New("message too long")
	}
	if _, err := io.CopyN(&buf, r, int64(length)); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
