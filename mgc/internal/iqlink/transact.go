package iqlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func (l *Link) dial(n Node) (*grpc.ClientConn, error) {
	var creds credentials.TransportCredentials
	switch {
	case l.creds != nil:
		creds = credentials.NewTLS(l.creds.Client(n.ID))
	case l.cfg.Insecure || loopback(n.Address):
		creds = insecure.NewCredentials()
	default:
		return nil, fmt.Errorf("%w: plaintext to %s", ErrDenied, n.Address)
	}
	return grpc.NewClient("passthrough:///"+n.Address,
		grpc.WithTransportCredentials(creds),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: max(l.cfg.Keepalive, 10*time.Second), Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(l.cfg.MaxMessage)),
		grpc.WithDisableServiceConfig(),
	)
}

// Transact brings req to the MGW and returns its reply. mgc_instance is filled in when empty; transaction_id must be
// set, since the request is repeated with the same id when an attempt has no answer, until Config.Deadline or ctx ends.
// H.248.8 errors are in the reply. Errors: *Error.
func (l *Link) Transact(ctx context.Context, n Node, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
	start := time.Now()
	if req.GetMgcInstance() == "" {
		req.MgcInstance = l.cfg.Instance
	}
	var reply *iqv1.TransactionReply
	err := l.repeat(ctx, n, func(ctx context.Context, c iqv1.MediaGatewayClient) (err error) {
		reply, err = c.Transact(ctx, req)
		return err
	})
	l.metrics.observe("transact", start, err, len(replyErrors(reply)) > 0)
	if err != nil {
		return nil, l.failed("transact", n, req.GetTransactionId(), err)
	}
	return reply, nil
}

// replyErrors lists the H.248.8 errors of a reply.
func replyErrors(r *iqv1.TransactionReply) []*iqv1.ErrorDescriptor {
	var out []*iqv1.ErrorDescriptor
	add := func(e *iqv1.ErrorDescriptor) {
		if e != nil {
			out = append(out, e)
		}
	}
	add(r.GetError())
	for _, a := range r.GetActions() {
		add(a.GetError())
		for _, c := range a.GetCommands() {
			add(c.GetError())
		}
	}
	return out
}

// repeat runs one idempotent command with attempts of Config.Attempt until it has an answer.
func (l *Link) repeat(ctx context.Context, n Node, f func(context.Context, iqv1.MediaGatewayClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Deadline)
	defer cancel()
	pause := 20 * time.Millisecond
	for {
		client, err := l.client(n)
		if err != nil {
			return err
		}
		actx, acancel := context.WithTimeout(ctx, l.cfg.Attempt)
		err = f(actx, client)
		acancel()
		if err == nil || !repeatable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
			l.metrics.repeats.Inc()
			pause = min(2*pause, 500*time.Millisecond)
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

// failed makes the typed error and tells the registry about silence.
func (l *Link) failed(op string, n Node, id string, err error) *Error {
	e := &Error{Op: op, MGW: n.ID, ID: id, Err: err}
	switch {
	case errors.Is(err, ErrDenied), errors.Is(err, ErrClosed):
		e.Why = ErrDenied
		if errors.Is(err, ErrClosed) {
			e.Why = ErrClosed
		}
	default:
		e.Why = reason(err)
	}
	gaveUp := errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled // the caller, which says nothing about the node
	if errors.Is(e.Why, ErrUnreachable) && l.registry != nil && !gaveUp {
		l.registry.Unreachable(n.ID)
	}
	return e
}

// AuditCapabilities asks what the MGW can do. Errors: *Error.
func (l *Link) AuditCapabilities(ctx context.Context, n Node) (*iqv1.Capabilities, error) {
	start := time.Now()
	var caps *iqv1.Capabilities
	err := l.repeat(ctx, n, func(ctx context.Context, c iqv1.MediaGatewayClient) (err error) {
		caps, err = c.AuditCapabilities(ctx, &iqv1.AuditCapabilitiesRequest{})
		return err
	})
	l.metrics.observe("capabilities", start, err, false)
	if err != nil {
		return nil, l.failed("capabilities", n, "", err)
	}
	return caps, nil
}

// ServiceChange tells the MGW to drain, to release everything or to come back (H.248.1 §7.2.8). Errors: *Error.
func (l *Link) ServiceChange(ctx context.Context, n Node, req *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	start := time.Now()
	var reply *iqv1.ServiceChangeReply
	err := l.repeat(ctx, n, func(ctx context.Context, c iqv1.MediaGatewayClient) (err error) {
		reply, err = c.ServiceChange(ctx, req)
		return err
	})
	l.metrics.observe("service_change", start, err, reply.GetError() != nil)
	if err != nil {
		return nil, l.failed("service change", n, "", err)
	}
	return reply, nil
}

// AuditValue gives each row of the MGW's answer to row, in order; row returning an error ends the audit with it. ctx
// bounds the whole audit; it is not repeated. Errors: *Error, or row's.
func (l *Link) AuditValue(ctx context.Context, n Node, req *iqv1.AuditRequest, row func(*iqv1.AuditReply) error) error {
	start := time.Now()
	err := l.audit(ctx, n, req, row)
	l.metrics.observe("audit", start, err, false)
	var own rowError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own.error
	}
	return l.failed("audit", n, "", err)
}

// rowError marks an error of the caller's row function.
type rowError struct{ error }

func (l *Link) audit(ctx context.Context, n Node, req *iqv1.AuditRequest, row func(*iqv1.AuditReply) error) error {
	client, err := l.client(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the stream when row gives up
	defer cancel()
	stream, err := client.AuditValue(ctx, req)
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := row(r); err != nil {
			return rowError{err}
		}
	}
}
