// Package issuer is an authorization server as the gateway sees one: its metadata, its key set (RFC 8414, RFC 7517), and tokens that are
// signed on the standard library alone. Floor 1 of the integration module. Owner: Issuer owns its HTTP server; Close ends it.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"time"
)

// Issuer issues access tokens (RFC 9068).
type Issuer struct {
	URL string // its iss

	key  *ecdsa.PrivateKey
	srv  *http.Server
	done chan struct{}
}

// Start serves an issuer on a free port of 127.0.0.1.
func Start() (*Issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &Issuer{URL: "http://" + ln.Addr().String(), key: key, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/jwks"})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		p, _ := key.PublicKey.Bytes() // of P-256 always
		reply(w, map[string]any{"keys": []any{map[string]any{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": b64(p[1:33]), "y": b64(p[33:])}}})
	})
	i.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(i.done)
		_ = i.srv.Serve(ln) // ends with Close
	}()
	return i, nil
}

// Close ends the server and waits.
func (i *Issuer) Close() {
	_ = i.srv.Close() // nothing is under way that matters
	<-i.done
}

// Token is an access token for the audience in the user's name, good for life from now. claims are added, or replace others.
func (i *Issuer) Token(user, audience string, life time.Duration, claims map[string]any) (string, error) {
	now := time.Now()
	c := map[string]any{"iss": i.URL, "aud": audience, "sub": user, "iat": now.Unix(), "exp": now.Add(life).Unix()}
	maps.Copy(c, claims)
	head, err := json.Marshal(map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("issuer: claims: %w", err)
	}
	text := b64(head) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
