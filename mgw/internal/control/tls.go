package control

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// ErrPlaintext refuses Iq without TLS beyond loopback.
var ErrPlaintext = errors.New("plaintext beyond loopback: give certificate files or set insecure")

// TLSFiles names PEM files. All three or none are set.
type TLSFiles struct{ Cert, Key, CA string }

// Set reports whether any file is named.
func (f TLSFiles) Set() bool { return f != TLSFiles{} }

// lookAgain is how often changed files are looked for; a rotation counts from then on for new connections.
const lookAgain = 5 * time.Second

// Security makes credentials for both directions of Iq: mutual TLS from files that are read again when they change, or plaintext, which
// only loopback may use unless insecure is set. Safe from any goroutine.
type Security struct {
	files    TLSFiles
	insecure bool

	mu     sync.Mutex // guards what follows
	looked time.Time
	stamps [3]time.Time
	cert   *tls.Certificate
	roots  *x509.CertPool
}

// NewSecurity reads the files if there are any. Errors: unreadable or unfit files.
func NewSecurity(files TLSFiles, insecure bool) (*Security, error) {
	s := &Security{files: files, insecure: insecure}
	if !files.Set() {
		return s, nil
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("control: TLS files: %w", err)
	}
	return s, nil
}

// load reads the files. Callers hold mu or own s alone.
func (s *Security) load() error {
	cert, err := tls.LoadX509KeyPair(s.files.Cert, s.files.Key)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(s.files.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", s.files.CA)
	}
	s.cert, s.roots, s.stamps, s.looked = &cert, roots, s.modified(), time.Now()
	return nil
}

func (s *Security) modified() [3]time.Time {
	var out [3]time.Time
	for i, name := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		if info, err := os.Stat(name); err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}

// current is what is in force. Files that changed but cannot be used leave the former in force until the next look.
func (s *Security) current() (*tls.Certificate, *x509.CertPool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.looked) >= lookAgain {
		s.looked = now
		if s.modified() != s.stamps {
			former := s.stamps
			if s.load() != nil {
				s.stamps = former
			}
		}
	}
	return s.cert, s.roots
}

// Server is the server option for a listener at addr. Errors: ErrPlaintext.
func (s *Security) Server(addr net.Addr) (grpc.ServerOption, error) {
	if !s.files.Set() {
		if !s.insecure && !loopback(addr.String()) {
			return nil, fmt.Errorf("serve Iq on %s: %w", addr, ErrPlaintext)
		}
		return grpc.Creds(insecure.NewCredentials()), nil
	}
	return grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, roots := s.current()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{*cert},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
			}, nil
		},
	})), nil
}

// Client is the dial option for address, whose certificate must carry its host. Errors: ErrPlaintext.
func (s *Security) Client(address string) (grpc.DialOption, error) {
	if !s.files.Set() {
		if !s.insecure && !loopback(address) {
			return nil, fmt.Errorf("speak Iq to %s: %w", address, ErrPlaintext)
		}
		return grpc.WithTransportCredentials(insecure.NewCredentials()), nil
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _ := s.current()
			return cert, nil
		},
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does the same check with the authorities in force now
		VerifyConnection:   s.verify,
	})), nil
}

// verify checks the server's chain and name against the authorities in force.
func (s *Security) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	_, roots := s.current()
	opts := x509.VerifyOptions{Roots: roots, DNSName: cs.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return err
}

// loopback reports whether host:port names this machine only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
