package control

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
)

// ErrPlaintext refuses Iq without TLS beyond loopback.
var ErrPlaintext = errors.New("plaintext beyond loopback: give certificate files or set insecure")

// Security makes credentials for both directions of Iq: mutual TLS from files, or plaintext, which only loopback may use unless insecure is set.
// Safe from any goroutine.
type Security struct {
	tls      *tlsfiles.Mutual // nil: plaintext
	insecure bool
}

// NewSecurity reads the files if there are any. Errors: unreadable or unfit files.
func NewSecurity(files tlsfiles.Files, insecure bool) (*Security, error) {
	s := &Security{insecure: insecure}
	if files.Set() {
		var err error
		if s.tls, err = tlsfiles.NewMutual(files); err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
	}
	return s, nil
}

// Server is the server option for a listener at addr. Errors: ErrPlaintext.
func (s *Security) Server(addr net.Addr) (grpc.ServerOption, error) {
	if s.tls == nil {
		if !s.insecure && !loopback(addr.String()) {
			return nil, fmt.Errorf("serve Iq on %s: %w", addr, ErrPlaintext)
		}
		return grpc.Creds(insecure.NewCredentials()), nil
	}
	return grpc.Creds(credentials.NewTLS(s.tls.Server("h2"))), nil
}

// Client is the dial option for address, whose certificate must carry its host. Errors: ErrPlaintext.
func (s *Security) Client(address string) (grpc.DialOption, error) {
	if s.tls == nil {
		if !s.insecure && !loopback(address) {
			return nil, fmt.Errorf("speak Iq to %s: %w", address, ErrPlaintext)
		}
		return grpc.WithTransportCredentials(insecure.NewCredentials()), nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("speak Iq to %s: %w", address, err)
	}
	return grpc.WithTransportCredentials(credentials.NewTLS(s.tls.Client(host))), nil
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
