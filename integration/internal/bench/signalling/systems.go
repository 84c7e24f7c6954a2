package signalling

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// system is one edge under test, in front of one core.
type system struct {
	name   string
	ws     string // host:port
	wss    string
	core   netip.AddrPort // where it takes SIP from the core
	procs  *stack.Stack
	dir    string
	gw     *gateway // nil: has none
	admin  adminv1.ControllerAdminClient
	dialed *grpc.ClientConn
}

// names of the systems, as in the report.
const (
	isthmus  = "isthmus"
	kamailio = "kamailio"
)

// errNotInstalled says that there is no Kamailio with WebSocket on this machine.
var errNotInstalled = errors.New("kamailio with its websocket and tls modules is not installed")

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// startIsthmus runs the controller at path with defaults that do not bound the load, next hop core.
func startIsthmus(ctx context.Context, path, core string, log io.Writer) (*system, error) {
	s := &system{name: isthmus, procs: stack.New(log)}
	if err := s.startIsthmus(ctx, path, core); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *system) startIsthmus(ctx context.Context, path, core string) error {
	p, err := stack.FreePorts("tcp", 6)
	if err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "isthmus-bench-"); err != nil {
		return fmt.Errorf("signalling: %w", err)
	}
	cert, key, err := certificate(s.dir)
	if err != nil {
		return err
	}
	s.ws, s.wss, s.core = local(p), local(p+1), netip.MustParseAddrPort(local(p+2))
	err = s.procs.Start(ctx, stack.Daemon{Name: isthmus, Path: path, Ready: "http://" + local(p+5) + "/healthz", Args: []string{
		"--log.level=error", "--access.listen=" + s.ws, "--access.tls.listen=" + s.wss, "--access.tls.cert=" + cert, "--access.tls.key=" + key,
		"--core.listen=" + s.core.String(), "--core.next_hop=sip:" + core, "--iq.listen=" + local(p+3), "--admin.listen=" + local(p+4),
		"--admin.http=" + local(p+5),
	}})
	if err != nil {
		return err
	}
	if s.gw, err = startGateway(ctx, local(p+3)); err != nil {
		return err
	}
	if s.dialed, err = grpc.NewClient(local(p+4), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return fmt.Errorf("signalling: %w", err)
	}
	s.admin = adminv1.NewControllerAdminClient(s.dialed)
	return nil
}

//go:embed kamailio.cfg.tmpl
var kamailioConfig string

// startKamailio runs the Kamailio found on the PATH as WebSocket edge. Errors: errNotInstalled.
func startKamailio(ctx context.Context, core string, log io.Writer) (*system, error) {
	path, err := exec.LookPath("kamailio")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/kamailio"); err != nil {
			return nil, errNotInstalled
		}
	}
	modules, _ := filepath.Glob("/usr/lib/*/kamailio/modules/websocket.so")
	secure, _ := filepath.Glob("/usr/lib/*/kamailio/modules/tls.so")
	if len(modules) == 0 || len(secure) == 0 {
		return nil, errNotInstalled
	}
	s := &system{name: kamailio, procs: stack.New(log)}
	if err := s.startKamailio(ctx, path, core); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *system) startKamailio(ctx context.Context, path, core string) error {
	p, err := stack.FreePorts("tcp", 3)
	if err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "isthmus-bench-"); err != nil {
		return fmt.Errorf("signalling: %w", err)
	}
	cert, key, err := certificate(s.dir)
	if err != nil {
		return err
	}
	s.ws, s.wss, s.core = local(p), local(p+1), netip.MustParseAddrPort(local(p+2))
	var text bytes.Buffer
	err = template.Must(template.New("cfg").Parse(kamailioConfig)).Execute(&text, map[string]string{
		"WS": s.ws, "WSS": s.wss, "UDP": s.core.String(), "Core": core, "Cert": cert, "Key": key,
	})
	if err != nil {
		return fmt.Errorf("signalling: %w", err)
	}
	config := filepath.Join(s.dir, "kamailio.cfg")
	if err := os.WriteFile(config, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("signalling: %w", err)
	}
	return s.procs.Start(ctx, stack.Daemon{Name: kamailio, Path: path, Forks: true, Ready: "http://" + s.ws + "/healthz", Args: []string{
		"-f", config, "-DD", "-E", "-m", "1024", "-M", "32", "-Y", s.dir, "-w", s.dir,
	}})
}

// pid of the process, or of the first one.
func (s *system) pid() int { return s.procs.Pid(s.name) }

func (s *system) access(secure bool) string {
	if secure {
		return s.wss
	}
	return s.ws
}

func (s *system) close() error {
	if s.gw != nil {
		s.gw.close()
	}
	var err error
	if s.dialed != nil {
		err = s.dialed.Close()
	}
	err = errors.Join(err, s.procs.Close(20*time.Second))
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// certificate writes a key and a certificate for loopback and returns the names of the files.
func certificate(dir string) (cert, key string, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("signalling: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		return "", "", fmt.Errorf("signalling: %w", err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return "", "", fmt.Errorf("signalling: %w", err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk}), 0o600))
	return cert, key, err
}
