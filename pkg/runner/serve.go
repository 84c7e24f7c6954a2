package runner

import (
	"context"
	"net"
	"time"
)

// Server is a server that can end in order, such as *grpc.Server.
type Server interface {
	Serve(net.Listener) error
	GracefulStop() // lets calls in progress finish and waits
	Stop()         // ends them
}

// Serve serves on lis until ctx ends, then lets calls in progress finish for up to grace. It closes lis. Errors: the server ended before ctx did.
func Serve(ctx context.Context, srv Server, lis net.Listener, grace time.Duration) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stopped := make(chan struct{})
	go func() { srv.GracefulStop(); close(stopped) }()
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-stopped:
	case <-late.C:
		srv.Stop()
		<-stopped
	}
	<-served
	return nil
}
