package tlstest

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

// TestCertificatesHoldWhatTheyName: the files load, chain to their authority alone, and name what they were asked to.
func TestCertificatesHoldWhatTheyName(t *testing.T) {
	a, other := NewAuthority(t, "one"), NewAuthority(t, "other")
	c := a.Issue(t, "cn.test", []string{"127.0.0.1", "::1", "sip:core.test", "dns.test"}, nil)
	certFile, keyFile := c.Write(t, t.TempDir(), "core")
	loaded, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	leaf := loaded.Leaf
	if leaf.Subject.CommonName != "cn.test" || len(leaf.IPAddresses) != 2 || len(leaf.URIs) != 1 || leaf.URIs[0].String() != "sip:core.test" ||
		len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "dns.test" {
		t.Errorf("the certificate names %q %v %v %v", leaf.Subject.CommonName, leaf.IPAddresses, leaf.URIs, leaf.DNSNames)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: "dns.test"}); err != nil {
		t.Error(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: other.Pool()}); err == nil {
		t.Error("another authority vouches for it")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.PEM()) || !roots.Equal(a.Pool()) {
		t.Error("the PEM of the authority is not the authority")
	}
	old := a.Issue(t, "old", nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	if _, err := old.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool()}); err == nil {
		t.Error("an expired certificate holds")
	}
	alone := SelfSigned(t, "turn", "10.77.0.1")
	if err := alone.Leaf.CheckSignatureFrom(a.Cert); err == nil || alone.Leaf.VerifyHostname("10.77.0.1") != nil {
		t.Error("self-signed certificate")
	}
	if a, b := alone.SPKI(), SelfSigned(t, "turn").SPKI(); len(a) != 44 || a == b {
		t.Errorf("key hashes %q %q", a, b)
	}
}
