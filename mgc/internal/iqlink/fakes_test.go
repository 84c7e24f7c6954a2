package iqlink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"

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

// newLink makes a link with short deadlines; at the end no goroutine may be left.
func newLink(t *testing.T, cfg Config, notify NotifyFunc) (*Link, *registry) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	cfg.Instance = "mgc-1"
	setDefault(&cfg.Attempt, 300*time.Millisecond)
	setDefault(&cfg.Deadline, 2*time.Second)
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

// authority issues certificates for one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = newKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue writes a certificate for the name and returns its files; files of the same label are replaced.
func (a *authority) issue(label, name string) TLSFiles {
	a.t.Helper()
	a.n++
	key := newKey(a.t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(100 + a.n), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	f := TLSFiles{Cert: filepath.Join(a.dir, label+".crt"), Key: filepath.Join(a.dir, label+".key"), CA: filepath.Join(a.dir, label+".ca")}
	a.write(f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.write(f.Key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
	a.write(f.CA, a.pem)
	return f
}

func (a *authority) write(path string, b []byte) {
	a.t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}
