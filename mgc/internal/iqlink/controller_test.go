package iqlink

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// listener is one at any address, that nobody connects to.
type listener struct {
	net.Listener
	addr   string
	closed bool
}

func newListener(addr string) *listener { return &listener{addr: addr} }

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.addr)) }
func (l *listener) Close() error   { l.closed = true; return nil }

// serve serves the link and returns its address.
func serve(t *testing.T, l *Link) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Serve(lis) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return lis.Addr().String()
}

// dial is an MGW's connection to the controller.
func dial(t *testing.T, addr string, opt grpc.DialOption) iqv1.MediaGatewayControllerClient {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return iqv1.NewMediaGatewayControllerClient(cc)
}

func plain() grpc.DialOption { return grpc.WithTransportCredentials(insecure.NewCredentials()) }

func event(context string, seq uint64) *iqv1.NotifyRequest {
	return &iqv1.NotifyRequest{MgwId: "g1", BootId: "b1", ContextId: context, CorrelationId: "k", EventSeq: seq}
}

// calls is the far end of Notify.
type calls struct {
	mu      sync.Mutex
	got     []uint64
	verdict iqv1.NotifyReply_Verdict
	hold    chan struct{} // nil: do not wait
}

func (c *calls) notify(ctx context.Context, r *iqv1.NotifyRequest) iqv1.NotifyReply_Verdict {
	c.mu.Lock()
	c.got = append(c.got, r.GetEventSeq())
	v, hold := c.verdict, c.hold
	c.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return v
}

func (c *calls) seen() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

func (c *calls) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

const (
	ack     = iqv1.NotifyReply_VERDICT_ACK
	later   = iqv1.NotifyReply_VERDICT_RETRY_LATER
	unknown = iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT
)

// TestNotify: at least once from the MGW, once to the call: what was acknowledged is not delivered again, what was not is.
func TestNotify(t *testing.T) {
	c := &calls{verdict: ack}
	l, _ := newLink(t, Config{}, c.notify)
	mgw := dial(t, serve(t, l), plain())
	expect := func(r *iqv1.NotifyRequest, want iqv1.NotifyReply_Verdict) {
		t.Helper()
		reply, err := mgw.Notify(t.Context(), r)
		if err != nil || reply.GetVerdict() != want {
			t.Errorf("%v, %v; want %v", reply, err, want)
		}
	}
	expect(event("cx1", 1), ack)
	expect(event("cx1", 1), ack) // repeated
	expect(event("cx2", 1), ack) // another context
	other := event("cx1", 1)
	other.BootId = "b2"
	expect(other, ack) // another boot
	if got := c.seen(); !slices.Equal(got, []uint64{1, 1, 1}) {
		t.Errorf("delivered %v", got)
	}
	c.set(func() { c.verdict, c.got = later, nil })
	expect(event("cx1", 2), later)
	c.set(func() { c.verdict = ack })
	expect(event("cx1", 2), ack)
	c.set(func() { c.verdict = unknown })
	expect(event("cx1", 3), unknown)
	expect(event("cx1", 3), unknown)
	if got := c.seen(); !slices.Equal(got, []uint64{2, 2, 3, 3}) {
		t.Errorf("delivered %v", got)
	}
	for name, bad := range map[string]*iqv1.NotifyRequest{
		"no context": event("", 1), "no sequence": event("cx1", 0),
		"long correlation": {MgwId: "g1", ContextId: "c", EventSeq: 1, CorrelationId: string(make([]byte, 129))},
	} {
		if _, err := mgw.Notify(t.Context(), bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNotifyUnderLoad: one event of a context at a time; beyond MaxNotify at once the MGW is asked to come again.
func TestNotifyUnderLoad(t *testing.T) {
	hold := make(chan struct{})
	c := &calls{verdict: ack, hold: hold}
	l, _ := newLink(t, Config{MaxNotify: 2}, c.notify)
	mgw := dial(t, serve(t, l), plain())
	verdicts := make(chan iqv1.NotifyReply_Verdict, 2)
	send := func(seq uint64) {
		reply, err := mgw.Notify(context.Background(), event("cx1", seq))
		if err != nil {
			t.Error(err)
		}
		verdicts <- reply.GetVerdict()
	}
	go send(1)
	wait(t, "the first is inside", func() bool { return len(c.seen()) == 1 })
	go send(1) // the same again, while the first is still being worked on
	wait(t, "the second waits", func() bool { return len(l.slots) == 2 })
	reply, err := mgw.Notify(t.Context(), event("cx2", 1))
	if err != nil || reply.GetVerdict() != later {
		t.Errorf("beyond the limit: %v, %v", reply, err)
	}
	close(hold)
	for range 2 {
		if v := <-verdicts; v != ack {
			t.Errorf("verdict %v", v)
		}
	}
	if got := c.seen(); !slices.Equal(got, []uint64{1}) {
		t.Errorf("delivered %v, want once", got)
	}
	if len(l.slots) != 0 {
		t.Errorf("%d slots taken", len(l.slots))
	}
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestDedupForgetsTheOldest: its memory is bounded, and never forgets a context that is being worked on.
func TestDedupForgetsTheOldest(t *testing.T) {
	d := newDedup(2)
	enter := func(cx string, seq uint64) bool {
		release, seen, err := d.enter(t.Context(), dedupKey{"g", "b", cx}, seq)
		if err != nil {
			t.Fatal(err)
		}
		if !seen {
			release(true)
		}
		return seen
	}
	hold, _, err := d.enter(t.Context(), dedupKey{"g", "b", "busy"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	enter("1", 5)
	if !enter("1", 5) || !enter("1", 4) {
		t.Error("an acknowledged sequence is new")
	}
	enter("2", 1) // pushes 1 out, not busy
	if enter("1", 5) {
		t.Error("the oldest is still known")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := d.enter(ended, dedupKey{"g", "b", "busy"}, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("wait for a busy context: %v", err)
	}
	hold(true)
	if _, seen, _ := d.enter(t.Context(), dedupKey{"g", "b", "busy"}, 1); !seen {
		t.Error("a context was forgotten while it was being worked on")
	}
	if len(d.byKey) > 3 || d.lru.Len() != len(d.byKey) {
		t.Errorf("%d contexts remembered", len(d.byKey))
	}
}

func TestServiceChangeAndHeartbeat(t *testing.T) {
	l, reg := newLink(t, Config{}, nil)
	mgw := dial(t, serve(t, l), plain())
	reply, err := mgw.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "g1"})
	if err != nil || reply.GetMgcInstance() != "for g1" {
		t.Errorf("%v, %v", reply, err)
	}
	if _, err := mgw.Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g1"}); err != nil {
		t.Error(err)
	}
	reg.fail = errors.New("away")
	if _, err := mgw.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "g1"}); status.Code(err) != codes.Unavailable {
		t.Errorf("store away: %v", err)
	}
}

func client(m *tlsfiles.Mutual, name string) grpc.DialOption {
	return grpc.WithTransportCredentials(credentials.NewTLS(m.Client(name)))
}

// TestCertificateNamesTheGateway: with TLS each end proves who it is, and an MGW speaks for no other.
func TestCertificateNamesTheGateway(t *testing.T) {
	ca := tlstest.NewAuthority(t, "pool")
	l, _ := newLink(t, Config{TLS: member(t, ca, "mgc-1")}, (&calls{verdict: ack}).notify)
	addr := serve(t, l)
	g1 := end(t, member(t, ca, "g1"))
	mgw := dial(t, addr, client(g1, "mgc-1"))
	if reply, err := mgw.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "g1"}); err != nil || reply.GetError() != nil {
		t.Errorf("own name: %v, %v", reply, err)
	}
	if reply, err := mgw.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "g2"}); err != nil || gwerr.Code(reply.GetError().GetCode()) != gwerr.Unauthorised {
		t.Errorf("registration of another: %v, %v", reply, err)
	}
	if _, err := mgw.Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g2"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("heartbeat of another: %v", err)
	}
	stray := event("cx1", 1)
	stray.MgwId = "g2"
	if _, err := mgw.Notify(t.Context(), stray); status.Code(err) != codes.PermissionDenied {
		t.Errorf("event of another: %v", err)
	}
	if _, err := mgw.Notify(t.Context(), event("cx1", 1)); err != nil {
		t.Errorf("own event: %v", err)
	}
	if _, err := dial(t, addr, plain()).Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g1"}); err == nil {
		t.Error("plaintext was served")
	}
	files := member(t, tlstest.NewAuthority(t, "foreign"), "g1")
	tlstest.Put(t, files.CA, ca.PEM()) // it trusts us; we must not trust it
	if _, err := dial(t, addr, client(end(t, files), "mgc-1")).Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g1"}); err == nil {
		t.Error("a certificate of another authority was accepted")
	}
	if _, err := dial(t, addr, client(g1, "mgc-2")).Heartbeat(t.Context(), &iqv1.HeartbeatRequest{MgwId: "g1"}); err == nil {
		t.Error("the controller was taken for another")
	}
}

// TestGatewayProvesItsName: the controller commands only the node that the certificate names, also beyond loopback.
func TestGatewayProvesItsName(t *testing.T) {
	ca := tlstest.NewAuthority(t, "pool")
	l, _ := newLink(t, Config{TLS: member(t, ca, "mgc-1"), Deadline: 2 * time.Second}, nil)
	g1 := end(t, member(t, ca, "g1"))
	f := &fakeMGW{}
	addr, _ := f.start(t, "", grpc.Creds(credentials.NewTLS(g1.Server("h2"))))
	if _, err := l.Transact(t.Context(), Node{"g1", addr}, request("t1")); err != nil {
		t.Errorf("its own name: %v", err)
	}
	if _, err := l.Transact(t.Context(), Node{"g2", addr}, request("t2")); !errors.Is(err, ErrUnreachable) {
		t.Errorf("another name: %v", err)
	}
	foreign := end(t, member(t, tlstest.NewAuthority(t, "foreign"), "g3"))
	addr3, _ := (&fakeMGW{}).start(t, "", grpc.Creds(credentials.NewTLS(foreign.Server("h2"))))
	if _, err := l.Transact(t.Context(), Node{"g3", addr3}, request("t3")); err == nil {
		t.Error("a certificate of another authority was accepted")
	}
	if got := f.seen(); !slices.Equal(got, []string{"t1"}) {
		t.Errorf("the node saw %q", got)
	}
}
