package systems

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// pool is a pool of one controller that lets every gateway register and acknowledges what it is told.
type pool struct {
	iqv1.UnimplementedMediaGatewayControllerServer
	address string
	srv     *grpc.Server
	done    chan struct{}
}

func startPool() (*pool, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("systems: %w", err)
	}
	p := &pool{address: l.Addr().String(), srv: grpc.NewServer(), done: make(chan struct{})}
	iqv1.RegisterMediaGatewayControllerServer(p.srv, p)
	go func() { defer close(p.done); _ = p.srv.Serve(l) }() // ends with close
	return p, nil
}

func (p *pool) close() { p.srv.Stop(); <-p.done }

// beat is the heartbeat's interval, that of the product.
const beat = 5 * time.Second

// ServiceChange implements the controller's service.
func (p *pool) ServiceChange(context.Context, *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	return &iqv1.ServiceChangeReply{ProfileVersion: 1, HeartbeatInterval: durationpb.New(beat), MgcInstance: "bench"}, nil
}

// Heartbeat implements the controller's service.
func (p *pool) Heartbeat(context.Context, *iqv1.HeartbeatRequest) (*iqv1.HeartbeatReply, error) {
	return &iqv1.HeartbeatReply{Next: durationpb.New(beat)}, nil
}

// Notify implements the controller's service.
func (p *pool) Notify(context.Context, *iqv1.NotifyRequest) (*iqv1.NotifyReply, error) {
	return &iqv1.NotifyReply{Verdict: iqv1.NotifyReply_VERDICT_ACK}, nil
}
