package wsedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// readBuffers lend a buffer while a message arrives or leaves, so that an idle connection keeps none. What has grown too much is not kept.
type readBuffers struct{ pool sync.Pool }

func (b *readBuffers) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, 0, 8<<10)
	return &p
}

func (b *readBuffers) put(p *[]byte) {
	if cap(*p) > 64<<10 {
		return
	}
	*p = (*p)[:0]
	b.pool.Put(p)
}

// conn is one browser connection. It is the Link of its flow.
type conn struct {
	s      *Server
	ws     *websocket.Conn
	flow   siptransport.Flow
	sentBy string
	binary atomic.Bool // how the peer sent last: we reply in kind (RFC 7118 §5)
	bad    int         // malformed messages; owned by run

	mu      sync.Mutex // guards what follows
	queue   [][]byte   // cap Config.Queue; writers: Send; full: ErrQueueFull
	writing bool       // a write goroutine runs
	closed  bool
	ping    *time.Timer
}

func newConn(s *Server, ws *websocket.Conn, flow siptransport.Flow) *conn {
	c := &conn{s: s, ws: ws, flow: flow, sentBy: s.cfg.SentBy}
	if c.sentBy == "" {
		c.sentBy = flow.Local.String()
	}
	return c
}

// Flow implements siptransport.Link.
func (c *conn) Flow() siptransport.Flow { return c.flow }

// SentBy implements siptransport.Link.
func (c *conn) SentBy() string { return c.sentBy }

// Send implements siptransport.Link.
func (c *conn) Send(msg []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return fmt.Errorf("wsedge: %s: %w", c.flow.ID, siptransport.ErrFlowGone)
	case len(c.queue) >= c.s.cfg.Queue:
		c.s.in.Metrics.Refused(c.flow.Transport, "queue_full")
		return fmt.Errorf("wsedge: %s: %w", c.flow.ID, siptransport.ErrQueueFull)
	}
	c.queue = append(c.queue, msg)
	if !c.writing {
		c.writing = true
		c.s.running.Add(1) // c is not closed, so its reader still counts: Close cannot have stopped waiting
		go c.write()
	}
	return nil
}

// write sends what is queued and ends when the queue is empty.
func (c *conn) write() {
	defer c.s.running.Done()
	for {
		c.mu.Lock()
		if len(c.queue) == 0 || c.closed {
			c.writing, c.queue = false, nil
			c.mu.Unlock()
			return
		}
		msg := c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		kind := websocket.MessageText
		if c.binary.Load() || !utf8.Valid(msg) { // a text message must be UTF-8 (RFC 6455 §8.1)
			kind = websocket.MessageBinary
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.s.cfg.WriteTimeout)
		err := c.ws.Write(ctx, kind, msg)
		cancel()
		if err != nil {
			_ = c.ws.CloseNow() // the reader sees it and cleans up
			continue
		}
		c.s.in.Metrics.Sent(c.flow.Transport)
	}
}

// run owns the connection: reads until it ends, then takes it out of all tables and tells so.
func (c *conn) run() {
	defer c.s.running.Done()
	c.s.flows.Add(c)
	c.s.in.Metrics.Opened(c.flow.Transport)
	c.s.log.Debug("WebSocket open", zap.String("flow", c.flow.ID), zap.Stringer("remote", c.flow.Remote))
	c.schedulePing()
	err := c.read()
	if brokeProtocol(err) {
		c.s.in.Metrics.Refused(c.flow.Transport, "violation")
	}
	c.shut()
	_ = c.ws.CloseNow()
	c.s.flows.Remove(c.flow.ID)
	c.s.leave(c)
	c.s.release(c.flow.Remote.Addr())
	c.s.in.Metrics.Closed(c.flow.Transport)
	c.s.log.Debug("WebSocket closed", zap.String("flow", c.flow.ID), zap.Error(err))
	c.s.in.Sink.OnClosed(c.flow, siptransport.ErrFlowGone)
	if c.s.cfg.OnFlowClosed != nil {
		c.s.cfg.OnFlowClosed(c.flow)
	}
}

// brokeProtocol reports whether a read ended because of what the peer sent against RFC 6455, which the library has answered
// by status 1002 as far as it was worth one: it is neither a close frame nor the end of the connection, nor refused here.
func brokeProtocol(err error) bool {
	var network net.Error
	switch {
	case errors.Is(err, errRefused), errors.Is(err, websocket.ErrMessageTooBig), websocket.CloseStatus(err) >= 0:
		return false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &network):
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	}
	return true
}

// errRefused marks what has been counted already.
var errRefused = errors.New("wsedge: refused")

// shut makes Send refuse and stops the pings.
func (c *conn) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.ping != nil {
		c.ping.Stop()
	}
}

// read takes messages until the connection ends.
func (c *conn) read() error {
	for {
		kind, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if err = c.message(kind, r); err != nil {
			return err
		}
	}
}

// message reads one WebSocket message, which must be complete in time, and hands it on.
func (c *conn) message(kind websocket.MessageType, r io.Reader) error {
	late := time.AfterFunc(c.s.cfg.MessageTimeout, func() { _ = c.ws.CloseNow() })
	buf := c.s.buffers.get()
	defer c.s.buffers.put(buf)
	var err error
	*buf, err = appendAll(*buf, r)
	late.Stop()
	if errors.Is(err, websocket.ErrMessageTooBig) { // closed by 1009 already
		c.s.in.Metrics.Refused(c.flow.Transport, "oversize")
	}
	if err != nil {
		return err
	}
	c.binary.Store(kind == websocket.MessageBinary)
	return c.take(kind, *buf)
}

func (c *conn) take(kind websocket.MessageType, raw []byte) error {
	switch {
	case string(raw) == "\r\n\r\n": // keep-alive (RFC 5626 §3.5.1)
		return c.Send([]byte("\r\n"))
	case len(raw) == 0 || string(raw) == "\r\n":
		return nil
	case kind == websocket.MessageText && !utf8.Valid(raw):
		return c.violation(websocket.StatusInvalidFramePayloadData, "text message is not UTF-8")
	}
	err := c.s.in.Take(raw, headers.Framed, c.flow, func(headers.Via) (siptransport.Link, error) { return c, nil })
	if errors.Is(err, siptransport.ErrMalformed) {
		if c.bad++; c.bad >= c.s.cfg.MaxBad {
			return c.violation(websocket.StatusPolicyViolation, "too many malformed SIP messages")
		}
	}
	return nil
}

// violation counts and closes with a status the peer can read.
func (c *conn) violation(code websocket.StatusCode, why string) error {
	c.s.in.Metrics.Refused(c.flow.Transport, "violation")
	c.settle()
	_ = c.ws.Close(code, why) // its error is the end of the connection
	return fmt.Errorf("%w: %s: %s", errRefused, c.flow.ID, why)
}

// settle waits shortly until the writer has sent what is queued: the 400 goes before the close.
func (c *conn) settle() {
	deadline := time.NewTimer(c.s.cfg.PongTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		c.mu.Lock()
		idle := !c.writing
		c.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-deadline.C:
			return
		case <-tick.C:
		}
	}
}

// schedulePing sets the timer of the next ping. The pong is read by run; one that does not come ends the connection.
func (c *conn) schedulePing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.ping = time.AfterFunc(c.s.cfg.PingInterval, func() {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return
		}
		c.s.running.Add(1) // not closed, see Send
		c.mu.Unlock()
		defer c.s.running.Done()
		ctx, cancel := context.WithTimeout(context.Background(), c.s.cfg.PongTimeout)
		defer cancel()
		if err := c.ws.Ping(ctx); err != nil {
			_ = c.ws.CloseNow()
			return
		}
		c.schedulePing()
	})
}

// goAway closes with status 1001; the reader then cleans up.
func (c *conn) goAway() {
	_ = c.ws.Close(websocket.StatusGoingAway, "this instance is going away")
	_ = c.ws.CloseNow()
}

func appendAll(buf []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}
