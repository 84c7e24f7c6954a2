package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxKeys bounds the keys of one set.
const maxKeys = 100

// jwk is one usable public key.
type jwk struct {
	kid, alg string // alg "": any that fits the key
	key      crypto.PublicKey
}

// fits reports whether the key may verify the algorithm. The key decides, never the token alone (RFC 8725 §3.1).
func (k *jwk) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch k.key.(type) {
	case *rsa.PublicKey:
		return alg == "RS256" || alg == "PS256"
	case *ecdsa.PublicKey:
		return alg == "ES256"
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// keySet is one fetched set. Immutable.
type keySet struct {
	keys []jwk
	at   time.Time
}

// find returns the key with the id, or, for a token that names none, the only one that fits the algorithm.
func (s *keySet) find(kid, alg string) crypto.PublicKey {
	var found crypto.PublicKey
	for i := range s.keys {
		k := &s.keys[i]
		if !k.fits(alg) || kid != "" && k.kid != kid {
			continue
		}
		if found != nil {
			return nil
		}
		found = k.key
	}
	return found
}

// keySource keeps an issuer's key set: fetched at start and every Refresh, and, not more often than every Refetch, when a token
// names a key that is not in it (rotation). A set that cannot be fetched or has no usable key leaves the old one in force until
// MaxStale. Owner of one goroutine that refreshes and of one per running fetch, at most one at a time.
type keySource struct {
	issuer string
	cfg    KeysConfig
	fetch  *fetcher
	log    *zap.Logger
	set    atomic.Pointer[keySet]
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex    // guards below
	running chan struct{} // closed when the running fetch has ended; nil: none
	tried   time.Time     // end of the last fetch
	failed  bool          // the last fetch failed, or there was none
	closed  bool
}

func newKeySource(issuer string, cfg KeysConfig, f *fetcher, log *zap.Logger) *keySource {
	s := &keySource{issuer: issuer, cfg: cfg, fetch: f, log: log, failed: true}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Add(1)
	go s.run()
	return s
}

// close stops the goroutines and waits.
func (s *keySource) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

// run refreshes until close. After a failure it comes back after Refetch, if that is sooner.
func (s *keySource) run() {
	defer s.wg.Done()
	for {
		s.refresh(s.ctx, true)
		wait := s.cfg.Refresh
		s.mu.Lock()
		if s.failed {
			wait = min(wait, s.cfg.Refetch)
		}
		s.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// key returns the key that a token names. It blocks for a fetch at most, and until ctx ends. Errors: UnknownKey; Unavailable when the set is not known
// well enough to say so.
func (s *keySource) key(ctx context.Context, kid, alg string) (crypto.PublicKey, error) {
	if k := s.usable().find(kid, alg); k != nil {
		return k, nil
	}
	fresh := s.refresh(ctx, false)
	set := s.usable()
	if k := set.find(kid, alg); k != nil {
		return k, nil
	}
	if !fresh || len(set.keys) == 0 {
		return nil, Unavailable
	}
	return nil, UnknownKey
}

// usable returns the set in force; an empty one when there is none or it is too old.
func (s *keySource) usable() *keySet {
	set := s.set.Load()
	if set == nil || time.Since(set.at) > s.cfg.MaxStale {
		return &keySet{}
	}
	return set
}

// refresh fetches the set, or joins the fetch that runs; without force it does nothing when the last one is less than Refetch ago.
// It reports whether the last fetch succeeded.
func (s *keySource) refresh(ctx context.Context, force bool) bool {
	s.mu.Lock()
	done := s.running
	if done == nil {
		if s.closed || !force && !s.tried.IsZero() && time.Since(s.tried) < s.cfg.Refetch {
			defer s.mu.Unlock()
			return !s.failed
		}
		done = make(chan struct{})
		s.running = done
		s.wg.Add(1)
		go s.update(done)
	}
	s.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.failed
}

// update runs one fetch beside those who wait for it, so that none of them can cut it short for the others.
func (s *keySource) update(done chan struct{}) {
	defer s.wg.Done()
	keys, err := s.load()
	if err == nil {
		s.set.Store(&keySet{keys: keys, at: time.Now()})
		s.fetch.metrics.keys.WithLabelValues(s.issuer).Set(float64(len(keys)))
	}
	s.mu.Lock()
	was := s.failed
	s.running, s.tried, s.failed = nil, time.Now(), err != nil
	s.mu.Unlock()
	close(done)
	switch {
	case err != nil && s.ctx.Err() == nil:
		s.log.Warn("keys of the issuer not fetched", zap.String("issuer", s.issuer), zap.Error(err))
	case err == nil && was:
		s.log.Info("keys of the issuer fetched", zap.String("issuer", s.issuer), zap.Int("keys", len(keys)))
	}
}

// load fetches and reads the set.
func (s *keySource) load() ([]jwk, error) {
	url := s.cfg.URL
	if url == "" {
		var err error
		if url, err = s.discover(); err != nil {
			return nil, err
		}
	}
	object, err := s.fetch.get(s.ctx, "jwks", url)
	if err != nil {
		return nil, err
	}
	keys := parseKeys(object)
	if len(keys) == 0 {
		return nil, fmt.Errorf("jwks: no usable key")
	}
	return keys, nil
}

// discover finds the key set's URL in the issuer's metadata (OpenID Connect Discovery 1.0 §4), which must name the same issuer.
func (s *keySource) discover() (string, error) {
	object, err := s.fetch.get(s.ctx, "discovery", strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	if object["issuer"] != s.issuer {
		return "", fmt.Errorf("discovery: metadata is of another issuer")
	}
	url, _ := object["jwks_uri"].(string)
	if err := checkURL(url); err != nil {
		return "", fmt.Errorf("discovery: jwks_uri: %w", err)
	}
	return url, nil
}

// parseKeys returns the keys of a JWK set (RFC 7517 §5) that are fit to verify signatures. Others are left out: sets also hold
// keys for encryption and of kinds that we do not know.
func parseKeys(object map[string]any) []jwk {
	list, _ := object["keys"].([]any)
	var out []jwk
	for _, e := range list[:min(len(list), maxKeys)] {
		m, _ := e.(map[string]any)
		if use, has := m["use"]; has && use != "sig" {
			continue
		}
		if ops, has := m["key_ops"]; has && !slices.Contains(stringsOf(ops), "verify") {
			continue
		}
		k := jwk{key: publicKey(m)}
		k.kid, _ = m["kid"].(string)
		k.alg, _ = m["alg"].(string)
		if k.key != nil {
			out = append(out, k)
		}
	}
	return out
}

// publicKey reads the key material (RFC 7518 §6, RFC 8037 §2), nil when it is of another kind, malformed or of a size that is
// too weak or too costly.
func publicKey(m map[string]any) crypto.PublicKey {
	switch {
	case m["kty"] == "RSA":
		n, e := bigInt(m["n"]), bigInt(m["e"])
		if n == nil || e == nil || n.BitLen() < 2048 || n.BitLen() > 8192 || n.Bit(0) == 0 || e.BitLen() > 31 || e.Bit(0) == 0 || e.Int64() < 3 {
			return nil
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}
	case m["kty"] == "EC" && m["crv"] == "P-256":
		x, y := octets(m["x"]), octets(m["y"])
		if len(x) != 32 || len(y) != 32 {
			return nil
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil
		}
		return key
	case m["kty"] == "OKP" && m["crv"] == "Ed25519":
		if x := octets(m["x"]); len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x)
		}
	}
	return nil
}

func octets(v any) []byte {
	s, _ := v.(string)
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(b) > 2048 {
		return nil
	}
	return b
}

func bigInt(v any) *big.Int {
	b := octets(v)
	if len(b) == 0 {
		return nil
	}
	return new(big.Int).SetBytes(b)
}
