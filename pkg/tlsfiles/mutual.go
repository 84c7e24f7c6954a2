package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Files names the PEM files of mutual TLS; all three or none are set.
type Files struct {
	Cert string // own certificate chain
	Key  string // its private key
	CA   string // authorities whose certificates peers must have
}

// Set reports whether any file is named.
func (f Files) Set() bool { return f != Files{} }

// lookEvery is how often, at most, Mutual looks whether the files have changed; it looks when a handshake needs them.
const lookEvery = time.Second

// Mutual makes the two ends of mutual TLS from files, TLS 1.3 only. Changed files count from the next handshake on; files that cannot be read or do
// not fit together leave the former content in force. It has no goroutine, so nothing to close. Safe for concurrent use.
type Mutual struct {
	files Files

	mu     sync.Mutex // guards below
	cert   *tls.Certificate
	roots  *x509.CertPool
	stamps [3]stamp
	looked time.Time
}

// stamp is what tells that a file has changed.
type stamp struct {
	at   time.Time
	size int64
}

// NewMutual reads the files. Errors: files that cannot be read or do not fit together.
func NewMutual(f Files) (*Mutual, error) {
	m := &Mutual{files: f}
	stamps, err := m.stat()
	if err == nil {
		err = m.load()
	}
	if err != nil {
		return nil, fmt.Errorf("tlsfiles: %w", err)
	}
	m.stamps, m.looked = stamps, time.Now()
	return m, nil
}

func (m *Mutual) stat() (out [3]stamp, err error) {
	for i, name := range []string{m.files.Cert, m.files.Key, m.files.CA} {
		info, err := os.Stat(name)
		if err != nil {
			return out, err
		}
		out[i] = stamp{info.ModTime(), info.Size()}
	}
	return out, nil
}

// load reads the files. Callers hold mu or own m alone.
func (m *Mutual) load() error {
	cert, err := tls.LoadX509KeyPair(m.files.Cert, m.files.Key)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(m.files.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", m.files.CA)
	}
	m.cert, m.roots = &cert, roots
	return nil
}

// current returns the certificate and the authorities in force, reading changed files first.
func (m *Mutual) current() (*tls.Certificate, *x509.CertPool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.looked) >= lookEvery {
		m.looked = now
		if stamps, err := m.stat(); err == nil && stamps != m.stamps && m.load() == nil {
			m.stamps = stamps // a half-written pair is tried again at the next look
		}
	}
	return m.cert, m.roots
}

// Server demands a certificate of the authorities from each peer. protocols are offered by ALPN.
func (m *Mutual) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, roots := m.current()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: protocols, Certificates: []tls.Certificate{*cert},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
			}, nil
		},
	}
}

// Client demands from the server a certificate of the authorities that names it: name is a DNS name or an IP address, never empty.
func (m *Mutual) Client(name string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _ := m.current()
			return cert, nil
		},
		// The standard check cannot follow a change of the authorities; VerifyConnection does the same with those in force.
		InsecureSkipVerify: true, //nolint:gosec // verified below
		VerifyConnection:   func(cs tls.ConnectionState) error { return m.verify(cs, name) },
	}
}

// verify checks the server's chain and its name. Not by cs.ServerName, which is empty for an address: that would let every member of the pool pass.
func (m *Mutual) verify(cs tls.ConnectionState, name string) error {
	if name == "" || len(cs.PeerCertificates) == 0 {
		return errors.New("tlsfiles: no name or no certificate to check")
	}
	_, roots := m.current()
	opts := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return err
}
