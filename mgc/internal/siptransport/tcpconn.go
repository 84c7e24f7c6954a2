package siptransport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// flushTimeout bounds the wait for a last response before a connection is closed for cause.
const flushTimeout = 200 * time.Millisecond

var errFlushed = errors.New("siptransport: closed after the last response")

// tcpConn is one TCP or TLS connection, accepted or dialled. run owns it and reads; write is the only writer.
type tcpConn struct {
	t       *TCP
	flow    Flow
	from    Flow // flow with what the handshake said of the peer; owned by run
	key     peerKey
	remote  netip.AddrPort
	inbound bool
	queue   chan []byte   // cap TCPConfig.Queue; writers: Send; full: ErrQueueFull
	stop    chan struct{} // closed by close
	*keeper

	mu     sync.Mutex // guards what follows
	conn   net.Conn
	reason error // why it was closed
	closed bool
}

func (t *TCP) newConn(key peerKey, inbound bool) *tcpConn {
	c := &tcpConn{
		t: t, key: key, remote: key.addr, inbound: inbound, queue: make(chan []byte, t.cfg.Queue), stop: make(chan struct{}),
		keeper: newKeeper(),
		flow:   Flow{ID: NewFlowID(), Transport: t.kind, Remote: key.addr, Local: t.local, Edge: t.edge},
	}
	c.from = c.flow
	return c
}

// Flow implements Link.
func (c *tcpConn) Flow() Flow { return c.flow }

// SentBy implements Link.
func (c *tcpConn) SentBy() string { return c.t.sentBy }

// Send implements Link.
func (c *tcpConn) Send(msg []byte) error {
	if c.isClosed() {
		return fmt.Errorf("siptransport: %s: %w", c, ErrFlowGone)
	}
	select {
	case c.queue <- msg:
		return nil
	default:
		c.t.in.Metrics.Refused(c.t.kind, reasonQueueFull)
		return fmt.Errorf("siptransport: %s: %w", c, ErrQueueFull)
	}
}

func (c *tcpConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// String names the connection in errors.
func (c *tcpConn) String() string { return strings.ToLower(c.t.kind) + " to " + c.remote.String() }

// close ends the connection; the first reason stays. It may wait some seconds for a TLS peer that does not read.
func (c *tcpConn) close(reason error) {
	c.mu.Lock()
	conn, first := c.conn, !c.closed
	if first {
		c.closed, c.reason = true, reason
		close(c.stop)
	}
	c.mu.Unlock()
	if first && conn != nil {
		_ = conn.Close()
	}
}

// adopt takes the socket; false when the connection was closed meanwhile.
func (c *tcpConn) adopt(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return false
	}
	c.conn = conn
	return true
}

// run dials when there is no socket yet, reads until the end, and cleans up.
func (c *tcpConn) run(conn net.Conn) {
	defer c.t.done.Done()
	var writer sync.WaitGroup
	err := c.connect(&conn)
	if err == nil {
		writer.Add(1)
		go func() {
			defer writer.Done()
			c.write(conn)
		}()
		err = c.read(conn)
	}
	c.close(err)
	writer.Wait()
	c.t.in.Log.Debug("SIP connection closed", zap.Stringer("connection", c), zap.Error(c.reason))
	c.t.leave(c)
	c.t.in.Sink.OnClosed(c.flow, c.reason)
}

func (c *tcpConn) connect(conn *net.Conn) error {
	if *conn == nil {
		d := net.Dialer{Timeout: c.t.cfg.DialTimeout}
		if a := c.t.local.Addr(); !a.IsUnspecified() {
			d.LocalAddr = &net.TCPAddr{IP: a.AsSlice()} // what the core knows us by
		}
		nc, err := d.DialContext(c.t.ctx, "tcp", c.remote.String())
		if err != nil {
			return fmt.Errorf("siptransport: dial %s: %w", c, err)
		}
		*conn = nc
	}
	if !c.adopt(*conn) {
		return ErrClosed
	}
	if c.t.sec == nil {
		return nil
	}
	secured, err := c.handshake(*conn)
	if err != nil {
		return err
	}
	if *conn = secured; !c.adopt(secured) {
		return ErrClosed
	}
	return nil
}

// write sends what is queued, each message under its own deadline, and the keep-alives; on stop what is left is dropped.
func (c *tcpConn) write(conn net.Conn) {
	put := func(b []byte) bool {
		_ = conn.SetWriteDeadline(time.Now().Add(c.t.cfg.WriteTimeout))
		_, err := conn.Write(b)
		if err != nil {
			c.close(fmt.Errorf("siptransport: write %s: %w", c, err))
		}
		return err == nil
	}
	p := newPinger(c.t.cfg.KeepAlive, c.keeper, c.inbound)
	defer p.stop()
	for {
		select {
		case msg := <-c.queue:
			if msg == nil {
				c.close(errFlushed)
				return
			}
			if !put(msg) {
				return
			}
			c.t.in.Metrics.Sent(c.t.kind)
		case <-p.timer.C:
			if p.waiting {
				c.close(fmt.Errorf("%w: %s", errNoPong, c))
				return
			}
			p.sends()
			if !put(doubleCRLF) {
				return
			}
		case every := <-c.agreed:
			p.agree(every)
		case <-c.life:
			p.alive()
		case <-c.stop:
			return
		}
	}
}

// read frames the stream and hands every message on. The buffer starts small and grows to the message limit.
func (c *tcpConn) read(conn net.Conn) error {
	buf := make([]byte, 0, 4096)
	r := reader{c: c, admitted: !c.inbound, first: time.Now().Add(c.t.cfg.FirstTimeout)}
	for {
		for {
			n, more, err := r.consume(buf)
			if err != nil {
				return err
			}
			buf = append(buf[:0], buf[n:]...)
			if !more {
				break
			}
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		_ = conn.SetReadDeadline(r.deadline(len(buf) > 0))
		n, err := conn.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) && n == 0 {
			return io.EOF
		}
		if err != nil {
			return fmt.Errorf("siptransport: read %s: %w", c, err)
		}
		c.heard()
	}
}

// reader is the state of read between messages.
type reader struct {
	c        *tcpConn
	admitted bool      // something acceptable has come, or we dialled
	stranger bool      // the message at hand is a response, from whom no request would be admitted
	first    time.Time // until when something acceptable has to come
	bad      int       // malformed messages so far
	begun    time.Time // when the message in the buffer began; zero: none
}

func (r *reader) deadline(partial bool) time.Time {
	now, cfg := time.Now(), &r.c.t.cfg
	switch {
	case !partial:
		r.begun = time.Time{}
		if !r.admitted { // whatever else comes, keep-alives or malformed messages, does not prolong it
			return r.first
		}
		return now.Add(cfg.IdleTimeout)
	case r.begun.IsZero():
		r.begun = now
	}
	return r.begun.Add(cfg.MessageTimeout)
}

// seen gets every response before the Sink. Any sender's are taken, what they belong to is told by their branch; but only one whose
// requests would be admitted, too, makes the connection one that may stay.
func (r *reader) seen(m *headers.Msg) {
	r.c.seen(m)
	if admit := r.c.t.in.Admit; !r.admitted && admit != nil {
		r.stranger = admit(m, r.c.from) != Admit
	}
}

// consume takes one message or keep-alive from the start of buf and returns how many bytes are done with, and whether
// another look is worth it. An error ends the connection.
func (r *reader) consume(buf []byte) (n int, more bool, err error) {
	f, ferr := nextFrame(buf, headers.MaxMessage)
	c := r.c
	if f.ping {
		_ = c.Send([]byte("\r\n")) // a keep-alive that cannot be answered ends with the connection
	}
	if ferr != nil {
		r.refuseUnframed(buf[f.skip:], f, ferr)
		return 0, false, fmt.Errorf("%w from %s", ferr, c.remote)
	}
	if f.size == 0 {
		return f.skip, false, nil
	}
	r.begun = time.Time{}
	msg := buf[f.skip : f.skip+f.size]
	r.stranger = false
	switch err := c.t.in.take(msg, headers.Stream, c.from, c.replyTo, r.seen); {
	case errors.Is(err, ErrStranger) && !r.admitted:
		c.flush()
		return 0, false, fmt.Errorf("%w: %s", ErrStranger, c.remote)
	case errors.Is(err, ErrMalformed):
		if r.bad++; r.bad >= c.t.cfg.MaxBad {
			c.flush()
			return 0, false, fmt.Errorf("%w: %d of them from %s", ErrMalformed, r.bad, c.remote)
		}
	case err == nil:
		r.admitted = r.admitted || !r.stranger
	}
	return f.skip + f.size, true, nil
}

// refuseUnframed answers a message whose end is unknown, as far as its header section is there.
func (r *reader) refuseUnframed(buf []byte, f frame, why error) {
	if errors.Is(why, errTooLarge) {
		r.c.t.in.Metrics.Refused(r.c.t.kind, reasonOversize)
	}
	if f.head == 0 {
		return
	}
	_ = r.c.t.in.Take(buf[:f.head], headers.Stream, r.c.from, r.c.replyTo) // refused there: the length does not fit
	r.c.flush()
}

func (c *tcpConn) replyTo(headers.Via) (Link, error) { return c, nil }

// flush lets the writer send what is queued and then close the connection, and waits for that, not for long.
func (c *tcpConn) flush() {
	select {
	case c.queue <- nil: // the writer closes when it meets this
	default:
		return // a peer that does not read gets no farewell
	}
	t := time.NewTimer(flushTimeout)
	defer t.Stop()
	select {
	case <-c.stop:
	case <-t.C:
	}
}
