package iqlink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// TLSFiles names the PEM files of mutual TLS; all or none are set.
type TLSFiles struct {
	Cert string // own certificate chain
	Key  string // its private key
	CA   string // authorities whose certificates MGWs must have
}

func (f TLSFiles) set() bool { return f.Cert != "" || f.Key != "" || f.CA != "" }

// checkEvery is how often, at most, the files are looked at for a change; they are looked at when a handshake needs them.
const checkEvery = time.Second

// credsSource holds what the files held when they were last read. Files that cannot be read or do not fit together
// leave the former content in force.
type credsSource struct {
	files TLSFiles

	mu      sync.Mutex // guards below
	cert    tls.Certificate
	roots   *x509.CertPool
	stamps  [3]fileStamp
	checked time.Time
}

type fileStamp struct {
	at   time.Time
	size int64
}

func newCredsSource(f TLSFiles) (*credsSource, error) {
	s := &credsSource{files: f}
	stamps, err := s.stat()
	if err != nil {
		return nil, fmt.Errorf("iqlink: TLS files: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("iqlink: TLS files: %w", err)
	}
	s.stamps, s.checked = stamps, time.Now()
	return s, nil
}

func (s *credsSource) stat() (out [3]fileStamp, err error) {
	for i, name := range []string{s.files.Cert, s.files.Key, s.files.CA} {
		info, err := os.Stat(name)
		if err != nil {
			return out, err
		}
		out[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return out, nil
}

// load reads the files. Callers hold mu or own s alone.
func (s *credsSource) load() error {
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
	s.cert, s.roots = cert, roots
	return nil
}

// current returns the certificate and authorities in force, reading changed files first.
func (s *credsSource) current() (tls.Certificate, *x509.CertPool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.checked) >= checkEvery {
		s.checked = time.Now()
		if stamps, err := s.stat(); err == nil && stamps != s.stamps && s.load() == nil {
			s.stamps = stamps // a half-written pair is tried again at the next look
		}
	}
	return s.cert, s.roots
}

// server returns credentials that demand a certificate of the authorities from each peer.
func (s *credsSource) server() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, roots := s.current()
			return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}, nil
		},
	})
}

// client returns credentials for the connection to the MGW, whose certificate must carry the name mgw.
func (s *credsSource) client(mgw string) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: mgw,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _ := s.current()
			return &cert, nil
		},
		// The standard check cannot follow a change of the authorities; VerifyConnection does the same with those in force.
		InsecureSkipVerify: true, //nolint:gosec // verified below
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, roots := s.current()
			if len(cs.PeerCertificates) == 0 {
				return errors.New("no certificate")
			}
			inter := x509.NewCertPool()
			for _, c := range cs.PeerCertificates[1:] {
				inter.AddCert(c)
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: mgw, Roots: roots, Intermediates: inter})
			return err
		},
	})
}
