package baresip

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Event is something that baresip told: a registration, a call's progress, a digit.
type Event struct {
	Type      string `json:"type"` // CALL_INCOMING, CALL_ESTABLISHED, CALL_CLOSED, CALL_DTMF_START, ...
	Direction string `json:"direction"`
	Peer      string `json:"peeruri"`
	Call      string `json:"id"`    // Call-ID
	Param     string `json:"param"` // digit, reason
}

// control is the connection to baresip's ctrl_tcp: JSON in netstrings. Safe for concurrent use.
type control struct {
	conn net.Conn
	done chan struct{} // closed when read has ended

	mu      sync.Mutex             // guards what follows
	events  []Event                // all, oldest first
	changed chan struct{}          // closed and replaced at each event
	replies map[string]chan string // by token
	tokens  int
	err     error // why reading ended
}

// connect dials until baresip listens, or has ended.
func connect(ctx context.Context, addr string, ended <-chan struct{}) (*control, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			c := &control{conn: conn, done: make(chan struct{}), changed: make(chan struct{}), replies: map[string]chan string{}}
			go c.read()
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("control socket: %w", errors.Join(ctx.Err(), err))
		case <-ended:
			return nil, errors.New("it has ended")
		case <-tick.C:
		}
	}
}

func (c *control) read() {
	defer close(c.done)
	r := bufio.NewReader(c.conn)
	for {
		data, err := readNetstring(r)
		if err == nil {
			err = c.take(data)
		}
		if err != nil {
			c.mu.Lock()
			c.err = err
			close(c.changed)
			c.mu.Unlock()
			return
		}
	}
}

// take files one message.
func (c *control) take(data []byte) error {
	var m struct {
		Event
		IsEvent bool   `json:"event"`
		Token   string `json:"token"`
		OK      bool   `json:"ok"`
		Data    string `json:"data"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("baresip: control: %w in %q", err, data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.IsEvent {
		c.events = append(c.events, m.Event)
		close(c.changed)
		c.changed = make(chan struct{})
		return nil
	}
	if reply := c.replies[m.Token]; reply != nil {
		delete(c.replies, m.Token)
		reply <- m.Data // capacity 1, one reply per token
	}
	return nil
}

func readNetstring(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(head, ":"))
	if err != nil || n < 0 || n > 1<<20 {
		return nil, fmt.Errorf("baresip: control: no netstring length: %q", head)
	}
	data := make([]byte, n+1)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	return data[:n], nil
}

// Command runs a command of baresip and returns what it printed.
func (c *control) Command(ctx context.Context, command, params string) (string, error) {
	reply := make(chan string, 1)
	c.mu.Lock()
	c.tokens++
	token := strconv.Itoa(c.tokens)
	c.replies[token] = reply
	c.mu.Unlock()
	msg, err := json.Marshal(map[string]string{"command": command, "params": params, "token": token})
	if err != nil {
		return "", fmt.Errorf("baresip: %s: %w", command, err)
	}
	if _, err := fmt.Fprintf(c.conn, "%d:%s,", len(msg), msg); err != nil {
		return "", fmt.Errorf("baresip: %s: %w", command, err)
	}
	select {
	case text := <-reply:
		return text, nil
	case <-c.done:
		select {
		case text := <-reply: // it came before the end
			return text, nil
		default:
		}
		return "", fmt.Errorf("baresip: %s: control connection ended: %w", command, c.failure())
	case <-ctx.Done():
		return "", fmt.Errorf("baresip: %s: %w", command, ctx.Err())
	}
}

// Mark is the number of events so far, to be given to Await.
func (c *control) Mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

// Await returns the first event after mark that want takes.
func (c *control) Await(ctx context.Context, mark int, want func(Event) bool) (Event, error) {
	for {
		c.mu.Lock()
		events, changed, failed := c.events, c.changed, c.err
		c.mu.Unlock()
		for ; mark < len(events); mark++ {
			if want(events[mark]) {
				return events[mark], nil
			}
		}
		if failed != nil { // what came before the end has been looked at
			return Event{}, fmt.Errorf("baresip: control connection ended: %w", failed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("baresip: no such event: %w; it told %+v", ctx.Err(), c.since(0))
		}
	}
}

// Since returns the events after mark.
func (c *control) Since(mark int) []Event { return c.since(mark) }

func (c *control) since(mark int) []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Event(nil), c.events[mark:]...)
}

func (c *control) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *control) close() error {
	err := c.conn.Close()
	<-c.done
	if err != nil {
		return fmt.Errorf("baresip: control: %w", err)
	}
	return nil
}
