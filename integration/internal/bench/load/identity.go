package load

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

// identity is the certificate that all browser ends of a run share.
type identity struct {
	cert        tls.Certificate
	fingerprint string
}

func newIdentity() (identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return identity{}, err
	}
	return identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, fingerprintOf(der)}, nil
}

// fingerprintOf is the SHA-256 fingerprint of a certificate (RFC 8122 §5).
func fingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// keys are the SRTP contexts of one association.
type keys struct {
	conn    *dtls.Conn
	tx, rx  *srtp.Context
	profile string
}

// secure prepares the handshake over l; conn.HandshakeContext runs it. client: we send the ClientHello. fingerprint: the other side's.
func (id *identity) secure(l *link, client bool, fingerprint string) (*dtls.Conn, error) {
	common := []dtls.Option{
		dtls.WithCertificates(id.cert), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM), dtls.WithFlightInterval(200 * time.Millisecond), dtls.WithMTU(1200),
		dtls.WithVerifyPeerCertificate(func(certs [][]byte, _ [][]*x509.Certificate) error {
			if len(certs) == 0 || !strings.EqualFold(fingerprintOf(certs[0]), fingerprint) {
				return errors.New("load: certificate does not match the fingerprint")
			}
			return nil
		}),
	}
	if client {
		var opts []dtls.ClientOption
		for _, o := range common {
			opts = append(opts, o)
		}
		return dtls.ClientWithOptions(l, l.addr(), opts...)
	}
	opts := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
	for _, o := range common {
		opts = append(opts, o)
	}
	return dtls.ServerWithOptions(l, l.addr(), opts...)
}

// derive makes the SRTP contexts of a finished handshake (RFC 5764 §4.2).
func derive(conn *dtls.Conn, client bool) (*keys, error) {
	p, ok := conn.SelectedSRTPProtectionProfile()
	state, ok2 := conn.ConnectionState()
	if !ok || !ok2 {
		return nil, errors.New("load: no SRTP profile agreed on")
	}
	cfg := &srtp.Config{Profile: srtp.ProtectionProfile(p)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, err
	}
	k := &keys{conn: conn, profile: cfg.Profile.String()}
	var err error
	if k.tx, err = srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile); err != nil {
		return nil, err
	}
	k.rx, err = srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile, srtp.SRTPReplayProtection(128))
	return k, err
}
