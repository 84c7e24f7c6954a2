package sipp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const domain = "isthmus.example"

// browser is a registered browser and everything that it sent and received.
type browser struct {
	*webua.UA
	user   string
	ladder *ladder
	calls  chan *webua.Call // incoming ones
}

var browsers atomic.Uint64

// newBrowser registers a fresh user whose calls go to the address over the transport. It de-registers when the test ends.
func newBrowser(t *testing.T, transport string, core netip.AddrPort, change func(*webua.Config)) *browser {
	t.Helper()
	b := &browser{user: fmt.Sprintf("user%d", browsers.Add(1)), ladder: newLadder(), calls: make(chan *webua.Call, 200)}
	route := "<sip:" + core.String() + ";lr>"
	if transport == "tcp" {
		route = "<sip:" + core.String() + ";transport=tcp;lr>"
	}
	world.registrar.serve(b.user, route)
	cfg := webua.Config{
		URL: gateway.WebSocket(), Domain: domain, User: b.user, Password: "none", Codecs: []string{"PCMA"},
		OnCall: func(c *webua.Call) { b.calls <- c }, Trace: b.ladder.add,
	}
	if change != nil {
		change(&cfg)
	}
	ctx := scenario.Within(t, 20*time.Second)
	var err error
	if b.UA, err = webua.Dial(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Register(ctx, 0); err != nil && !errors.Is(err, webua.ErrClosed) {
			t.Errorf("de-register: %v", err)
		}
		b.Close()
	})
	if err := b.Register(ctx, 10*time.Minute); err != nil {
		t.Fatalf("register: %v", err)
	}
	return b
}

// incoming waits for the next call to the browser.
func (b *browser) incoming(ctx context.Context, t *testing.T) *webua.Call {
	t.Helper()
	select {
	case c := <-b.calls:
		return c
	case <-ctx.Done():
		t.Fatalf("no call reached the browser; it saw\n%s", b.ladder)
		return nil
	}
}

// answered waits for the next call to the browser and answers it.
func (b *browser) answered(ctx context.Context, t *testing.T) *webua.Call {
	t.Helper()
	c := b.incoming(ctx, t)
	if err := c.Answer(tone.Silence{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// over waits until the call has ended.
func over(ctx context.Context, t *testing.T, c *webua.Call) {
	t.Helper()
	select {
	case <-c.Ended():
	case <-ctx.Done():
		t.Fatal("the browser's call did not end")
	}
}

// refusedWith checks that a call failed with the status and returns the response's kept header fields.
func refusedWith(t *testing.T, err error, status int) map[string]string {
	t.Helper()
	var e *webua.StatusError
	if !errors.As(err, &e) || e.Code != status {
		t.Fatalf("got %v, want %d", err, status)
	}
	return e.Header
}

// ladder records messages in order.
type ladder struct {
	mu      sync.Mutex // guards what follows
	seen    []peer.Entry
	changed chan struct{} // closed and replaced by each message
}

func newLadder() *ladder { return &ladder{changed: make(chan struct{})} }

func (l *ladder) add(direction, text string) {
	m, err := peer.Parse(text)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, peer.Entry{Sent: direction == "out", Message: m})
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *ladder) pick(sent bool, what string) ([]peer.Message, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []peer.Message
	for _, e := range l.seen {
		if e.Sent == sent && e.Is(what) {
			out = append(out, e.Message)
		}
	}
	return out, l.changed
}

// received returns what the browser received.
func (l *ladder) received(what string) []peer.Message {
	out, _ := l.pick(false, what)
	return out
}

// await waits until the browser has received n such messages and returns the nth.
func (l *ladder) await(ctx context.Context, t *testing.T, n int, what string) peer.Message {
	t.Helper()
	return l.wait(ctx, t, false, n, what)
}

// sent waits until the browser has sent such a message. What it received is seen before it is answered.
func (l *ladder) sent(ctx context.Context, t *testing.T, what string) {
	t.Helper()
	l.wait(ctx, t, true, 1, what)
}

func (l *ladder) wait(ctx context.Context, t *testing.T, sent bool, n int, what string) peer.Message {
	t.Helper()
	for {
		got, changed := l.pick(sent, what)
		if len(got) >= n {
			return got[n-1]
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("the browser has not seen %d of %s (sent: %v), but\n%s", n, what, sent, l)
		}
	}
}

// String lists the messages.
func (l *ladder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, e := range l.seen {
		arrow := "<-"
		if e.Sent {
			arrow = "->"
		}
		fmt.Fprintf(&b, "  %s %s\n", arrow, e.Summary())
	}
	return b.String()
}
