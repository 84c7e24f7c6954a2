package registrar

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

const issuer = "https://idp.example"

var issuerKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwks answers every request with the issuer's key set.
type jwks struct{}

func (jwks) RoundTrip(r *http.Request) (*http.Response, error) {
	p, err := issuerKey().PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "x": b64(p[1:33]), "y": b64(p[33:])}}})
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, err
}

// tokenFor is the user's access token, good for life.
func tokenFor(t *testing.T, user string, life time.Duration, claims ...string) string {
	t.Helper()
	now := time.Now()
	c := map[string]any{"iss": issuer, "aud": "gateway", "sub": user, "iat": now.Unix(), "exp": now.Add(life).Unix()}
	for _, name := range claims {
		c[name] = true
	}
	head, err1 := json.Marshal(map[string]any{"alg": "ES256", "kid": "1", "typ": "at+jwt"})
	body, err2 := json.Marshal(c)
	text := b64(head) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err3 := ecdsa.Sign(rand.Reader, issuerKey(), sum[:])
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	return text + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// web is a fixture whose browsers bring tokens.
type web struct {
	*fixture
	closed []string // guarded by mu
}

// withTokens runs a test in a bubble in which an issuer's tokens are demanded.
func withTokens(t *testing.T, change func(*auth.Config), body func(t *testing.T, w *web)) {
	inPool(t, func(t *testing.T, s *store.Memory) {
		cfg := auth.Config{Mode: auth.ModeToken, MaxToken: 8192, MaxInFlight: 8, Deadline: 6 * time.Second, Timeout: 3 * time.Second, MaxLifetime: 24 * time.Hour,
			Pool: auth.PoolConfig{First: 1, Size: 1, Request: "sip:anonymous@anonymous.invalid", Quarantine: 30 * time.Second},
			Issuers: []auth.IssuerConfig{{Issuer: issuer, Method: "jwt", Audience: []string{"gateway"},
				Keys: auth.KeysConfig{URL: issuer + "/jwks", Algorithms: []string{"ES256"}, Refresh: 24 * time.Hour, Refetch: 30 * time.Second, MaxStale: 48 * time.Hour}}}}
		if change != nil {
			change(&cfg)
		}
		w := &web{fixture: newFixture(t, s, "m1")}
		a, err := auth.New(cfg, auth.Deps{Domain: "x.example", HTTP: &http.Client{Transport: jwks{}}, Metrics: prometheus.NewRegistry(), Log: zap.NewNop(),
			OnExpired: func(flow string) { w.TokenExpired(flow) }})
		if err != nil {
			t.Fatal(err)
		}
		w.deps.Auth = a
		w.deps.CloseFlow = func(flow, _ string) { w.note(&w.closed, flow) }
		send := w.deps.Send
		w.deps.Send = func(req headers.Msg, deliver func(Outcome)) error { // from several goroutines
			w.mu.Lock()
			defer w.mu.Unlock()
			return send(req, func(o Outcome) { go deliver(o) })
		}
		body(t, w)
		a.Close()
		w.Close()
	})
}

// ask sends a REGISTER of a user over the flow; the change is "Name: value".
func (w *web) ask(t *testing.T, flow, user, token string, change ...string) headers.Msg {
	t.Helper()
	m := headers.Msg{Method: "REGISTER", RequestURI: "sip:x.example"}
	for _, h := range append([]string{"Via: SIP/2.0/WSS a.invalid;branch=z9hG4bK1", "From: <" + user + ">;tag=1", "To: <" + user + ">", "Call-ID: r1", "CSeq: 1 REGISTER",
		"Max-Forwards: 70", "Expires: 3600", `Contact: <sip:u@` + flow + `.invalid;transport=ws>;+sip.instance="<urn:uuid:` + flow + `>";reg-id=1`}, change...) {
		n, v, _ := strings.Cut(h, ": ")
		m.Set(n, v)
	}
	if token != "" {
		m.Set("Authorization", "Bearer "+token)
	}
	x := &answers{}
	w.OnRegister(x, m, siptransport.Flow{ID: flow, Transport: "WSS", Edge: siptransport.EdgeAccess})
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.got) != 1 {
		t.Fatalf("%d answers", len(x.got))
	}
	return x.got[0]
}

type answers struct {
	mu  sync.Mutex
	got []headers.Msg
}

func (x *answers) Respond(m headers.Msg) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.got = append(x.got, m)
	return nil
}

// core returns what the core has got.
func (w *web) core() []headers.Msg {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}

const alice, bob = "sip:alice@x.example", "sip:bob@x.example"

func TestREG05_REG07_REG10_TokenBecomesOurWord(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		w.asIMS()
		token := tokenFor(t, "alice", time.Hour)
		if r := w.ask(t, "f1", alice, token); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Reason)
		}
		out := w.core()[0]
		raw, err := out.Bytes()
		if err != nil || strings.Contains(string(raw), token) || strings.Contains(strings.ToLower(string(raw)), "bearer") {
			t.Errorf("the token reaches the core: %v\n%s", err, raw)
		}
		if got, want := out.Values("Authorization"), []string{`Digest username="alice@x.example", realm="x.example", uri="sip:x.example", nonce="", response="", integrity-protected="auth-done"`}; !slices.Equal(got, want) {
			t.Errorf("Authorization %q", got)
		}
		b := w.OfFlow("f1")
		if len(b) != 1 || b[0].AOR != alice || b[0].Proof == nil || b[0].Proof.IMPI != "alice@x.example" || b[0].Proof.Issuer != issuer {
			t.Errorf("bindings %+v", b)
		}
	})
}

func TestREG05_REG08_REG11_RefusedTokensDoNotReachTheCore(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		for name, c := range map[string]struct {
			user, token string
			status      int
			challenge   string
		}{
			"none":    {alice, "", 401, `Bearer realm="x.example", authz_server="` + issuer + `"`},
			"expired": {alice, tokenFor(t, "alice", -time.Minute), 401, `error="invalid_token"`},
			"forged":  {alice, tokenFor(t, "alice", time.Hour)[:60] + "x.y", 401, `error="invalid_token"`},
			"of bob":  {alice, tokenFor(t, "bob", time.Hour), 403, ""},
		} {
			r := w.ask(t, "f-"+strings.ReplaceAll(name, " ", ""), c.user, c.token)
			if r.Status != c.status || !strings.Contains(r.Get("WWW-Authenticate"), c.challenge) || headers.ToTag(&r) == "" {
				t.Errorf("%s: %d %s %q", name, r.Status, r.Reason, r.Get("WWW-Authenticate"))
			}
		}
		if n := len(w.core()); n != 0 || len(w.All()) != 0 {
			t.Errorf("%d requests at the core, %d bindings", n, len(w.All()))
		}
	})
}

func TestREG12_ExpiredTokenEndsRegistrationAndConnection(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		r := w.ask(t, "f1", alice, tokenFor(t, "alice", 10*time.Minute))
		if out := w.core()[0]; r.Status != 200 || out.Get("Expires") != "600" && out.Get("Expires") != "599" {
			t.Fatalf("%d, the core was asked for %s s", r.Status, out.Get("Expires"))
		}
		time.Sleep(9 * time.Minute)
		if n := len(w.core()); n != 1 || len(w.OfFlow("f1")) != 1 {
			t.Fatalf("%d requests before the end", n)
		}
		time.Sleep(62 * time.Second)
		sent := w.core()
		if len(sent) != 2 {
			t.Fatalf("%d requests at the core, want the REGISTER and its end", len(sent))
		}
		end := sent[1]
		contact, _ := headers.ParseAddress(end.Get("Contact"))
		if end.Method != "REGISTER" || end.RequestURI != "sip:x.example" || end.Get("Expires") != "0" || contact.URI != "sip:u@f1.invalid;transport=ws" || contact.Params.Value("reg-id") != "1" ||
			headers.Unquote(contact.Params.Value("+sip.instance")) != "<urn:uuid:f1>" || !strings.Contains(end.Get("Authorization"), `username="alice@x.example"`) || !strings.Contains(end.Get("Authorization"), "auth-done") {
			t.Errorf("de-registration %+v", end)
		}
		if gone := w.told(&w.gone); len(gone) != 1 || len(w.All()) != 0 {
			t.Errorf("gone %v, %d bindings", gone, len(w.All()))
		}
		if closed := w.told(&w.closed); !slices.Contains(closed, "f1") {
			t.Errorf("closed %v", closed)
		}
	})
}

func TestREG12_RenewedTokenKeepsTheRegistration(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		w.ask(t, "f1", alice, tokenFor(t, "alice", 10*time.Minute))
		time.Sleep(9 * time.Minute)
		if r := w.ask(t, "f1", alice, tokenFor(t, "alice", time.Hour)); r.Status != 200 {
			t.Fatalf("%d %s", r.Status, r.Reason)
		}
		time.Sleep(5 * time.Minute)
		if n := len(w.core()); n != 2 || len(w.OfFlow("f1")) != 1 || len(w.told(&w.closed)) != 0 {
			t.Errorf("%d requests at the core, %d bindings", n, len(w.OfFlow("f1")))
		}
	})
}

// A core that grants no lifetime as short as the token's cannot be asked for more with this token.
func TestREG12_REG24_TokenTooShortForTheCore(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		w.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 423, "")
			m.Add("Min-Expires", "1800")
			return Outcome{Msg: m}
		}
		if r := w.ask(t, "f1", alice, tokenFor(t, "alice", 10*time.Minute)); r.Status != 401 || !strings.Contains(r.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("%d %q", r.Status, r.Get("WWW-Authenticate"))
		}
		if r := w.ask(t, "f2", alice, tokenFor(t, "alice", time.Hour), "Expires: 60"); r.Status != 423 {
			t.Errorf("a token that lives long enough: %d", r.Status)
		}
	})
}

func pooled(c *auth.Config) {
	c.Pool.IMPI, c.Pool.IMPU = "guest{n}@x.example", "sip:guest{n}@x.example"
	c.Issuers[0].Mapping.Pool = true
}

func TestREG09_PooledIdentity(t *testing.T) {
	withTokens(t, pooled, func(t *testing.T, w *web) {
		const anyone = "sip:anonymous@anonymous.invalid"
		r := w.ask(t, "f1", anyone, tokenFor(t, "u1", time.Hour))
		out := w.core()[0]
		if to, _ := headers.ParseAddress(out.Get("To")); r.Status != 200 || to.AOR() != "sip:guest1@x.example" || !strings.Contains(out.Get("Authorization"), `username="guest1@x.example"`) {
			t.Fatalf("%d, at the core %+v", r.Status, out)
		}
		if to, _ := headers.ParseAddress(r.Get("To")); to.AOR() != anyone {
			t.Errorf("the browser's To comes back as %s", r.Get("To"))
		}
		if b := w.OfFlow("f1"); len(b) != 1 || b[0].AOR != "sip:guest1@x.example" || b[0].Proof.Lease.IsZero() {
			t.Errorf("bindings %+v", b)
		}
		if r := w.ask(t, "f2", anyone, tokenFor(t, "u2", time.Hour)); r.Status != 503 {
			t.Errorf("the only identity is given twice: %d", r.Status)
		}
		if r := w.ask(t, "f1", anyone, tokenFor(t, "u1", time.Hour), "Expires: 0"); r.Status != 200 || len(w.All()) != 0 {
			t.Fatalf("de-registration: %d", r.Status)
		}
		if r := w.ask(t, "f2", anyone, tokenFor(t, "u2", time.Hour)); r.Status != 503 {
			t.Errorf("within the quarantine: %d", r.Status)
		}
		time.Sleep(31 * time.Second)
		if r := w.ask(t, "f2", anyone, tokenFor(t, "u2", time.Hour)); r.Status != 200 {
			t.Errorf("a returned identity: %d %s", r.Status, r.Reason)
		}
		w.answer = func(req *headers.Msg) Outcome { return Outcome{Msg: headers.NewResponse(req, 500, "")} }
		if r := w.ask(t, "f2", anyone, tokenFor(t, "u2", time.Hour)); r.Status != 500 {
			t.Fatalf("%d", r.Status)
		}
		time.Sleep(31 * time.Second)
		if r := w.ask(t, "f3", anyone, tokenFor(t, "u3", time.Hour)); r.Status != 503 {
			t.Errorf("a failed refresh gives a live identity away: %d", r.Status)
		}
	})
}

func TestREG09_FailedRegistrationGivesTheIdentityBack(t *testing.T) {
	withTokens(t, pooled, func(t *testing.T, w *web) {
		const anyone = "sip:anonymous@anonymous.invalid"
		w.answer = func(req *headers.Msg) Outcome { return Outcome{Msg: headers.NewResponse(req, 500, "")} }
		w.ask(t, "f1", anyone, tokenFor(t, "u1", time.Hour))
		w.answer = granted
		time.Sleep(31 * time.Second)
		if r := w.ask(t, "f2", anyone, tokenFor(t, "u2", time.Hour)); r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Reason)
		}
	})
}

// One connection is one user's, until he has de-registered.
func TestREG08_ConnectionIsFreeAfterDeregistration(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		w.ask(t, "f1", alice, tokenFor(t, "alice", time.Hour))
		if r := w.ask(t, "f1", bob, tokenFor(t, "bob", time.Hour)); r.Status != 403 {
			t.Errorf("a second user: %d", r.Status)
		}
		w.ask(t, "f1", alice, tokenFor(t, "alice", time.Hour), "Expires: 0")
		if r := w.ask(t, "f1", bob, tokenFor(t, "bob", time.Hour)); r.Status != 200 {
			t.Errorf("after the de-registration: %d %s", r.Status, r.Reason)
		}
	})
}

func TestREG11_ModeBothOffersAToken(t *testing.T) {
	withTokens(t, func(c *auth.Config) { c.Mode = auth.ModeBoth }, func(t *testing.T, w *web) {
		w.asIMS()
		w.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 401, "")
			m.Add("WWW-Authenticate", `Digest realm="x.example", nonce="n"`)
			return Outcome{Msg: m}
		}
		r := w.ask(t, "f1", alice, "")
		if v := r.Values("WWW-Authenticate"); r.Status != 401 || len(v) != 2 || !strings.HasPrefix(v[0], "Bearer ") {
			t.Errorf("%d %q", r.Status, v)
		}
		w.answer = granted
		r = w.ask(t, "f1", alice, "", `Authorization: Digest username="alice", realm="x.example", nonce="n", uri="sip:x.example", response="abc", integrity-protected="auth-done"`)
		out := w.core()[1]
		if v := out.Get("Authorization"); r.Status != 200 || !strings.HasSuffix(v, `integrity-protected="tls-pending"`) || strings.Contains(v, "auth-done") {
			t.Errorf("%d %s", r.Status, v)
		}
		if b := w.OfFlow("f1"); len(b) != 1 || b[0].Proof != nil {
			t.Errorf("%+v", b)
		}
	})
}

// The core keeps a contact longer than it was asked: the browser is told, and the binding ends, when the token does.
func TestREG12_GrantIsCutToTheToken(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		w.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 200, "")
			m.Add("Contact", req.Get("Contact")+";expires=86400")
			return Outcome{Msg: m}
		}
		r := w.ask(t, "f1", alice, tokenFor(t, "alice", 10*time.Minute))
		c, _ := headers.ParseAddress(r.Get("Contact"))
		if n, err := strconv.Atoi(c.Params.Value("expires")); err != nil || n > 600 || n < 590 {
			t.Errorf("the browser is told %s", r.Get("Contact"))
		}
		if b := w.OfFlow("f1"); len(b) != 1 || time.Until(b[0].Expires) > 10*time.Minute {
			t.Errorf("bindings %+v", b)
		}
		time.Sleep(10*time.Minute + 2*time.Second)
		if n := len(w.core()); n != 2 || len(w.All()) != 0 {
			t.Errorf("%d requests, %d bindings", n, len(w.All()))
		}
	})
}

// Whole seconds, rounded down, end a binding a little before its token: the core hears of that end as well.
func TestREG12_BindingThatEndsJustBeforeItsToken(t *testing.T) {
	withTokens(t, nil, func(t *testing.T, w *web) {
		w.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 200, "")
			m.Add("Contact", req.Get("Contact")+";expires=599")
			return Outcome{Msg: m}
		}
		w.ask(t, "f1", alice, tokenFor(t, "alice", 10*time.Minute))
		time.Sleep(10*time.Minute + 2*time.Second)
		if sent := w.core(); len(sent) != 2 || sent[1].Get("Expires") != "0" || len(w.All()) != 0 {
			t.Errorf("%d requests, %d bindings", len(sent), len(w.All()))
		}
	})
}
