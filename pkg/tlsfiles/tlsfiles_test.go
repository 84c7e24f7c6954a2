package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns certificate and key in PEM.
func pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	return tlstest.SelfSigned(t, name, name).PEM(t)
}

// served returns the name in the certificate that a handshake shows.
func served(t *testing.T, addr string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert, key := pair(t, "first")
	tlstest.Put(t, certFile, cert)
	tlstest.Put(t, keyFile, key)
	c, err := Load(certFile, keyFile, 10*time.Millisecond, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", c.Config())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	defer func() { _ = ln.Close(); <-done }()
	addr := ln.Addr().(*net.TCPAddr).String()
	if got := served(t, addr); got != "first" {
		t.Fatalf("served %q", got)
	}

	cert2, key2 := pair(t, "second")
	tlstest.Put(t, certFile, cert2) // key still the old one: they do not fit
	wait.Until(t, "the failure", func() bool { _, f := c.Counts(); return f > 0 })
	if got := served(t, addr); got != "first" {
		t.Errorf("half a pair was taken: %q", got)
	}
	tlstest.Put(t, keyFile, key2)
	wait.Until(t, "the reload", func() bool { return served(t, addr) == "second" })

	_, before := c.Counts()
	tlstest.Put(t, certFile, []byte("garbage"))
	wait.Until(t, "another failure", func() bool { _, f := c.Counts(); return f > before })
	if got := served(t, addr); got != "second" {
		t.Errorf("garbage was taken: %q", got)
	}
	if r, _ := c.Counts(); r != 1 && r != 2 { // two when the key came between a look at the files and their being read
		t.Errorf("%d reloads", r)
	}
}

func TestLoadFailsAtOnce(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if _, err := Load(certFile, keyFile, 0, zap.NewNop()); err == nil {
		t.Error("absent files were accepted")
	}
	cert, _ := pair(t, "x")
	_, key := pair(t, "y")
	tlstest.Put(t, certFile, cert)
	tlstest.Put(t, keyFile, key)
	if _, err := Load(certFile, keyFile, 0, zap.NewNop()); err == nil {
		t.Error("a key of another certificate was accepted")
	}
}

// knows reports whether a certificate in PEM is accepted by the roots.
func knows(t *testing.T, r *Roots, certPEM []byte) bool {
	t.Helper()
	block, _ := pem.Decode(certPEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: r.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

func TestRootsReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	one, _ := pair(t, "one")
	two, _ := pair(t, "two")
	tlstest.Put(t, file, one)
	r, err := LoadRoots(file, 10*time.Millisecond, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !knows(t, r, one) || knows(t, r, two) {
		t.Fatal("not the authorities of the file")
	}
	tlstest.Put(t, file, append(append([]byte{}, one...), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...))
	wait.Until(t, "the failure", func() bool { _, f := r.Counts(); return f > 0 })
	if !knows(t, r, one) {
		t.Error("a broken list was taken")
	}
	tlstest.Put(t, file, two)
	wait.Until(t, "the reload", func() bool { return knows(t, r, two) && !knows(t, r, one) })
}

func TestRootsFailAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	if _, err := LoadRoots(file, 0, zap.NewNop()); err == nil {
		t.Error("an absent file was accepted")
	}
	tlstest.Put(t, file, []byte("no PEM"))
	if _, err := LoadRoots(file, 0, zap.NewNop()); err == nil {
		t.Error("a file without certificates was accepted")
	}
}
