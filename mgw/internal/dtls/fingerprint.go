package dtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // sha-256
	_ "crypto/sha512" // sha-384, sha-512
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"time"
)

// Fingerprint is the hash of a certificate (RFC 8122 §5).
type Fingerprint struct {
	Hash  string // "sha-256", "sha-384" or "sha-512", any case
	Value string // hex bytes separated by ":", any case
}

// strong maps the hash functions that are accepted; weaker ones never match (RFC 8122 §5).
func strong(name string) (crypto.Hash, bool) {
	switch strings.ToLower(name) {
	case "sha-256":
		return crypto.SHA256, true
	case "sha-384":
		return crypto.SHA384, true
	case "sha-512":
		return crypto.SHA512, true
	}
	return 0, false
}

// Valid reports whether f can match anything: an accepted hash and a value of its length.
func (f Fingerprint) Valid() bool {
	h, ok := strong(f.Hash)
	if !ok {
		return false
	}
	_, err := parse(f.Value, h.Size())
	return err == nil
}

func parse(value string, size int) ([]byte, error) {
	if len(value) != 3*size-1 {
		return nil, errors.New("dtls: fingerprint of wrong length")
	}
	b, err := hex.DecodeString(strings.ReplaceAll(value, ":", ""))
	if err != nil || len(b) != size {
		return nil, errors.New("dtls: fingerprint is not hex")
	}
	return b, nil
}

// FingerprintOf hashes a certificate with SHA-256.
func FingerprintOf(cert tls.Certificate) (Fingerprint, error) {
	if len(cert.Certificate) == 0 {
		return Fingerprint{}, errors.New("dtls: certificate is empty")
	}
	h := crypto.SHA256.New()
	h.Write(cert.Certificate[0])
	text := strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
	var b strings.Builder
	for i := 0; i < len(text); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(text[i : i+2])
	}
	return Fingerprint{Hash: "sha-256", Value: b.String()}, nil
}

// matches reports whether any fingerprint of want is that of the certificate der.
func matches(want []Fingerprint, der []byte) bool {
	for _, f := range want {
		h, ok := strong(f.Hash)
		if !ok {
			continue
		}
		b, err := parse(f.Value, h.Size())
		if err != nil {
			continue
		}
		sum := h.New()
		sum.Write(der)
		if subtle.ConstantTimeCompare(sum.Sum(nil), b) == 1 {
			return true
		}
	}
	return false
}

// verifier compares the peer's certificate with the fingerprints of the signalling (RFC 5763 §5).
type verifier struct {
	want    []Fingerprint
	refused atomic.Bool
}

func (v *verifier) verify(raw [][]byte, _ [][]*x509.Certificate) error {
	if len(raw) > 0 && matches(v.want, raw[0]) {
		return nil
	}
	v.refused.Store(true)
	return ErrFingerprint
}

// NewCertificate makes a self-signed ECDSA P-256 certificate that is valid from a day before now for lifetime (RFC 8827 §6.5).
func NewCertificate(now time.Time, lifetime time.Duration) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("dtls: certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("dtls: certificate: %w", err)
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "WebRTC"},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.Add(lifetime),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("dtls: certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
