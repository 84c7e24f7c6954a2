package coreedge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
)

// TLS says how connections to and from the core are secured. It is needed when there is a TLS listener.
type TLS struct {
	Cert, Key string // PEM files of our certificate chain and key; taken up anew when they change
	// CA is the PEM file of the authorities that peers' certificates must come from; "": those of the system, for the peers that
	// we connect to, while peers that connect to us are not asked.
	CA string
	// Mutual: who connects to us must show a certificate of CA. Otherwise a peer may do without; one that it shows must be good.
	Mutual bool
	// Trusted: a peer that shows a certificate of CA may send requests from any address. Otherwise a certificate only secures
	// the connection, and the address must be admitted as over UDP and TCP.
	Trusted bool
	// Peers restricts Trusted to certificates that name one of these SIP domains, hosts or addresses; empty: all of CA.
	Peers []string
	// NextHopName is what the certificate of the next hop must name; "": the host of its URI (RFC 5922 §4).
	NextHopName string
	// Look is the time between two looks at the files, 0: tlsfiles.Interval.
	Look time.Duration
}

// certs holds what TLS connections are made with.
type certs struct {
	cfg   TLS
	own   *tlsfiles.Certificate
	roots *tlsfiles.Roots // nil: the system's
}

// errPeer: the chain of the peer's certificate is good, and it is for someone else.
var errPeer = errors.New("coreedge: certificate names another peer")

func newCerts(cfg TLS, log *zap.Logger) (*certs, error) {
	if (cfg.Mutual || cfg.Trusted) && cfg.CA == "" {
		return nil, errors.New("coreedge: TLS: certificates of peers need the file of their CA")
	}
	c := &certs{cfg: cfg}
	var err error
	if c.own, err = tlsfiles.Load(cfg.Cert, cfg.Key, cfg.Look, log); err != nil {
		return nil, err
	}
	if cfg.CA != "" {
		if c.roots, err = tlsfiles.LoadRoots(cfg.CA, cfg.Look, log); err != nil {
			return nil, errors.Join(err, c.own.Close())
		}
	}
	return c, nil
}

func (c *certs) close() error {
	if c.roots != nil {
		return errors.Join(c.own.Close(), c.roots.Close())
	}
	return c.own.Close()
}

func (c *certs) security() siptransport.Security {
	return siptransport.Security{Server: c.server, Client: c.client, Trust: c.trust}
}

// server accepts connections. The chain is checked in VerifyConnection, because that follows the file of authorities, and because
// SIP peers are both sides with one certificate, which public authorities mark for servers only.
func (c *certs) server() *tls.Config {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: c.own.GetCertificate,
		SessionTicketsDisabled: true, // each connection is checked against the files as they are
	}
	if c.roots == nil {
		return conf
	}
	conf.ClientAuth = tls.RequestClientCert
	if c.cfg.Mutual {
		conf.ClientAuth = tls.RequireAnyClientCert
	}
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil // ClientAuth has seen to it that this is allowed
		}
		return c.verify(s, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	}
	return conf
}

// client connects to a peer whose certificate must name name (RFC 5922 §7.3). The standard check is replaced by one that follows
// the file of authorities and knows names of SIP.
func (c *certs) client(name string) *tls.Config {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, GetClientCertificate: c.own.GetClientCertificate,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			if err := c.verify(s, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			if ids := identities(s.PeerCertificates[0]); !slices.ContainsFunc(ids, func(id string) bool { return sameIdentity(id, name) }) {
				return fmt.Errorf("%w: want %s, have %s", errPeer, headers.ForLog(name, 80), headers.ForLog(strings.Join(ids, " "), 200))
			}
			return nil
		},
	}
	if _, err := netip.ParseAddr(name); err != nil {
		conf.ServerName = name // RFC 6066 §3: no literal addresses
	}
	return conf
}

// verify checks the chain of the peer's certificate.
func (c *certs) verify(s tls.ConnectionState, usages ...x509.ExtKeyUsage) error {
	opts := x509.VerifyOptions{Intermediates: x509.NewCertPool(), KeyUsages: usages}
	if c.roots != nil {
		opts.Roots = c.roots.Pool()
	}
	for _, cert := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

// trust decides for a peer that connected whether its certificate makes it one of ours.
func (c *certs) trust(s tls.ConnectionState) bool {
	if !c.cfg.Trusted || len(s.PeerCertificates) == 0 { // a certificate that is there has been verified
		return false
	}
	if len(c.cfg.Peers) == 0 {
		return true
	}
	for _, id := range identities(s.PeerCertificates[0]) {
		if slices.ContainsFunc(c.cfg.Peers, func(p string) bool { return sameIdentity(id, p) }) {
			return true
		}
	}
	return false
}

// identities returns the SIP domains that a certificate names (RFC 5922 §7.1): the hosts of sip URIs without a user, and DNS names;
// and its addresses, for peers that have no name.
//
// DEVIATES RFC 5922 §7.1: the subject's common name is never looked at. It may be, when there is nothing else.
func identities(cert *x509.Certificate) []string {
	var out []string
	for _, raw := range cert.URIs {
		if u, err := headers.ParseURI(raw.String()); err == nil && u.Scheme == "sip" && u.User == "" {
			out = append(out, u.Host)
		}
	}
	out = append(out, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

// sameIdentity compares as RFC 5922 §7.2 says: whole names, without regard to case, no wildcards.
func sameIdentity(a, b string) bool {
	if x, err := netip.ParseAddr(a); err == nil {
		y, err := netip.ParseAddr(b)
		return err == nil && x.Unmap() == y.Unmap()
	}
	return a != "" && strings.EqualFold(a, b)
}
