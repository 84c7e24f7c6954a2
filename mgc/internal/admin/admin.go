// Package admin serves ControllerAdmin: what operators ask of a controller. Floor 4 of mgc; it has no goroutine of its own.
package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Source is what the service shows. Functions are safe for concurrent use and return fresh values.
type Source struct {
	Nodes         func() []*adminv1.Node
	Calls         func() []*adminv1.Call
	Registrations func() []*adminv1.Registration
	// Play plays signals to one side of a call, or stops them when there are none. Errors: call.ErrNoCall or a *gwerr.Error, wrapped.
	Play func(ctx context.Context, call string, toBrowser bool, signals []*iqv1.Signal) error
	// NoCall is the error of Play for a call that there is not.
	NoCall error
	// Resources may read the store; its error is shown as UNAVAILABLE.
	Resources func(ctx context.Context) (*adminv1.ControllerResourcesResponse, error)
}

// NewServer returns a gRPC server with the admin service, reflection and the standard health service.
func NewServer(src Source) (*grpc.Server, *health.Server) {
	s := grpc.NewServer()
	h := health.NewServer()
	adminv1.RegisterControllerAdminServer(s, &service{src: src})
	healthpb.RegisterHealthServer(s, h)
	reflection.Register(s)
	return s, h
}

type service struct {
	adminv1.UnimplementedControllerAdminServer
	src Source
}

// ListNodes implements adminv1.ControllerAdminServer.
func (s *service) ListNodes(context.Context, *adminv1.ListNodesRequest) (*adminv1.ListNodesResponse, error) {
	nodes := s.src.Nodes()
	slices.SortFunc(nodes, func(a, b *adminv1.Node) int { return strings.Compare(a.MgwId, b.MgwId) })
	return &adminv1.ListNodesResponse{Nodes: nodes}, nil
}

// ListCalls implements adminv1.ControllerAdminServer.
func (s *service) ListCalls(context.Context, *adminv1.ListCallsRequest) (*adminv1.ListCallsResponse, error) {
	calls := s.src.Calls()
	slices.SortFunc(calls, func(a, b *adminv1.Call) int { return a.Started.AsTime().Compare(b.Started.AsTime()) })
	return &adminv1.ListCallsResponse{Calls: calls}, nil
}

// ListRegistrations implements adminv1.ControllerAdminServer.
func (s *service) ListRegistrations(context.Context, *adminv1.ListRegistrationsRequest) (*adminv1.ListRegistrationsResponse, error) {
	regs := s.src.Registrations()
	slices.SortFunc(regs, func(a, b *adminv1.Registration) int { return strings.Compare(a.Aor+a.Contact, b.Aor+b.Contact) })
	return &adminv1.ListRegistrationsResponse{Registrations: regs}, nil
}

// ControllerResources implements adminv1.ControllerAdminServer.
func (s *service) ControllerResources(ctx context.Context, _ *adminv1.ControllerResourcesRequest) (*adminv1.ControllerResourcesResponse, error) {
	r, err := s.src.Resources(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return r, nil
}

// PlaySignal implements adminv1.ControllerAdminServer.
func (s *service) PlaySignal(ctx context.Context, r *adminv1.PlaySignalRequest) (*adminv1.PlaySignalResponse, error) {
	if r.GetSignal() == "" {
		return nil, status.Error(codes.InvalidArgument, "signal: one is needed")
	}
	sig := &iqv1.Signal{Name: r.GetSignal(), Announcement: r.GetAnnouncement(), Repeat: r.GetRepeat(), Duration: r.GetDuration(), KeepActive: true}
	if r.GetDuration() != nil && r.GetRepeat() == 0 && r.GetAnnouncement() == "" && !strings.HasPrefix(r.GetSignal(), "dg/") {
		sig.Type = iqv1.Signal_TYPE_TIMEOUT
	}
	if r.GetRepeat() > 0 {
		sig.Type = iqv1.Signal_TYPE_BRIEF
	}
	return &adminv1.PlaySignalResponse{}, s.play(ctx, r.GetCallId(), r.GetTo(), sig)
}

// StopSignal implements adminv1.ControllerAdminServer.
func (s *service) StopSignal(ctx context.Context, r *adminv1.StopSignalRequest) (*adminv1.StopSignalResponse, error) {
	return &adminv1.StopSignalResponse{}, s.play(ctx, r.GetCallId(), r.GetTo())
}

// play plays signals to a side, or stops them when there are none.
func (s *service) play(ctx context.Context, call, to string, signals ...*iqv1.Signal) error {
	if to != "browser" && to != "core" {
		return status.Errorf(codes.InvalidArgument, "to: %q; browser or core", to)
	}
	switch err := s.src.Play(ctx, call, to == "browser", signals); {
	case err == nil:
		return nil
	case errors.Is(err, s.src.NoCall):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	default:
		return status.Error(gwerr.CodeOf(err).GRPC(), err.Error())
	}
}

// Time converts t; nil for the zero time.
func Time(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
