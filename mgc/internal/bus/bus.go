// Package bus carries raw messages between the instances of a pool: NATS request and reply. Floor 1 of mgc.
//
// A request names an instance and a subject and is answered by that instance's handler, or fails with a typed error.
// Requests from one sender to one subject are handled in the order in which they were sent: each served subject has
// one goroutine, owned by the bus. Handlers therefore hand the message on and answer; they do not wait for others.
package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Errors of Request; compare with errors.Is.
var (
	// ErrNoInstance: nobody serves the subject on that instance: it is dead, or does not know the subject.
	ErrNoInstance = errors.New("bus: no such instance")
	// ErrTimeout: no answer in time; the message may have been handled.
	ErrTimeout = errors.New("bus: no answer in time")
	// ErrTooLarge: the message is longer than MaxMessage.
	ErrTooLarge = errors.New("bus: message too large")
	// ErrUnavailable: the bus itself cannot be reached.
	ErrUnavailable = errors.New("bus: unavailable")
	// ErrBusy: too many requests of this instance are under way; the message was not sent.
	ErrBusy = errors.New("bus: too many requests under way")
)

// RemoteError is the error that the other instance's handler returned; the message was handled.
type RemoteError struct{ Instance, Subject, Text string }

// Error implements error.
func (e *RemoteError) Error() string {
	return fmt.Sprintf("bus: %s of instance %s: %s", e.Subject, e.Instance, e.Text)
}

const (
	// MaxMessage is the longest message in bytes: a SIP message of 64 KiB and its envelope.
	MaxMessage = 96 << 10
	// maxQueue bounds the requests that wait at one subject; more are dropped and time out at the sender.
	maxQueue = 4096
	// maxRequests bounds the requests of this instance that are under way at once.
	maxRequests = 4096

	errorHeader = "Isthmus-Error"
)

// Handler answers one request. ctx ends with the bus and after the handler time-out (5 s). req is the handler's to
// keep. It must not wait for other requests of the same subject. An error travels to the sender as RemoteError; its text
// must hold no secret.
type Handler func(ctx context.Context, req []byte) ([]byte, error)

// Bus is this instance's place on the bus. All methods are safe for concurrent use.
type Bus struct {
	nc       *nats.Conn
	instance string
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	slots    chan struct{} // cap maxRequests; full: ErrBusy
	dropped  atomic.Uint64

	mu     sync.Mutex // guards below
	subs   []*nats.Subscription
	closed bool
	wg     sync.WaitGroup // requests under way and subscriptions
}

// New returns the bus of the instance on nc, which stays the caller's and must outlive the bus.
func New(nc *nats.Conn, instance string) *Bus {
	b := &Bus{nc: nc, instance: instance, slots: make(chan struct{}, maxRequests)}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b
}

// subjectOf is the NATS subject; instance and subject may hold any bytes.
func subjectOf(instance, subject string) string {
	return "isthmus.bus." + escape(instance) + "." + escape(subject)
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}

// Request sends data to the instance and waits for the answer until ctx ends (2 s when it has no deadline).
// Errors: ErrNoInstance, ErrTimeout, ErrTooLarge, ErrBusy, ErrUnavailable, *RemoteError.
func (b *Bus) Request(ctx context.Context, instance, subject string, data []byte) ([]byte, error) {
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes to %s", ErrTooLarge, len(data), subject)
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	default:
		return nil, ErrBusy
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
	}
	m := &nats.Msg{Subject: subjectOf(instance, subject), Data: data}
	reply, err := b.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("request %s of instance %s: %w", subject, instance, mapError(err))
	}
	if text := reply.Header.Get(errorHeader); text != "" {
		return nil, &RemoteError{Instance: instance, Subject: subject, Text: text}
	}
	return reply.Data, nil
}

func mapError(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return ErrNoInstance
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return ErrTimeout
	case errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Serve answers the requests to this instance's subject with h until Close. Each subject may be served once.
func (b *Bus) Serve(subject string, h Handler) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("serve %s: %w: closed", subject, ErrUnavailable)
	}
	sub, err := b.nc.Subscribe(subjectOf(b.instance, subject), func(m *nats.Msg) { b.answer(h, m) })
	if err != nil {
		return fmt.Errorf("serve %s: %w: %w", subject, ErrUnavailable, err)
	}
	b.wg.Add(1)
	sub.SetClosedHandler(func(string) { b.wg.Done() })
	if err := sub.SetPendingLimits(maxQueue, maxQueue*4096); err != nil {
		return fmt.Errorf("serve %s: %w", subject, err)
	}
	b.subs = append(b.subs, sub)
	// Only after the server knows the subscription may others be told about this instance.
	if err := b.nc.FlushTimeout(2 * time.Second); err != nil {
		return fmt.Errorf("serve %s: %w: %w", subject, ErrUnavailable, err)
	}
	return nil
}

func (b *Bus) answer(h Handler, m *nats.Msg) {
	if m.Reply == "" || len(m.Data) > MaxMessage {
		b.dropped.Add(1)
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	data, err := h(ctx, m.Data)
	reply := &nats.Msg{Subject: m.Reply, Data: data}
	if err != nil {
		reply.Data = nil
		reply.Header = nats.Header{errorHeader: []string{oneLine(err.Error())}}
	}
	if b.nc.PublishMsg(reply) != nil {
		b.dropped.Add(1) // the sender runs into its time-out
	}
}

// oneLine makes text fit a header line.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if s = strings.TrimSpace(s); s == "" {
		return "error"
	}
	return s[:min(len(s), 512)]
}

// Dropped counts the messages that were not handled: queue full, malformed, or the answer could not be sent.
func (b *Bus) Dropped() uint64 {
	n := b.dropped.Load()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		if d, err := s.Dropped(); err == nil && d > 0 {
			n += uint64(d)
		}
	}
	return n
}

// Close stops serving and waits until the handlers that run have ended.
func (b *Bus) Close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	subs := b.subs
	b.mu.Unlock()
	b.stop()
	for _, s := range subs {
		_ = s.Unsubscribe() // an error says that the connection is closed
	}
	// Whoever asks after Close is told at once that there is nobody: the server has to know. An error says that it is not there.
	_ = b.nc.FlushTimeout(time.Second)
	b.wg.Wait()
}
