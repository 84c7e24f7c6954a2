package nat

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// logBuffer keeps what a program prints.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// logTo collects a program's output and shows it when the test has failed and ISTHMUS_LOGS is set.
func logTo(t *testing.T, name string) *logBuffer {
	b := &logBuffer{}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("ISTHMUS_LOGS") != "" {
			b.mu.Lock()
			defer b.mu.Unlock()
			t.Logf("%s printed:\n%s", name, b.buf.Bytes())
		}
	})
	return b
}

// makeCertificate makes the certificate of TURN over TLS and returns the hash of its key, by which Chromium is told to take it.
func (w *world) makeCertificate(t *testing.T) (spki string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "turn"}, IPAddresses: []net.IP{net.ParseIP(gateway)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)
	for name, b := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		file := filepath.Join(w.dir, "turn-"+name+".pem")
		must(t, os.WriteFile(file, pem.EncodeToMemory(b), 0o600))
		w.turnFlags = append(w.turnFlags, "--turn."+name+"="+file)
	}
	sum := sha256.Sum256(public)
	return base64.StdEncoding.EncodeToString(sum[:])
}
