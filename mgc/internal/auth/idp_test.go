package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Keys are made once: RSA takes a while.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaKey2  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	weakKey  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 1024)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
	otherKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// object is a JSON object.
type object = map[string]any

// sign makes a compact JWS on the standard library alone, so that the tests do not trust the library that the product uses.
func sign(t testing.TB, head, claims object, key any) string {
	t.Helper()
	text := b64(must(json.Marshal(head))) + "." + b64(must(json.Marshal(claims)))
	sum := sha256.Sum256([]byte(text))
	var sig []byte
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if head["alg"] == "PS256" {
			sig = must(rsa.SignPSS(rand.Reader, k, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		} else {
			sig = must(rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:]))
		}
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(text))
	case []byte:
		sig = k // a ready signature, or none
	}
	return text + "." + b64(sig)
}

// jwkOf is the public JWK of a private key.
func jwkOf(kid string, key any) object {
	m := object{"kid": kid, "use": "sig"}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), "AQAB"
	case *ecdsa.PrivateKey:
		p := must(k.PublicKey.Bytes())
		m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", b64(p[1:33]), b64(p[33:])
	case ed25519.PrivateKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k.Public().(ed25519.PublicKey))
	}
	return m
}

// idp is an OpenID-like server: metadata, keys, introspection, and every way to fail.
type idp struct {
	mu     sync.Mutex // guards below
	url    string
	keys   []object
	tokens map[string]object // introspection by token
	mode   string            // "": well; "down", "slow", "garbage", "empty", "oversize", "array", "redirect", "denied"
	calls  map[string]int
	auth   []string // Authorization of introspection requests
	gate   chan struct{}
}

func newIDP(keys ...object) *idp {
	return &idp{keys: keys, tokens: map[string]object{}, calls: map[string]int{}}
}

func (p *idp) set(f func(*idp)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func (p *idp) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[path]
}

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	p.calls[r.URL.Path]++
	mode, gate := p.mode, p.gate
	reply := maps.Clone(p.answerLocked(r))
	p.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	switch mode {
	case "down": // with an answer that would be good
		w.WriteHeader(http.StatusBadGateway)
		_ = json.NewEncoder(w).Encode(reply)
	case "denied":
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(reply)
	case "slow":
		<-r.Context().Done()
	case "garbage":
		_, _ = io.WriteString(w, "<html>maintenance</html>")
	case "empty":
		_, _ = io.WriteString(w, "{}")
	case "array":
		_, _ = io.WriteString(w, `[{"keys":[]}]`)
	case "oversize":
		reply["pad"] = strings.Repeat("x", maxBody)
		_ = json.NewEncoder(w).Encode(reply)
	case "redirect":
		http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusFound)
	default:
		_ = json.NewEncoder(w).Encode(reply)
	}
}

func (p *idp) answerLocked(r *http.Request) object {
	switch r.URL.Path {
	case "/.well-known/openid-configuration", "/tenant/.well-known/openid-configuration":
		return object{"issuer": p.url, "jwks_uri": p.url + "/jwks"}
	case "/jwks":
		return object{"keys": p.keys}
	case "/introspect":
		p.auth = append(p.auth, r.Header.Get("Authorization"))
		if claims := p.tokens[r.PostForm.Get("token")]; claims != nil && r.Method == http.MethodPost {
			return claims
		}
		return object{"active": false}
	}
	return object{}
}

// listen serves the provider on a socket.
func (p *idp) listen(t *testing.T) {
	t.Helper()
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	p.url = srv.URL
}

// inMemory serves the provider over pipes, which time in a synctest bubble does not wait for. It returns the client's transport
// and a function that stops everything.
func (p *idp) inMemory() (*http.Client, func()) {
	p.url = "http://localhost:8000"
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: p}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case l.conns <- there:
			return here, nil
		case <-l.done:
			return nil, errors.New("refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	return &http.Client{Transport: tr}, func() {
		tr.CloseIdleConnections()
		_ = srv.Close()
		wg.Wait()
	}
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

const domain = "ims.example"

// claims are good claims of a user, changed by the pairs given: name, value; a nil value takes the claim away.
func (p *idp) claims(sub string, change ...any) object {
	now := time.Now().Unix()
	c := object{"iss": p.url, "aud": "gateway", "sub": sub, "iat": now, "exp": now + 600, "scope": "openid sip"}
	for i := 0; i < len(change); i += 2 {
		if name := change[i].(string); change[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = change[i+1]
		}
	}
	return c
}

// token is a good ES256 token with key "ec", claims changed as by claims.
func (p *idp) token(t testing.TB, sub string, change ...any) string {
	return sign(t, object{"alg": "ES256", "kid": "ec", "typ": "at+jwt"}, p.claims(sub, change...), ecKey())
}

// config is a configuration with the provider as the only issuer.
func (p *idp) config() Config {
	return Config{
		Mode: ModeToken, InDialog: InDialogOff, MaxToken: 8192, MaxInFlight: 64, Deadline: 6 * time.Second, Timeout: 3 * time.Second, Skew: 30 * time.Second,
		MaxLifetime: 24 * time.Hour, Pool: PoolConfig{Size: 100, First: 1, Request: "sip:anonymous@anonymous.invalid", Quarantine: 30 * time.Second},
		Issuers: []IssuerConfig{{
			Issuer: p.url, Method: "jwt", Audience: []string{"gateway"}, Scopes: []string{"sip"},
			Keys: KeysConfig{Algorithms: []string{"RS256", "ES256", "PS256", "EdDSA"}, Refresh: 15 * time.Minute, Refetch: 30 * time.Second, MaxStale: 24 * time.Hour},
		}},
	}
}

// introspecting makes the provider's tokens be introspected.
func (p *idp) introspecting(t testing.TB) Config {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := p.config()
	c.Issuers[0].Method = "introspection"
	c.Issuers[0].Introspection = IntrospectionConfig{URL: p.url + "/introspect", ClientID: "mgc", SecretFile: secret, Cache: time.Minute,
		Negative: 5 * time.Second, CacheSize: 100, Failures: 3, CoolDown: 10 * time.Second}
	return c
}

const clientSecret = "s3cr3t/+&"

func start(t testing.TB, cfg Config, deps Deps) *Authenticator {
	t.Helper()
	deps.Domain = domain
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	a, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// check verifies a token with a deadline and returns the reason.
func check(t testing.TB, a *Authenticator, token string) (Identity, Reason) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id, err := a.verifier.Verify(ctx, token)
	noToken(t, token, fmt.Sprint(err))
	return id, ReasonOf(err)
}

// noToken fails when text holds a part of the token that is not public knowledge.
func noToken(t testing.TB, token, text string) {
	t.Helper()
	for _, p := range append(strings.Split(token, "."), token, clientSecret) {
		if len(p) >= 8 && strings.Contains(text, p) {
			t.Errorf("part of the token or secret in %q", text)
		}
	}
}

func with(head object, change object) object {
	out := maps.Clone(head)
	maps.Copy(out, change)
	return out
}
