package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// world is a NATS server in this process with a bus per instance.
type world struct {
	t     *testing.T
	srv   *server.Server
	conns []*nats.Conn
}

func newWorld(t *testing.T) *world {
	t.Helper()
	before := goleak.IgnoreCurrent()
	srv, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	w := &world{t: t, srv: srv}
	t.Cleanup(func() {
		for _, c := range w.conns {
			c.Close()
		}
		srv.Shutdown()
		srv.WaitForShutdown()
		goleak.VerifyNone(t, before)
	})
	return w
}

func (w *world) bus(instance string) *Bus {
	w.t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(w.srv))
	if err != nil {
		w.t.Fatal(err)
	}
	w.conns = append(w.conns, nc)
	b := New(nc, instance)
	w.t.Cleanup(b.Close)
	return b
}

func (w *world) serve(b *Bus, subject string, h Handler) {
	w.t.Helper()
	if err := b.Serve(subject, h); err != nil {
		w.t.Fatal(err)
	}
}

func echo(prefix string) Handler {
	return func(_ context.Context, req []byte) ([]byte, error) { return []byte(prefix + string(req)), nil }
}

func TestRequestReachesTheNamedInstance(t *testing.T) {
	w := newWorld(t)
	a, b, dotted := w.bus("a"), w.bus("b"), w.bus("a.sip")
	w.serve(a, "sip", echo("a/sip "))
	w.serve(b, "sip", echo("b/sip "))
	w.serve(b, "x.>* y", echo("odd "))
	w.serve(dotted, "x", echo("dotted "))
	for _, c := range [][3]string{{"a", "sip", "a/sip hi"}, {"b", "sip", "b/sip hi"}, {"b", "x.>* y", "odd hi"}, {"a.sip", "x", "dotted hi"}} {
		if got, err := a.Request(t.Context(), c[0], c[1], []byte("hi")); err != nil || string(got) != c[2] {
			t.Errorf("%s %s: %q, %v", c[0], c[1], got, err)
		}
	}
	for _, c := range [][2]string{{"dead", "sip"}, {"a", "unknown"}, {"a", "sip.x"}, {"*", "sip"}, {">", "sip"}} {
		if _, err := b.Request(t.Context(), c[0], c[1], nil); !errors.Is(err, ErrNoInstance) {
			t.Errorf("%s %s: %v, want ErrNoInstance", c[0], c[1], err)
		}
	}
}

// TestOrderOfOneSender: requests of one sender to one subject are handled one after the other, as sent.
func TestOrderOfOneSender(t *testing.T) {
	w := newWorld(t)
	a, b := w.bus("a"), w.bus("b")
	var got []string // written by the one goroutine of the subject, read after Close
	w.serve(b, "sip", func(_ context.Context, req []byte) ([]byte, error) {
		got = append(got, string(req))
		return nil, nil
	})
	var want []string
	for n := range 300 {
		want = append(want, fmt.Sprint(n))
		if err := a.nc.PublishRequest(subjectOf("b", "sip"), a.nc.NewRespInbox(), []byte(want[n])); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Request(t.Context(), "b", "sip", []byte("last")); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if !slices.Equal(got, append(want, "last")) {
		t.Errorf("handled %q", got)
	}
}

func TestErrorsOfTheOtherSide(t *testing.T) {
	w := newWorld(t)
	a, b := w.bus("a"), w.bus("b")
	w.serve(b, "bad", func(context.Context, []byte) ([]byte, error) {
		return []byte("x"), errors.New("line one\r\nline: two\x00")
	})
	w.serve(b, "mute", func(context.Context, []byte) ([]byte, error) { return nil, errors.New(" ") })
	_, err := a.Request(t.Context(), "b", "bad", nil)
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Text != "line one  line: two" || remote.Instance != "b" || remote.Subject != "bad" {
		t.Errorf("got %v", err)
	}
	if _, err = a.Request(t.Context(), "b", "mute", nil); !errors.As(err, &remote) {
		t.Errorf("an error without text got lost: %v", err)
	}
	if _, err := a.Request(t.Context(), "b", "bad", make([]byte, MaxMessage+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	w.serve(b, "big", func(_ context.Context, req []byte) ([]byte, error) { return req, nil })
	if got, err := a.Request(t.Context(), "b", "big", make([]byte, MaxMessage)); err != nil || len(got) != MaxMessage {
		t.Errorf("largest message: %d bytes, %v", len(got), err)
	}
}

// expiring is a context whose deadline passes when a channel is closed.
type expiring struct {
	context.Context
	passed <-chan struct{}
}

func (e expiring) Deadline() (time.Time, bool) { return time.Now().Add(patience), true }
func (e expiring) Done() <-chan struct{}       { return e.passed }
func (e expiring) Err() error {
	select {
	case <-e.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestSlowHandler: the sender's patience ends its wait, Close ends the handler's context and waits for it.
func TestSlowHandler(t *testing.T) {
	w := newWorld(t)
	a, b := w.bus("a"), w.bus("b")
	entered, left := make(chan struct{}), make(chan struct{})
	w.serve(b, "slow", func(ctx context.Context, _ []byte) ([]byte, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return nil, ctx.Err()
	})
	if _, err := a.Request(expiring{t.Context(), entered}, "b", "slow", nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	b.Close()
	select {
	case <-left:
	default:
		t.Error("Close did not wait for the handler")
	}
	if err := b.Serve("more", echo("")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("serve after Close: %v", err)
	}
	if _, err := a.Request(t.Context(), "b", "slow", nil); !errors.Is(err, ErrNoInstance) {
		t.Errorf("request to a closed bus: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := a.Request(ended, "b", "slow", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("request with an ended context: %v", err)
	}
}

func TestBoundOfRequestsUnderWay(t *testing.T) {
	w := newWorld(t)
	a := w.bus("a")
	for range maxRequests {
		a.slots <- struct{}{}
	}
	if _, err := a.Request(t.Context(), "a", "x", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	for range maxRequests {
		<-a.slots
	}
}

func TestConnectionIsGone(t *testing.T) {
	w := newWorld(t)
	a, b := w.bus("a"), w.bus("b")
	w.serve(b, "sip", echo(""))
	a.nc.Close()
	if _, err := a.Request(t.Context(), "b", "sip", nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("request: %v, want ErrUnavailable", err)
	}
	if err := a.Serve("sip", echo("")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("serve: %v, want ErrUnavailable", err)
	}
}

// TestStrayMessagesAreCounted: what asks for no answer, or is too long, is not handled.
func TestStrayMessagesAreCounted(t *testing.T) {
	w := newWorld(t)
	a, b := w.bus("a"), w.bus("b")
	w.serve(b, "sip", func(_ context.Context, req []byte) ([]byte, error) {
		if string(req) != "good" {
			t.Errorf("handled %.20q", req)
		}
		return nil, nil
	})
	for _, err := range []error{a.nc.Publish(subjectOf("b", "sip"), []byte("no reply subject")),
		a.nc.PublishRequest(subjectOf("b", "sip"), "r", []byte(strings.Repeat("x", MaxMessage+1)))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Request(t.Context(), "b", "sip", []byte("good")); err != nil {
		t.Fatal(err)
	}
	if n := b.Dropped(); n != 2 {
		t.Errorf("%d dropped, want 2", n)
	}
}
