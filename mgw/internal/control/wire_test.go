package control

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
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
	sec, err := NewSecurity(tlsfiles.Files{}, false)
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
	open, err := NewSecurity(tlsfiles.Files{}, true)
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

// member writes the files of one end of Iq: a certificate of ca that names it and 127.0.0.1.
func member(t *testing.T, ca *tlstest.Authority, name string) tlsfiles.Files {
	t.Helper()
	f := tlsfiles.Files{CA: filepath.Join(t.TempDir(), "ca.crt")}
	f.Cert, f.Key = ca.Issue(t, name, []string{name, "127.0.0.1"}, nil).Write(t, filepath.Dir(f.CA), name)
	tlstest.Put(t, f.CA, ca.PEM())
	return f
}

func security(t *testing.T, f tlsfiles.Files) *Security {
	t.Helper()
	sec, err := NewSecurity(f, false)
	if err != nil {
		t.Fatal(err)
	}
	return sec
}

func TestMutualTLSBindsTheInstanceName(t *testing.T) {
	ca, foreign := tlstest.NewAuthority(t, "pool"), tlstest.NewAuthority(t, "foreign")
	s, m := newServer(t, newFakeMedia(8), ServerConfig{})
	address := serve(t, s, security(t, member(t, ca, "mgw")))
	client := iqv1.NewMediaGatewayClient(connect(t, address, security(t, member(t, ca, "mgc-1"))))
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
	files := member(t, foreign, "mgc-1")
	tlstest.Put(t, files.CA, ca.PEM()) // it trusts us, we do not trust it
	stranger := iqv1.NewMediaGatewayClient(connect(t, address, security(t, files)))
	if _, err := stranger.Transact(t.Context(), setUp("t-3")); status.Code(err) != codes.Unavailable {
		t.Errorf("foreign certificate: %v", err)
	}
	trusting := iqv1.NewMediaGatewayClient(connect(t, address, security(t, member(t, foreign, "mgc-9"))))
	if _, err := trusting.Transact(t.Context(), setUp("t-4")); status.Code(err) != codes.Unavailable {
		t.Errorf("client of another pool took our certificate: %v", err)
	}
	if m.Count() != 1 {
		t.Errorf("%d contexts, want 1", m.Count())
	}
}

// TestServerMustNameItsAddress: a member of the pool is not taken for the controller because it is where the controller ought to be.
func TestServerMustNameItsAddress(t *testing.T) {
	ca := tlstest.NewAuthority(t, "pool")
	s, _ := newServer(t, newFakeMedia(8), ServerConfig{})
	files := member(t, ca, "mgw-2")
	files.Cert, files.Key = ca.Issue(t, "mgw-2", []string{"mgw-2"}, nil).Write(t, t.TempDir(), "mgw-2")
	address := serve(t, s, security(t, files))
	client := iqv1.NewMediaGatewayClient(connect(t, address, security(t, member(t, ca, "mgw-1"))))
	if _, err := client.Transact(t.Context(), setUp("t-1")); status.Code(err) != codes.Unavailable {
		t.Errorf("a server that does not name its address: %v", err)
	}
}
