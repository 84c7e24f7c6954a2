package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// provider listens with one key of each kind, some of them unfit.
func provider(t *testing.T) *idp {
	enc := jwkOf("enc", otherKey())
	enc["use"] = "enc"
	ps := jwkOf("ps", rsaKey2())
	ps["alg"] = "PS256"
	p := newIDP(jwkOf("rsa", rsaKey()), jwkOf("ec", ecKey()), jwkOf("ed", edKey()), enc, ps, jwkOf("weak", weakKey()),
		object{"kty": "oct", "kid": "oct", "k": b64([]byte("0123456789abcdef0123456789abcdef"))}, object{"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"})
	p.listen(t)
	return p
}

func TestREG05_JWTVerdicts(t *testing.T) {
	p := provider(t)
	a := start(t, p.config(), Deps{})
	defer a.Close()
	now := time.Now().Unix()
	es := object{"alg": "ES256", "kid": "ec"}
	good := p.token(t, "alice")
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&rsaKey().PublicKey))})
	mac := func(head object, secret []byte) string {
		text := b64(must(json.Marshal(head))) + "." + b64(must(json.Marshal(p.claims("alice"))))
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(text))
		return text + "." + b64(h.Sum(nil))
	}
	cases := []struct {
		name  string
		token string
		want  Reason
	}{
		{"ES256", good, Accepted},
		{"RS256", sign(t, object{"alg": "RS256", "kid": "rsa"}, p.claims("alice"), rsaKey()), Accepted},
		{"PS256", sign(t, object{"alg": "PS256", "kid": "rsa"}, p.claims("alice"), rsaKey()), Accepted},
		{"EdDSA", sign(t, object{"alg": "EdDSA", "kid": "ed"}, p.claims("alice"), edKey()), Accepted},
		{"no kid, one key fits", sign(t, object{"alg": "EdDSA"}, p.claims("alice"), edKey()), Accepted},
		{"no kid, two keys fit", sign(t, object{"alg": "PS256"}, p.claims("alice"), rsaKey()), UnknownKey},
		{"audience in a list", p.token(t, "alice", "aud", []string{"x", "gateway"}), Accepted},
		{"scope as list", p.token(t, "alice", "scope", nil, "scp", []string{"sip"}), Accepted},
		{"fraction of a second", p.token(t, "alice", "exp", float64(now)+600.5), Accepted},
		{"within the skew", p.token(t, "alice", "exp", now-5, "nbf", now+5, "iat", now+5), Accepted},
		{"expired", p.token(t, "alice", "exp", now-31), Expired},
		{"not yet valid", p.token(t, "alice", "nbf", now+60), NotYetValid},
		{"issued in the future", p.token(t, "alice", "iat", now+60), NotYetValid},
		{"wrong issuer", p.token(t, "alice", "iss", "https://evil.example"), WrongIssuer},
		{"no issuer", p.token(t, "alice", "iss", nil), WrongIssuer},
		{"wrong audience", p.token(t, "alice", "aud", "shop"), WrongAudience},
		{"no audience", p.token(t, "alice", "aud", nil), WrongAudience},
		{"audience of another type", p.token(t, "alice", "aud", object{"gateway": true}), WrongAudience},
		{"scope missing", p.token(t, "alice", "scope", "openid sipx"), ScopeMissing},
		{"no exp", p.token(t, "alice", "exp", nil), Malformed},
		{"exp is text", p.token(t, "alice", "exp", "tomorrow"), Malformed},
		{"exp beyond all years", p.token(t, "alice", "exp", 1e300), Malformed},
		{"nbf beyond all years", p.token(t, "alice", "nbf", 1e300), Malformed},
		{"exp negative", p.token(t, "alice", "exp", -1), Malformed},
		{"no sub", p.token(t, "", "sub", nil), Malformed},
		{"sub is a number", p.token(t, "", "sub", 7), Malformed},
		{"unknown kid", sign(t, object{"alg": "ES256", "kid": "nope"}, p.claims("alice"), ecKey()), UnknownKey},
		{"key for encryption", sign(t, object{"alg": "ES256", "kid": "enc"}, p.claims("alice"), otherKey()), UnknownKey},
		{"weak key", sign(t, object{"alg": "RS256", "kid": "weak"}, p.claims("alice"), weakKey()), UnknownKey},
		{"key of another algorithm", sign(t, object{"alg": "RS256", "kid": "ps"}, p.claims("alice"), rsaKey2()), UnknownKey},
		{"key of another type", sign(t, object{"alg": "RS256", "kid": "ec"}, p.claims("alice"), rsaKey()), UnknownKey},
		{"signed by another key", sign(t, es, p.claims("alice"), otherKey()), BadSignature},
		{"claims changed", strings.Join([]string{strings.Split(good, ".")[0], b64(must(json.Marshal(p.claims("bob")))), strings.Split(good, ".")[2]}, "."), BadSignature},
		{"no signature", sign(t, es, p.claims("alice"), []byte{}), BadSignature},
		{"alg none", sign(t, object{"alg": "none"}, p.claims("alice"), []byte{}), Algorithm},
		{"alg None", sign(t, object{"alg": "None", "kid": "ec"}, p.claims("alice"), []byte{}), Algorithm},
		{"no alg", sign(t, object{"kid": "ec"}, p.claims("alice"), ecKey()), Algorithm},
		{"HS256 with the public key", mac(object{"alg": "HS256", "kid": "rsa"}, rsaPEM), Algorithm},
		{"HS256 with the oct key", mac(object{"alg": "HS256", "kid": "oct"}, []byte("0123456789abcdef0123456789abcdef")), Algorithm},
		{"ES384", sign(t, object{"alg": "ES384", "kid": "ec"}, p.claims("alice"), ecKey()), Algorithm},
		{"own key in the header", sign(t, with(es, object{"jwk": jwkOf("ec", otherKey()), "jku": p.url + "/evil", "x5u": p.url + "/evil"}), p.claims("alice"), otherKey()), BadSignature},
		{"critical extension", sign(t, with(es, object{"crit": []string{"b64"}, "b64": false}), p.claims("alice"), ecKey()), Malformed},
		{"logout token", sign(t, with(es, object{"typ": "logout+jwt"}), p.claims("alice"), ecKey()), Malformed},
		{"kid of another type", sign(t, object{"alg": "ES256", "kid": 7}, p.claims("alice"), ecKey()), Malformed},
		{"padded segment", strings.Replace(good, ".", "=.", 1), Malformed},
		{"header is null", b64([]byte("null")) + good[strings.IndexByte(good, '.'):], Malformed},
		{"two segments", good[:strings.LastIndexByte(good, '.')], Malformed},
		{"four segments", good + ".x", Malformed},
		{"five segments", "a.b.c.d.e", Malformed},
		{"opaque", "2YotnFZFEjr1zCsicMWpAA", Malformed},
		{"text after the claims", func() string {
			text := strings.Split(good, ".")[0] + "." + b64([]byte(string(must(json.Marshal(p.claims("alice"))))+"{}"))
			return text + ".AAAA"
		}(), Malformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			id, got := check(t, a, c.token)
			if got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
			if (got == Accepted) != (id.Subject == "alice") || got == Accepted && (id.IMPI != "alice@"+domain || !id.Allows("sip:alice@"+domain)) {
				t.Errorf("identity %+v", id)
			}
		})
	}
	if _, err := a.verifier.(*verifiers).byIssuer[p.url].Verify(t.Context(), p.token(t, "alice", "iss", nil)); ReasonOf(err) != WrongIssuer {
		t.Errorf("without iss, past the choice by issuer: %v", err)
	}
	if n := p.count("/evil"); n != 0 {
		t.Errorf("a key location of a token was followed %d times", n)
	}
}

func TestREG12_VerdictEndsWithTheToken(t *testing.T) {
	p := provider(t)
	a := start(t, p.config(), Deps{})
	defer a.Close()
	exp := time.Now().Unix() + 300
	id, r := check(t, a, p.token(t, "alice", "exp", exp))
	if r != Accepted || id.Expires.Unix() != exp {
		t.Errorf("%v: ends %v, want %v", r, id.Expires.Unix(), exp)
	}
	long, _ := check(t, a, p.token(t, "alice", "exp", exp+1e6))
	if life := time.Until(long.Expires); life > 24*time.Hour {
		t.Errorf("a token of many days is used for %v", life)
	}
}

func TestREG05_OnlyTheIssuerSeesItsTokens(t *testing.T) {
	p := provider(t)
	a := start(t, p.introspecting(t), Deps{})
	defer a.Close()
	foreign := sign(t, object{"alg": "ES256", "kid": "ec"}, p.claims("alice", "iss", "https://other.example"), ecKey())
	if _, r := check(t, a, foreign); r != WrongIssuer || p.count("/introspect") != 0 {
		t.Errorf("%v after %d introspections", r, p.count("/introspect"))
	}
	if _, err := (&verifiers{}).Verify(context.Background(), "opaque"); ReasonOf(err) != Malformed {
		t.Errorf("opaque token without introspection: %v", err)
	}
}
