// Package tlsfiles serves a TLS certificate from files and takes up a new one when they change, without a restart. Floor 1
// of mgc. Owner: Certificate, whose one goroutine looks at the files.
package tlsfiles

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Interval is the default time between two looks at the files.
const Interval = 10 * time.Second

// Certificate is a certificate and its key that follow their files. Safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	log               *zap.Logger
	now               atomic.Pointer[tls.Certificate]
	stop              chan struct{}
	done              sync.WaitGroup
	once              sync.Once
	seen              stamp // of what was tried last; owned by watch after Load
	reloads, failures atomic.Uint64
}

// stamp tells one state of the two files from another.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// Load reads PEM files and starts to watch them, each interval (0: Interval). It fails when they cannot be used now; later
// failures keep the certificate that is served, and are logged. Close it when it is used no more.
func Load(certFile, keyFile string, interval time.Duration, log *zap.Logger) (*Certificate, error) {
	if interval <= 0 {
		interval = Interval
	}
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, stop: make(chan struct{})}
	var err error
	if c.seen, err = c.stat(); err != nil {
		return nil, err
	}
	if err := c.reload(); err != nil {
		return nil, err
	}
	c.done.Add(1)
	go c.watch(interval)
	return c, nil
}

// GetCertificate is for tls.Config.GetCertificate: the certificate of the moment.
func (c *Certificate) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.now.Load(), nil
}

// Config returns a server configuration that serves the certificate: TLS 1.2 or later, HTTP/1.1 only, which WebSocket needs.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.GetCertificate, NextProtos: []string{"http/1.1"}}
}

// Counts returns how often a changed certificate was taken up and how often that failed.
func (c *Certificate) Counts() (reloads, failures uint64) { return c.reloads.Load(), c.failures.Load() }

// Close stops watching and waits for the goroutine; the certificate can still be served.
func (c *Certificate) Close() error {
	c.once.Do(func() { close(c.stop) })
	c.done.Wait()
	return nil
}

func (c *Certificate) watch(interval time.Duration) {
	defer c.done.Done()
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.look()
		}
	}
}

// look takes up changed files. A pair that does not fit (one file is written before the other) is tried again when either
// changes further, and on the next look.
func (c *Certificate) look() {
	s, err := c.stat()
	if err == nil && s == c.seen {
		return
	}
	if err == nil {
		err = c.reload()
	}
	if err != nil {
		c.failures.Add(1)
		c.log.Error("TLS certificate not reloaded, the old one stays", zap.String("cert", c.certFile), zap.Error(err))
		return
	}
	c.seen = s
	c.reloads.Add(1)
	c.log.Info("TLS certificate reloaded", zap.String("cert", c.certFile), zap.Time("not_after", c.now.Load().Leaf.NotAfter))
}

func (c *Certificate) stat() (stamp, error) {
	cert, err1 := os.Stat(c.certFile)
	key, err2 := os.Stat(c.keyFile)
	if err := errors.Join(err1, err2); err != nil {
		return stamp{}, fmt.Errorf("tlsfiles: %w", err)
	}
	return stamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}

func (c *Certificate) reload() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("tlsfiles: %s, %s: %w", c.certFile, c.keyFile, err)
	}
	c.now.Store(&pair)
	return nil
}
