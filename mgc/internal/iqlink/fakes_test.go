package iqlink

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// registry is a fake pool.
type registry struct {
	mu          sync.Mutex
	unreachable []string
	fail        error
}

func (r *registry) ServiceChange(_ context.Context, req *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return nil, r.fail
	}
	return &iqv1.ServiceChangeReply{MgcInstance: "for " + req.GetMgwId()}, nil
}

func (r *registry) Heartbeat(context.Context, *iqv1.HeartbeatRequest) *iqv1.HeartbeatReply {
	return &iqv1.HeartbeatReply{}
}

func (r *registry) Unreachable(mgw string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreachable = append(r.unreachable, mgw)
}

func (r *registry) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.unreachable)
}

// newLink makes a link that is patient where cfg does not say else; at the end no goroutine may be left.
func newLink(t *testing.T, cfg Config, notify NotifyFunc) (*Link, *registry) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	cfg.Instance = "mgc-1"
	setDefault(&cfg.Attempt, patience)
	setDefault(&cfg.Deadline, patience)
	reg := &registry{}
	l, err := New(cfg, reg, notify, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		goleak.VerifyNone(t, before)
	})
	return l, reg
}

// fakeMGW is a MediaGateway whose answers the test gives.
type fakeMGW struct {
	iqv1.UnimplementedMediaGatewayServer
	transact func(ctx context.Context, n int, r *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) // n: 1 for the first attempt

	mu  sync.Mutex
	ids []string
	mgc []string
}

func (f *fakeMGW) Transact(ctx context.Context, r *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
	f.mu.Lock()
	f.ids, f.mgc = append(f.ids, r.GetTransactionId()), append(f.mgc, r.GetMgcInstance())
	n := len(f.ids)
	f.mu.Unlock()
	if f.transact != nil {
		if reply, err := f.transact(ctx, n, r); reply != nil || err != nil {
			return reply, err
		}
	}
	return &iqv1.TransactionReply{TransactionId: r.GetTransactionId(), BootId: "b1"}, nil
}

func (f *fakeMGW) AuditCapabilities(context.Context, *iqv1.AuditCapabilitiesRequest) (*iqv1.Capabilities, error) {
	return &iqv1.Capabilities{ProfileVersion: 1}, nil
}

func (f *fakeMGW) ServiceChange(_ context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	return &iqv1.ServiceChangeReply{MgcInstance: r.GetMgwId()}, nil
}

func (f *fakeMGW) AuditValue(_ *iqv1.AuditRequest, s grpc.ServerStreamingServer[iqv1.AuditReply]) error {
	for range 3 {
		if err := s.Send(&iqv1.AuditReply{}); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeMGW) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ids)
}

// start serves the MGW on a loopback address ("": any port) and returns it with the function that ends it.
func (f *fakeMGW) start(t *testing.T, addr string, opts ...grpc.ServerOption) (string, func()) {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	iqv1.RegisterMediaGatewayServer(s, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(lis) // nil after Stop
	}()
	stop := sync.OnceFunc(func() { s.Stop(); <-done })
	t.Cleanup(stop)
	return lis.Addr().String(), stop
}

// member writes the files of one end of Iq: a certificate of ca that names it.
func member(t *testing.T, ca *tlstest.Authority, name string) tlsfiles.Files {
	t.Helper()
	f := tlsfiles.Files{CA: filepath.Join(t.TempDir(), "ca.crt")}
	f.Cert, f.Key = ca.Issue(t, name, []string{name}, nil).Write(t, filepath.Dir(f.CA), name)
	tlstest.Put(t, f.CA, ca.PEM())
	return f
}

// end is one end of Iq with files of its own.
func end(t *testing.T, f tlsfiles.Files) *tlsfiles.Mutual {
	t.Helper()
	m, err := tlsfiles.NewMutual(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
