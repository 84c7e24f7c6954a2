package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/isthmus-gateway/isthmus/pkg/runner"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	maxMessage     = 256 << 10 // a transaction of 16 full actions is well below
	maxStreams     = 1024      // per connection
	stopGrace      = 2 * time.Second
	connectTimeout = 5 * time.Second
)

// Endpoint is the gRPC server of Iq on its listener.
type Endpoint struct {
	srv *grpc.Server
	lis net.Listener
}

// Listen opens the listener and prepares the server. Errors: an address that cannot be opened, ErrPlaintext.
func Listen(address string, sec *Security, s *Server) (*Endpoint, error) {
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("control: listen: %w", err)
	}
	e, err := NewEndpoint(lis, sec, s)
	if err != nil {
		return nil, errors.Join(err, lis.Close())
	}
	return e, nil
}

// NewEndpoint prepares the server on a listener, which it owns when no error is returned.
func NewEndpoint(lis net.Listener, sec *Security, s *Server) (*Endpoint, error) {
	creds, err := sec.Server(lis.Addr())
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	srv := grpc.NewServer(creds, grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 4 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 15 * time.Second, Timeout: 5 * time.Second}))
	iqv1.RegisterMediaGatewayServer(srv, s)
	return &Endpoint{srv: srv, lis: lis}, nil
}

// Addr is where the server listens.
func (e *Endpoint) Addr() net.Addr { return e.lis.Addr() }

// Run serves until ctx ends, then lets calls in progress finish for up to 2 s.
func (e *Endpoint) Run(ctx context.Context) error {
	return runner.Serve(ctx, e.srv, e.lis, stopGrace)
}

// Close releases the listener of an Endpoint that is not run.
func (e *Endpoint) Close() { e.srv.Stop(); _ = e.lis.Close() } // closing twice is harmless
