// Package tlsfiles serves a TLS certificate and accepted authorities from files and takes up new ones when they change, without
// a restart. Floor 1 of pkg. Owners: Certificate and Roots, whose one goroutine each looks at the files; Mutual looks at them in handshakes.
package tlsfiles

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/filewatch"
)

// Interval is the default time between two looks at the files.
const Interval = filewatch.Interval

// Certificate is a certificate and its key that follow their files. Safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	now               atomic.Pointer[tls.Certificate]
	*filewatch.Watcher
}

// Load reads PEM files and starts to watch them, each interval (0: Interval). It fails when they cannot be used now; later
// failures keep the certificate that is served, and are logged. Close it when it is used no more.
func Load(certFile, keyFile string, interval time.Duration, log *zap.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	var err error
	c.Watcher, err = filewatch.Watch("TLS certificate", []string{certFile, keyFile}, interval, log, c.reload)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// GetCertificate is for tls.Config.GetCertificate: the certificate of the moment.
func (c *Certificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.now.Load(), nil
}

// GetClientCertificate is for tls.Config.GetClientCertificate: the certificate of the moment, whichever authorities the server
// names. Our peers are few and known: a certificate that they do not take is better refused by them, with their reason.
func (c *Certificate) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.now.Load(), nil
}

// Config returns a server configuration that serves the certificate: TLS 1.2 or later, HTTP/1.1 only, which WebSocket needs.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.GetCertificate, NextProtos: []string{"http/1.1"}}
}

func (c *Certificate) reload() (notAfter time.Time, err error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return time.Time{}, fmt.Errorf("tlsfiles: %s, %s: %w", c.certFile, c.keyFile, err)
	}
	c.now.Store(&pair)
	return pair.Leaf.NotAfter, nil
}
