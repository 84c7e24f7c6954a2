// Package dtls runs DTLS-SRTP handshakes over pion/dtls for one termination at a time. Floor 1.
// Owner: the goroutine that calls Handshake and then Association.Wait; a Link takes datagrams from the worker without blocking it.
// RFC 6347, RFC 5764, RFC 8827 §6.5, RFC 8122.
package dtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/pionlog"
)

// Reasons of a failed handshake.
var (
	ErrFingerprint = errors.New("dtls: the peer's certificate matches no fingerprint")
	ErrProfile     = errors.New("dtls: no SRTP profile in common")
	ErrTimeout     = errors.New("dtls: handshake timed out")
	ErrHandshake   = errors.New("dtls: handshake failed")
)

// flight is the first retransmission interval of a handshake flight; it doubles. RFC 6347 §4.2.4.1 recommends 1 s and lets
// time-sensitive applications choose less.
const flight = 150 * time.Millisecond

// mtu keeps handshake records below the least MTU that IPv6 paths guarantee, less headers.
const mtu = 1200

// Config of one handshake.
type Config struct {
	Client       bool // we send the ClientHello
	Certificate  tls.Certificate
	Fingerprints []Fingerprint // of the peer; none: every certificate is refused
	Profiles     []uint16      // SRTP protection profiles in order of preference, by their numbers (RFC 5764 §4.1.2)
	Link         *Link
}

// Handshake runs a handshake until it is done, fails, or ctx ends. A server waits for the ClientHello without a limit of its own.
// On failure nothing is left, and the Link is closed. Errors: ErrFingerprint, ErrProfile, ErrTimeout (the deadline of ctx), ErrHandshake, the
// cause of ctx's end;
// their text holds nothing that the peer wrote.
func Handshake(ctx context.Context, cfg Config) (*Association, error) {
	v := &verifier{want: cfg.Fingerprints}
	p := newPort(cfg.Link, nil)
	close(p.ready)
	conn, err := open(cfg, v, p)
	if err != nil {
		_ = cfg.Link.Close()
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		err = reason(ctx, v, err)
		_ = conn.Close()
		_ = cfg.Link.Close()
		return nil, err
	}
	a, err := finish(conn, p, cfg)
	if err != nil {
		_ = conn.Close()
		_ = cfg.Link.Close()
		return nil, err
	}
	return a, nil
}

// options are those of both roles.
func options(cfg Config, v *verifier) []dtls.Option {
	profiles := make([]dtls.SRTPProtectionProfile, len(cfg.Profiles))
	for i, p := range cfg.Profiles {
		profiles[i] = dtls.SRTPProtectionProfile(p)
	}
	return []dtls.Option{
		dtls.WithCertificates(cfg.Certificate),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
		// Certificates are self-signed; the fingerprint from the signalling is what binds them (RFC 8827 §6.5).
		dtls.WithInsecureSkipVerify(true),
		dtls.WithVerifyPeerCertificate(v.verify),
		dtls.WithFlightInterval(flight),
		dtls.WithMTU(mtu),
		dtls.WithReplayProtectionWindow(64),
		dtls.WithLoggerFactory(pionlog.Silent{}),
	}
}

func open(cfg Config, v *verifier, p *port) (*dtls.Conn, error) {
	common := options(cfg, v)
	if cfg.Client {
		var opts []dtls.ClientOption
		for _, o := range common {
			opts = append(opts, o)
		}
		return dtls.ClientWithOptions(p, linkAddr, opts...)
	}
	opts := []dtls.ServerOption{
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		// The cookie round trip proves the address; ICE has done that already and saves the 1-RTT (RFC 6347 §4.2.1).
		dtls.WithInsecureSkipVerifyHello(true),
	}
	for _, o := range common {
		opts = append(opts, o)
	}
	return dtls.ServerWithOptions(p, linkAddr, opts...)
}

// reason maps pion's error to one that may be shown to people.
func reason(ctx context.Context, v *verifier, err error) error {
	switch {
	case v.refused.Load():
		return ErrFingerprint
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ErrTimeout
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	}
	return fmt.Errorf("%w: %w", ErrHandshake, err)
}

func finish(conn *dtls.Conn, p *port, cfg Config) (*Association, error) {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok || !slices.Contains(cfg.Profiles, uint16(profile)) {
		return nil, ErrProfile
	}
	p.over.Store(true)
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, ErrHandshake
	}
	return &Association{cfg: cfg, profile: uint16(profile), awake: awake, conn: conn, port: p, state: &state}, nil
}
