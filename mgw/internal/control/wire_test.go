package control

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// serve runs the server on a loopback port until the test ends.
func serve(t *testing.T, s *Server, sec *Security) string {
	t.Helper()
	e, err := Listen("127.0.0.1:0", sec, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e.Addr().String()
}

func connect(t *testing.T, address string, sec *Security) *grpc.ClientConn {
	t.Helper()
	creds, err := sec.Client(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address, creds)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func plaintext(t *testing.T) *Security {
	t.Helper()
	sec, err := NewSecurity(TLSFiles{}, false)
	if err != nil {
		t.Fatal(err)
	}
	return sec
}

func dialServer(t *testing.T, s *Server) iqv1.MediaGatewayClient {
	t.Helper()
	return iqv1.NewMediaGatewayClient(connect(t, serve(t, s, plaintext(t)), plaintext(t)))
}

func auditAll(t *testing.T, c iqv1.MediaGatewayClient, req *iqv1.AuditRequest) []*iqv1.AuditReply {
	t.Helper()
	stream, err := c.AuditValue(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var out []*iqv1.AuditReply
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
}

func TestPlaintextIsForLoopback(t *testing.T) {
	sec := plaintext(t)
	open, err := NewSecurity(TLSFiles{}, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"192.0.2.1:7420", "0.0.0.0:7420", "[::]:7420", "mgc.example:7400"} {
		if _, err := sec.Client(addr); !errors.Is(err, ErrPlaintext) {
			t.Errorf("client to %s: %v", addr, err)
		}
		if _, err := open.Client(addr); err != nil {
			t.Errorf("insecure client to %s: %v", addr, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1"} {
		if _, err := sec.Client(addr); err != nil {
			t.Errorf("client to %s: %v", addr, err)
		}
	}
	if _, err := sec.Server(&net.TCPAddr{IP: net.IPv4zero, Port: 1}); !errors.Is(err, ErrPlaintext) {
		t.Errorf("server: %v", err)
	}
}

func TestOversizeTransactionIsRefused(t *testing.T) {
	s, _ := newServer(t, newFakeMedia(1), ServerConfig{})
	req := setUp("t-1")
	req.MgcInstance = string(make([]byte, maxMessage+1))
	if _, err := dialServer(t, s).Transact(t.Context(), req); status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("want RESOURCE_EXHAUSTED: %v", err)
	}
}

// authority issues certificates into files.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key = a.newKey()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pool CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) write(name, typ string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue writes a certificate for a name and 127.0.0.1.
func (a *authority) issue(name string) TLSFiles {
	key := a.newKey()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return TLSFiles{
		Cert: a.write(name+".pem", "CERTIFICATE", der), Key: a.write(name+".key", "PRIVATE KEY", raw), CA: filepath.Join(a.dir, "ca.pem"),
	}
}

func security(t *testing.T, f TLSFiles) *Security {
	t.Helper()
	sec, err := NewSecurity(f, false)
	if err != nil {
		t.Fatal(err)
	}
	return sec
}

func TestMutualTLSBindsTheInstanceName(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	s, m := newServer(t, newFakeMedia(8), ServerConfig{})
	address := serve(t, s, security(t, ca.issue("mgw")))
	client := iqv1.NewMediaGatewayClient(connect(t, address, security(t, ca.issue("mgc-1"))))
	rep, err := client.Transact(t.Context(), setUp("t-1"))
	if err != nil || rep.Error != nil {
		t.Fatalf("own name: %v %v", rep, err)
	}
	other := setUp("t-2")
	other.MgcInstance = "mgc-2"
	if rep, err := client.Transact(t.Context(), other); err != nil || rep.GetError().GetCode() != 504 {
		t.Errorf("another's name: %v %v", rep, err)
	}
	other.MgcInstance = ""
	if rep, err := client.Transact(t.Context(), other); err != nil || rep.GetError().GetCode() != 504 {
		t.Errorf("no name: %v %v", rep, err)
	}
	files := foreign.issue("mgc-1")
	files.CA = filepath.Join(ca.dir, "ca.pem") // it trusts us, we do not trust it
	stranger := iqv1.NewMediaGatewayClient(connect(t, address, security(t, files)))
	if _, err := stranger.Transact(t.Context(), setUp("t-3")); status.Code(err) != codes.Unavailable {
		t.Errorf("foreign certificate: %v", err)
	}
	trusting := iqv1.NewMediaGatewayClient(connect(t, address, security(t, foreign.issue("mgc-9"))))
	if _, err := trusting.Transact(t.Context(), setUp("t-4")); status.Code(err) != codes.Unavailable {
		t.Errorf("client of another pool took our certificate: %v", err)
	}
	if m.Count() != 1 {
		t.Errorf("%d contexts, want 1", m.Count())
	}
}

func TestRotatedCertificateIsTaken(t *testing.T) {
	ca := newAuthority(t)
	files := ca.issue("mgw")
	sec := security(t, files)
	before, _ := sec.current()
	ca.issue("mgw") // over the same files
	later := time.Now().Add(2 * time.Second)
	for _, f := range []string{files.Cert, files.Key} {
		if err := os.Chtimes(f, later, later); err != nil {
			t.Fatal(err)
		}
	}
	sec.looked = time.Now().Add(-lookAgain)
	after, _ := sec.current()
	if string(after.Certificate[0]) == string(before.Certificate[0]) {
		t.Fatal("the former certificate is still in force")
	}
	if err := os.WriteFile(files.Cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	sec.looked = time.Now().Add(-lookAgain)
	if kept, _ := sec.current(); string(kept.Certificate[0]) != string(after.Certificate[0]) {
		t.Fatal("an unusable file replaced the certificate")
	}
}
