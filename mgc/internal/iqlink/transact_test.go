package iqlink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func request(id string) *iqv1.TransactionRequest {
	return &iqv1.TransactionRequest{TransactionId: id}
}

func TestTransact(t *testing.T) {
	l, reg := newLink(t, Config{}, nil)
	f := &fakeMGW{}
	addr, _ := f.start(t, "")
	reply, err := l.Transact(t.Context(), Node{"g1", addr}, request("t1"))
	if err != nil || reply.GetTransactionId() != "t1" || reply.GetBootId() != "b1" {
		t.Errorf("%v, %v", reply, err)
	}
	if !slices.Equal(f.mgc, []string{"mgc-1"}) {
		t.Errorf("mgc_instance %q", f.mgc)
	}
	caps, err := l.AuditCapabilities(t.Context(), Node{"g1", addr})
	if err != nil || caps.GetProfileVersion() != 1 {
		t.Errorf("capabilities %v, %v", caps, err)
	}
	sc, err := l.ServiceChange(t.Context(), Node{"g1", addr}, &iqv1.ServiceChangeRequest{MgwId: "g1"})
	if err != nil || sc.GetMgcInstance() != "g1" {
		t.Errorf("service change %v, %v", sc, err)
	}
	rows := 0
	if err := l.AuditValue(t.Context(), Node{"g1", addr}, &iqv1.AuditRequest{}, func(*iqv1.AuditReply) error { rows++; return nil }); err != nil || rows != 3 {
		t.Errorf("audit: %d rows, %v", rows, err)
	}
	enough := errors.New("enough")
	if err := l.AuditValue(t.Context(), Node{"g1", addr}, &iqv1.AuditRequest{}, func(*iqv1.AuditReply) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("audit that was broken off: %v", err)
	}
	if len(reg.told()) != 0 {
		t.Errorf("unreachable: %q", reg.told())
	}
}

// TestRefusalsTravelInTheReply: H.248.8 errors are no Go errors.
func TestRefusalsTravelInTheReply(t *testing.T) {
	l, _ := newLink(t, Config{}, nil)
	f := &fakeMGW{transact: func(context.Context, int, *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		return &iqv1.TransactionReply{Actions: []*iqv1.ActionReply{{Error: &iqv1.ErrorDescriptor{Code: 510}}}}, nil
	}}
	addr, _ := f.start(t, "")
	reply, err := l.Transact(t.Context(), Node{"g1", addr}, request("t1"))
	if err != nil || len(replyErrors(reply)) != 1 {
		t.Errorf("%v, %v", reply, err)
	}
}

// TestRepeatsWithTheSameID: what has no answer is repeated as the same transaction, so that the MGW executes it once.
func TestRepeatsWithTheSameID(t *testing.T) {
	for name, first := range map[string]func(ctx context.Context) error{
		"not available": func(context.Context) error { return status.Error(codes.Unavailable, "restarting") },
		"no answer":     func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			l, reg := newLink(t, Config{Attempt: time.Second}, nil)
			f := &fakeMGW{transact: func(ctx context.Context, n int, _ *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
				if n < 3 {
					return nil, first(ctx)
				}
				return nil, nil
			}}
			addr, _ := f.start(t, "")
			if _, err := l.Transact(t.Context(), Node{"g1", addr}, request("t1")); err != nil {
				t.Error(err)
			}
			if got := f.seen(); !slices.Equal(got, []string{"t1", "t1", "t1"}) {
				t.Errorf("the MGW saw %q", got)
			}
			if len(reg.told()) != 0 {
				t.Errorf("unreachable: %q", reg.told())
			}
		})
	}
}

// TestFailures: each way to fail has its reason and H.248.8 code; only silence makes the node suspect, and only silence is repeated.
func TestFailures(t *testing.T) {
	for code, want := range map[codes.Code]struct {
		why      error
		h248     gwerr.Code
		repeated bool
	}{
		codes.Unavailable:       {ErrUnreachable, gwerr.UnreachableGateway, true},
		codes.DeadlineExceeded:  {ErrUnreachable, gwerr.UnreachableGateway, true},
		codes.Aborted:           {ErrUnreachable, gwerr.UnreachableGateway, false},
		codes.ResourceExhausted: {ErrOverloaded, gwerr.InsufficientResources, false},
		codes.PermissionDenied:  {ErrDenied, gwerr.Unauthorised, false},
		codes.Unauthenticated:   {ErrDenied, gwerr.Unauthorised, false},
		codes.InvalidArgument:   {ErrRejected, gwerr.BadRequest, false},
		codes.Unimplemented:     {ErrRejected, gwerr.BadRequest, false},
		codes.Internal:          {ErrRejected, gwerr.BadRequest, false},
	} {
		t.Run(code.String(), func(t *testing.T) {
			var cfg Config
			if want.repeated { // to the end
				cfg = Config{Deadline: time.Second, Attempt: 200 * time.Millisecond}
			}
			l, reg := newLink(t, cfg, nil)
			f := &fakeMGW{transact: func(context.Context, int, *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
				return nil, status.Error(code, "test")
			}}
			addr, _ := f.start(t, "")
			_, err := l.Transact(t.Context(), Node{"g1", addr}, request("t1"))
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, want.why) || e.Code() != want.h248 || e.MGW != "g1" || e.ID != "t1" {
				t.Errorf("got %v", err)
			}
			if n := len(f.seen()); (n > 1) != want.repeated {
				t.Errorf("%d attempts", n)
			}
			if told := reg.told(); (len(told) == 1) != errors.Is(want.why, ErrUnreachable) {
				t.Errorf("unreachable: %q", told)
			}
		})
	}
}

// TestNodeComesBack: a node that is not there is unreachable within the deadline; once it is there it is reached again.
func TestNodeComesBack(t *testing.T) {
	l, reg := newLink(t, Config{Deadline: time.Second}, nil)
	f := &fakeMGW{}
	addr, stop := f.start(t, fmt.Sprintf("127.0.0.1:%d", freeports.Port(t))) // it comes back there
	node := Node{"g1", addr}
	if _, err := l.Transact(t.Context(), node, request("t1")); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := l.Transact(t.Context(), node, request("t2")); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
	if told := reg.told(); !slices.Equal(told, []string{"g1"}) {
		t.Errorf("unreachable: %q", told)
	}
	f.start(t, addr)
	deadline := time.Now().Add(patience)
	for {
		_, err := l.Transact(t.Context(), node, request("t3"))
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not reached again: %v", err)
		}
	}
	// The same node at another address: the connection is replaced.
	other := &fakeMGW{}
	addr2, _ := other.start(t, "")
	if _, err := l.Transact(t.Context(), Node{"g1", addr2}, request("t4")); err != nil || !slices.Equal(other.seen(), []string{"t4"}) {
		t.Errorf("%v, the new address saw %q", err, other.seen())
	}
	l.Forget("g1")
	l.Forget("unknown")
	if _, err := l.Transact(t.Context(), Node{"g1", addr2}, request("t5")); err != nil {
		t.Errorf("after Forget: %v", err)
	}
}

// TestGivenUpIsNotUnreachable: that the caller has lost interest says nothing about the node.
func TestGivenUpIsNotUnreachable(t *testing.T) {
	l, reg := newLink(t, Config{Attempt: patience, Deadline: patience}, nil)
	entered := make(chan struct{})
	f := &fakeMGW{transact: func(ctx context.Context, _ int, _ *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	addr, _ := f.start(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := l.Transact(ctx, Node{"g1", addr}, request("t1")); err == nil {
		t.Error("no error")
	}
	if told := reg.told(); len(told) != 0 {
		t.Errorf("unreachable: %q", told)
	}
	if n := len(f.seen()); n != 1 {
		t.Errorf("%d attempts", n)
	}
}

// TestPlaintextStaysAtHome: without TLS only loopback is spoken to and served, unless that is asked for.
func TestPlaintextStaysAtHome(t *testing.T) {
	l, reg := newLink(t, Config{}, nil)
	for _, addr := range []string{"192.0.2.1:7420", "mgw.example:7420", "[2001:db8::1]:7420", "nonsense"} {
		_, err := l.Transact(t.Context(), Node{"g1", addr}, request("t1"))
		var e *Error
		if !errors.Is(err, ErrDenied) || !errors.As(err, &e) || e.Code() != gwerr.Unauthorised {
			t.Errorf("%s: %v, want ErrDenied", addr, err)
		}
	}
	if len(reg.told()) != 0 {
		t.Errorf("unreachable: %q", reg.told())
	}
	for addr, want := range map[string]bool{"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "localhost:1": true,
		"0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "127.0.0.1": false, "localhost.evil.example:1": false} {
		if got := loopback(addr); got != want {
			t.Errorf("loopback(%s) = %v", addr, got)
		}
	}
	lis := newListener("192.0.2.1:7400")
	if err := l.Serve(lis); !errors.Is(err, ErrDenied) || !lis.closed {
		t.Errorf("serve: %v, listener closed: %v", err, lis.closed)
	}
}

func TestClosedLink(t *testing.T) {
	l, _ := newLink(t, Config{}, nil)
	f := &fakeMGW{}
	addr, _ := f.start(t, "")
	l.Close()
	l.Close()
	if _, err := l.Transact(t.Context(), Node{"g1", addr}, request("t1")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	lis := newListener("127.0.0.1:7400")
	if err := l.Serve(lis); !errors.Is(err, ErrClosed) || !lis.closed {
		t.Errorf("serve: %v, listener closed: %v", err, lis.closed)
	}
}
