package nat

import (
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
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

// makeCertificate makes the certificate of TURN over TLS and returns the hash of its key, by which Chromium is told to take it.
func (w *world) makeCertificate(t *testing.T) (spki string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	scenario.Must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "turn"}, IPAddresses: []net.IP{net.ParseIP(gateway)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	scenario.Must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	scenario.Must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	scenario.Must(t, err)
	for name, b := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		file := filepath.Join(w.dir, "turn-"+name+".pem")
		scenario.Must(t, os.WriteFile(file, pem.EncodeToMemory(b), 0o600))
		w.turnFlags = append(w.turnFlags, "--turn."+name+"="+file)
	}
	sum := sha256.Sum256(public)
	return base64.StdEncoding.EncodeToString(sum[:])
}
