package tlsfiles

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/filewatch"
)

// Roots is a set of accepted authorities that follows its file. Safe for concurrent use.
type Roots struct {
	file string
	now  atomic.Pointer[x509.CertPool]
	*filewatch.Watcher
}

// LoadRoots reads a PEM file of certificates and watches it as Load does. A certificate in it that cannot be parsed makes the
// whole file refused: half a list would lock out peers without a word.
func LoadRoots(file string, interval time.Duration, log *zap.Logger) (*Roots, error) {
	r := &Roots{file: file}
	var err error
	if r.Watcher, err = filewatch.Watch("TLS authorities", []string{file}, interval, log, r.reload); err != nil {
		return nil, err
	}
	return r, nil
}

// Pool returns the authorities of the moment. The caller must not change it.
func (r *Roots) Pool() *x509.CertPool { return r.now.Load() }

// reload returns the time when the first of the authorities expires.
func (r *Roots) reload() (notAfter time.Time, err error) {
	text, err := os.ReadFile(r.file)
	if err != nil {
		return time.Time{}, fmt.Errorf("tlsfiles: %w", err)
	}
	pool, n := x509.NewCertPool(), 0
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return time.Time{}, fmt.Errorf("tlsfiles: %s: %w", r.file, err)
		}
		pool.AddCert(cert)
		if n++; n == 1 || cert.NotAfter.Before(notAfter) {
			notAfter = cert.NotAfter
		}
	}
	if n == 0 {
		return time.Time{}, fmt.Errorf("tlsfiles: no certificate in %s", r.file)
	}
	r.now.Store(pool)
	return notAfter, nil
}
