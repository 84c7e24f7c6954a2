// Package tlstest makes certificate authorities, certificates and their PEM files for tests. All keys are ECDSA P-256; all certificates are valid from
// an hour ago for two hours unless a test changes them.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Change makes a certificate other than the usual one, before it is signed.
type Change func(*x509.Certificate)

// Authority signs certificates.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a common name.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	cert := sign(t, template(name, nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	}), nil)
	return &Authority{Cert: cert.Leaf, key: cert.PrivateKey.(*ecdsa.PrivateKey)}
}

// Pool has this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Cert)
	return p
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.Cert.Raw) }

// Issue makes a certificate for servers and clients. name is the common name, ids are the alternative names: IP addresses, URIs ("sip:core.test")
// and DNS names. change may be nil.
func (a *Authority) Issue(t testing.TB, name string, ids []string, change Change) Certificate {
	t.Helper()
	return sign(t, template(name, ids, change), a)
}

// SelfSigned makes a certificate that nobody else has signed; name and ids as for Issue.
func SelfSigned(t testing.TB, name string, ids ...string) Certificate {
	t.Helper()
	return sign(t, template(name, ids, nil), nil)
}

// Certificate is one with its key; Leaf is set.
type Certificate struct{ tls.Certificate }

// PEM returns the certificate, and the key in PKCS #8 (RFC 5958).
func (c Certificate) PEM(t testing.TB) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", c.Certificate.Certificate[0]), encode("PRIVATE KEY", der)
}

// Write writes NAME.crt and NAME.key into a folder and returns their paths.
func (c Certificate) Write(t testing.TB, dir, name string) (certFile, keyFile string) {
	t.Helper()
	cert, key := c.PEM(t)
	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	Put(t, certFile, cert)
	Put(t, keyFile, key)
	return certFile, keyFile
}

// SPKI is the SHA-256 of the public key in base64, by which Chromium is told to take the certificate (RFC 7469 §2.4).
func (c Certificate) SPKI() string {
	sum := sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Put writes a file in one step: who looks at it sees the former content or all of the new one.
func Put(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// template is the usual certificate of a name with its alternative names.
func template(name string, ids []string, change Change) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, id := range ids {
		if ip := net.ParseIP(id); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else if u, err := url.Parse(id); err == nil && strings.Contains(id, ":") {
			c.URIs = append(c.URIs, u)
		} else {
			c.DNSNames = append(c.DNSNames, id)
		}
	}
	if change != nil {
		change(c)
	}
	return c
}

// sign makes a key and a certificate for it; by nil: signed by itself.
func sign(t testing.TB, tmpl *x509.Certificate, by *Authority) Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.Cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return Certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
}
