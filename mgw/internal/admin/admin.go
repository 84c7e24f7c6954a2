// Package admin is the operators' view of the media gateway: the gRPC service GatewayAdmin with reflection and the standard
// health service, on a listener of its own, and the HTTP side with metrics and health. Floor 4. Handlers run on goroutines
// of gRPC and net/http; the package has no state of its own.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/runner"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// ErrExposed refuses an admin listener beyond loopback that was not asked for explicitly: the service has no authentication.
var ErrExposed = errors.New("admin service beyond loopback: set insecure to expose it")

const (
	stopGrace  = time.Second
	maxMessage = 64 << 10
	maxHeaders = 16 << 10
)

// Source is what the service reports of.
type Source struct {
	Contexts *contexts.Manager
	Counters func() flow.Counters
	Ready    func() error // nil: ready for calls
	Realms   func() []*adminv1.RealmState
}

// Service implements GatewayAdmin.
type Service struct {
	adminv1.UnimplementedGatewayAdminServer
	src Source
}

// ListContexts lists contexts with their terminations and statistics, in order of creation.
func (s *Service) ListContexts(context.Context, *adminv1.ListContextsRequest) (*adminv1.ListContextsResponse, error) {
	out := &adminv1.ListContextsResponse{}
	s.src.Contexts.Snapshots(true, func(sn contexts.Snapshot) bool {
		c := &adminv1.Context{
			ContextId: string(sn.ID), CorrelationId: sn.Attributes.GetCorrelationId(), Revision: sn.Revision,
			Age: durationpb.New(time.Since(sn.Created)),
		}
		for _, t := range sn.Terminations {
			c.Terminations = append(c.Terminations, rows(t)...)
		}
		out.Contexts = append(out.Contexts, c)
		return true
	})
	return out, nil
}

// rows are the streams of a termination.
func rows(t contexts.TerminationSnapshot) (out []*adminv1.Termination) {
	for i := range t.Streams {
		s, st := &t.Streams[i], &iqv1.Statistics{}
		if n := slices.IndexFunc(t.Statistics, func(x *iqv1.Statistics) bool { return x.GetStreamId() == uint32(s.ID) }); n >= 0 {
			st = t.Statistics[n]
		}
		out = append(out, &adminv1.Termination{
			TerminationId: string(t.ID), Kind: t.Kind.String(), Realm: t.Realm, StreamId: uint32(s.ID), Mode: s.Mode.String(),
			LocalAddress: localAddress(t.Termination, s), RemoteAddress: remoteAddress(t.Kind, s, st.GetSelectedPair()),
			PacketsReceived: st.GetPacketsReceived(), PacketsSent: st.GetPacketsSent(), PacketsLost: st.GetPacketsLost(),
			JitterUs: st.GetJitterUs(), CodecReceived: st.GetCodecReceived(), CodecSent: st.GetCodecSent(),
			MediaPath: pathText(st.GetPath().GetKind()), MediaPathReason: st.GetPath().GetReason(),
			MosCenti: st.GetMosCenti(), RemoteMosCenti: st.GetRemoteMosCenti(),
		})
	}
	return out
}

// pathText is "relay", "repack" or "transcode".
func pathText(k iqv1.MediaPath_Kind) string {
	if k == iqv1.MediaPath_KIND_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(k.String(), "KIND_"))
}

func localAddress(t *connmodel.Termination, s *connmodel.Stream) string {
	if s.Chosen.RTP.IsValid() {
		return s.Chosen.RTP.String()
	}
	if len(t.Local.Candidates) > 0 {
		return t.Local.Candidates[0].Addr.String()
	}
	return ""
}

// remoteAddress is where media comes from: the selected pair or latched address, else what the description says.
func remoteAddress(kind connmodel.Kind, s *connmodel.Stream, selected string) string {
	if pair := strings.Fields(selected); len(pair) > 0 {
		return pair[len(pair)-1] // "local remote", or the latched address alone
	}
	if d := s.Remote; kind == connmodel.KindCore && d.Addr.IsValid() && d.Port != 0 {
		return netip.AddrPortFrom(d.Addr, d.Port).String()
	}
	return ""
}

// ListRealms lists the IP realms and whether they are available.
func (s *Service) ListRealms(context.Context, *adminv1.ListRealmsRequest) (*adminv1.ListRealmsResponse, error) {
	return &adminv1.ListRealmsResponse{Realms: s.src.Realms()}, nil
}

// Resources counts what the process holds.
func (s *Service) Resources(context.Context, *adminv1.ResourcesRequest) (*adminv1.ResourcesResponse, error) {
	c := s.src.Counters()
	return &adminv1.ResourcesResponse{
		Contexts: uint32(s.src.Contexts.Count()), Terminations: uint32(s.src.Contexts.Terminations()), PortPairs: uint32(c.PortPairs),
		Goroutines: uint32(runtime.NumGoroutine()), HeapBytes: heapInUse(), BuffersOut: int64(c.Buffers),
	}, nil
}

// heapInUse is the bytes of live and not yet swept heap objects; it does not stop the world.
func heapInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// health answers the standard health service: SERVING while the gateway is ready for calls.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	ready func() error
}

// Check reports the state of the process as a whole; services of other names are not told apart.
func (h health) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	st := grpc_health_v1.HealthCheckResponse_SERVING
	if h.ready() != nil {
		st = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	return &grpc_health_v1.HealthCheckResponse{Status: st}, nil
}

// Endpoint is the gRPC server on its listener.
type Endpoint struct {
	srv *grpc.Server
	lis net.Listener
}

// Listen opens the admin listener. insecure permits an address beyond loopback. Errors: ErrExposed, an address that cannot be opened.
func Listen(address string, insecure bool, src Source) (*Endpoint, error) {
	lis, err := listen(address, insecure)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.ConnectionTimeout(5*time.Second))
	adminv1.RegisterGatewayAdminServer(srv, &Service{src: src})
	grpc_health_v1.RegisterHealthServer(srv, health{ready: src.Ready})
	reflection.Register(srv)
	return &Endpoint{srv: srv, lis: lis}, nil
}

// listen opens address unless it is exposed without leave.
func listen(address string, insecure bool) (net.Listener, error) {
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := lis.Addr().(*net.TCPAddr); !insecure && (!ok || !tcp.IP.IsLoopback()) {
		return nil, errors.Join(fmt.Errorf("%s: %w", lis.Addr(), ErrExposed), lis.Close())
	}
	return lis, nil
}

// Addr is where the server listens.
func (e *Endpoint) Addr() net.Addr { return e.lis.Addr() }

// Run serves until ctx ends, then lets calls in progress finish for up to 1 s.
func (e *Endpoint) Run(ctx context.Context) error {
	return runner.Serve(ctx, e.srv, e.lis, stopGrace)
}

// Close releases the listener of an Endpoint that is not run.
func (e *Endpoint) Close() { e.srv.Stop(); _ = e.lis.Close() } // closing twice is harmless

// HTTP is the server of metrics and health.
type HTTP struct {
	srv *http.Server
	lis net.Listener
}

// ListenHTTP opens the HTTP listener for a handler (obs.Handler). It shows no call data and may be exposed.
func ListenHTTP(address string, h http.Handler) (*HTTP, error) {
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin: http: %w", err)
	}
	return &HTTP{lis: lis, srv: &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: maxHeaders,
	}}, nil
}

// Addr is where the server listens.
func (h *HTTP) Addr() net.Addr { return h.lis.Addr() }

// Run serves until ctx ends, then lets requests in progress finish for up to 1 s.
func (h *HTTP) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- h.srv.Serve(h.lis) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	err := h.srv.Shutdown(stop)
	if err != nil {
		err = errors.Join(err, h.srv.Close())
	}
	<-served
	return err
}

// Close releases the listener of a server that is not run.
func (h *HTTP) Close() { _ = h.lis.Close() } // closing twice is harmless
