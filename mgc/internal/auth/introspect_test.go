package auth

import (
	"encoding/base64"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const opaque = "2YotnFZFEjr1zCsicMWpAA"

// active is a good answer about a token.
func (p *idp) active(sub string, change ...any) object {
	return p.claims(sub, append([]any{"active", true}, change...)...)
}

func TestREG05_IntrospectionVerdicts(t *testing.T) {
	p := newIDP()
	p.listen(t)
	a := start(t, p.introspecting(t), Deps{})
	defer a.Close()
	now := time.Now().Unix()
	cases := []struct {
		name   string
		answer object
		want   Reason
	}{
		{"active", p.active("alice"), Accepted},
		{"without iss", p.active("alice", "iss", nil), Accepted},
		{"without exp", p.active("alice", "exp", nil), Accepted},
		{"inactive", object{"active": false, "sub": "alice", "aud": "gateway", "scope": "sip"}, Inactive},
		{"unknown", nil, Inactive},
		{"expired in spite of active", p.active("alice", "exp", now-60), Expired},
		{"not yet valid", p.active("alice", "nbf", now+60), NotYetValid},
		{"another issuer", p.active("alice", "iss", "https://evil.example"), WrongIssuer},
		{"another audience", p.active("alice", "aud", "shop"), WrongAudience},
		{"no audience", p.active("alice", "aud", nil), WrongAudience},
		{"scope missing", p.active("alice", "scope", "openid"), ScopeMissing},
		{"no sub", p.active("alice", "sub", nil), Malformed},
		{"active is text", p.active("alice", "active", "true"), Unavailable},
		{"active missing", p.active("alice", "active", nil), Unavailable},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			token := opaque + string(rune('a'+i))
			if c.answer != nil {
				p.set(func(p *idp) { p.tokens[token] = c.answer })
			}
			if id, got := check(t, a, token); got != c.want || (got == Accepted) != (id.Subject == "alice") {
				t.Errorf("%v, want %v: %+v", got, c.want, id)
			}
		})
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("mgc:"+url.QueryEscape(clientSecret)))
	for _, h := range p.auth {
		if h != want {
			t.Fatalf("client authentication %q", h)
		}
	}
}

func TestREG05_IntrospectionOfAJWT(t *testing.T) {
	p := newIDP()
	p.listen(t)
	a := start(t, p.introspecting(t), Deps{})
	defer a.Close()
	token := p.token(t, "alice")
	p.set(func(p *idp) { p.tokens[token] = p.active("alice") })
	if _, r := check(t, a, token); r != Accepted {
		t.Errorf("%v", r)
	}
}

func TestREG05_IntrospectionIsRemembered(t *testing.T) {
	p := newIDP()
	secret := ""
	cfg := func(p *idp) Config {
		c := p.introspecting(t)
		secret = c.Issuers[0].Introspection.SecretFile
		return c
	}
	inBubble(t, p, cfg, Deps{}, func(t *testing.T, a *Authenticator) {
		p.set(func(p *idp) {
			p.tokens["long"] = p.active("alice")
			p.tokens["short"] = p.active("alice", "exp", time.Now().Unix()+20)
		})
		ask := func(token string, want Reason, calls int) {
			t.Helper()
			if _, r := check(t, a, token); r != want || p.count("/introspect") != calls {
				t.Errorf("%s: %v after %d requests, want %v after %d", token, r, p.count("/introspect"), want, calls)
			}
		}
		ask("long", Accepted, 1)
		ask("long", Accepted, 1)
		ask("short", Accepted, 2)
		ask("bad", Inactive, 3)
		ask("bad", Inactive, 3)
		p.set(func(p *idp) { delete(p.tokens, "long") }) // revoked
		time.Sleep(6 * time.Second)
		ask("bad", Inactive, 4)
		ask("long", Accepted, 4)
		time.Sleep(15 * time.Second)
		ask("short", Accepted, 5) // exp has ended the memory, the skew still forgives
		time.Sleep(40 * time.Second)
		ask("long", Inactive, 6)
		if err := os.WriteFile(secret, []byte("rotated\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		ask("other", Inactive, 7)
		if got := p.auth[len(p.auth)-1]; got != "Basic "+base64.StdEncoding.EncodeToString([]byte("mgc:rotated")) {
			t.Errorf("the changed secret is not used: %s", got)
		}
	})
}

func TestREG05_IntrospectionCacheIsBounded(t *testing.T) {
	p := newIDP()
	p.listen(t)
	cfg := p.introspecting(t)
	cfg.Issuers[0].Introspection.CacheSize = 3
	a := start(t, cfg, Deps{})
	defer a.Close()
	in := a.verifier.(*verifiers).opaque.(*introspector)
	for _, c := range "abcdef" {
		check(t, a, strings.Repeat(string(c), 20))
		check(t, a, strings.Repeat("a", 20)) // kept by its use
	}
	if len(in.known) != 3 || in.recent.Len() != 3 || p.count("/introspect") != 6 {
		t.Errorf("%d remembered, %d listed, %d requests", len(in.known), in.recent.Len(), p.count("/introspect"))
	}
}

func TestREG05_IntrospectionOutageIs503AndOpensTheCircuit(t *testing.T) {
	for _, mode := range []string{"down", "denied", "slow", "garbage", "empty", "array", "oversize", "redirect"} {
		t.Run(mode, func(t *testing.T) {
			p := newIDP()
			p.mode = mode
			inBubble(t, p, func(p *idp) Config { return p.introspecting(t) }, Deps{}, func(t *testing.T, a *Authenticator) {
				p.set(func(p *idp) { p.tokens[opaque] = p.active("alice") })
				for range 10 {
					if _, r := check(t, a, opaque); r != Unavailable || r.Status() != 503 {
						t.Fatalf("%v", r)
					}
				}
				if n := p.count("/introspect"); n != 3 {
					t.Errorf("%d requests to an endpoint that fails, want 3", n)
				}
				time.Sleep(11 * time.Second)
				check(t, a, opaque) // one tries it, and it still fails
				check(t, a, opaque)
				if n := p.count("/introspect"); n != 4 {
					t.Errorf("%d requests after the cool-down, want 4", n)
				}
				p.set(func(p *idp) { p.mode = "" })
				time.Sleep(11 * time.Second)
				for range 2 {
					if _, r := check(t, a, opaque); r != Accepted {
						t.Errorf("after the outage: %v", r)
					}
				}
			})
		})
	}
}

func TestREG05_OnlyFailuresInARowOpenTheCircuit(t *testing.T) {
	p := newIDP()
	p.listen(t)
	a := start(t, p.introspecting(t), Deps{})
	defer a.Close()
	for i, mode := range []string{"down", "down", "", "down", "down", ""} {
		p.set(func(p *idp) { p.mode = mode })
		want := map[bool]Reason{true: Inactive, false: Unavailable}[mode == ""]
		if _, r := check(t, a, opaque+string(rune('a'+i))); r != want {
			t.Errorf("request %d: %v, want %v", i, r, want)
		}
	}
}

func TestREG05_HalfOpenCircuitTriesOnce(t *testing.T) {
	p := newIDP()
	p.mode = "down"
	inBubble(t, p, func(p *idp) Config { return p.introspecting(t) }, Deps{}, func(t *testing.T, a *Authenticator) {
		for i := range 3 {
			check(t, a, opaque+string(rune('a'+i)))
		}
		time.Sleep(11 * time.Second)
		p.set(func(p *idp) { p.mode, p.gate = "", make(chan struct{}) })
		before := p.count("/introspect")
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { check(t, a, opaque+string(rune('A'+i))) })
		}
		synctest.Wait()
		if n := p.count("/introspect") - before; n != 1 {
			t.Errorf("%d requests try the endpoint, want 1", n)
		}
		close(p.gate)
		wg.Wait()
	})
}

func TestREG05_OneIntrospectionForManyWaiters(t *testing.T) {
	p := newIDP()
	inBubble(t, p, func(p *idp) Config { return p.introspecting(t) }, Deps{}, func(t *testing.T, a *Authenticator) {
		p.set(func(p *idp) { p.tokens[opaque], p.gate = p.active("alice"), make(chan struct{}) })
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, r := check(t, a, opaque); r != Accepted {
					t.Errorf("%v", r)
				}
			})
		}
		synctest.Wait()
		close(p.gate)
		wg.Wait()
		if n := p.count("/introspect"); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestREG05_MissingSecretIs503(t *testing.T) {
	p := newIDP()
	p.listen(t)
	cfg := p.introspecting(t)
	cfg.Issuers[0].Introspection.SecretFile += "-not-there"
	a := start(t, cfg, Deps{})
	defer a.Close()
	if _, r := check(t, a, opaque); r != Unavailable || p.count("/introspect") != 0 {
		t.Errorf("%v after %d requests", r, p.count("/introspect"))
	}
}
