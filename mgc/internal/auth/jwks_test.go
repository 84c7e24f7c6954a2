package auth

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// inBubble runs body with a provider in memory, whose clock is the bubble's; the end of all goroutines is checked by it.
func inBubble(t *testing.T, p *idp, cfg func(*idp) Config, deps Deps, body func(t *testing.T, a *Authenticator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, stop := p.inMemory()
		deps.HTTP = client
		a := start(t, cfg(p), deps)
		synctest.Wait()
		body(t, a)
		a.Close()
		stop()
	})
}

func TestREG05_KeyRotationByUnknownKid(t *testing.T) {
	p := newIDP(jwkOf("old", otherKey()))
	inBubble(t, p, (*idp).config, Deps{}, func(t *testing.T, a *Authenticator) {
		time.Sleep(time.Minute) // the bubble's clock: the first fetch is long ago
		before := p.count("/jwks")
		p.set(func(p *idp) { p.keys = []object{jwkOf("old", otherKey()), jwkOf("ec", ecKey())} })
		if _, r := check(t, a, p.token(t, "alice")); r != Accepted || p.count("/jwks") != before+1 {
			t.Errorf("after rotation: %v, %d fetches", r, p.count("/jwks")-before)
		}
		junk := sign(t, object{"alg": "ES256", "kid": "junk"}, p.claims("alice"), ecKey())
		for range 50 { // a stranger cannot make us fetch at will
			if _, r := check(t, a, junk); r != UnknownKey {
				t.Fatalf("unknown key: %v", r)
			}
		}
		if n := p.count("/jwks") - before; n != 1 {
			t.Errorf("%d fetches within the refetch limit, want 1", n)
		}
		time.Sleep(31 * time.Second)
		check(t, a, junk)
		if n := p.count("/jwks") - before; n != 2 {
			t.Errorf("%d fetches after the refetch limit, want 2", n)
		}
		p.set(func(p *idp) { p.keys = []object{jwkOf("ec", ecKey())} })
		time.Sleep(16 * time.Minute) // a periodic fetch: the withdrawn key is gone
		if _, r := check(t, a, sign(t, object{"alg": "ES256", "kid": "old"}, p.claims("alice"), otherKey())); r != UnknownKey {
			t.Errorf("withdrawn key: %v", r)
		}
	})
}

func TestREG05_StaleKeysOutliveAnOutage(t *testing.T) {
	for _, mode := range []string{"down", "slow", "garbage", "empty", "array", "oversize", "redirect"} {
		t.Run(mode, func(t *testing.T) {
			p := newIDP(jwkOf("ec", ecKey()))
			cfg := func(p *idp) Config {
				c := p.config()
				c.Issuers[0].Keys.MaxStale, c.Issuers[0].Keys.URL = 20*time.Minute, p.url+"/jwks"
				return c
			}
			inBubble(t, p, cfg, Deps{}, func(t *testing.T, a *Authenticator) {
				if _, r := check(t, a, p.token(t, "alice")); r != Accepted {
					t.Fatalf("before: %v", r)
				}
				p.set(func(p *idp) { p.mode = mode })
				time.Sleep(17 * time.Minute) // beyond a periodic fetch
				if _, r := check(t, a, p.token(t, "alice")); r != Accepted {
					t.Errorf("known key in the outage: %v", r)
				}
				unknown := sign(t, object{"alg": "ES256", "kid": "new"}, p.claims("alice"), otherKey())
				if _, r := check(t, a, unknown); r != Unavailable {
					t.Errorf("unknown key in the outage: %v, want unavailable: it may be genuine", r)
				}
				before := p.count("/jwks")
				time.Sleep(4 * time.Minute)
				if n := p.count("/jwks") - before; n < 6 || n > 8 {
					t.Errorf("%d fetches in 4 minutes of an outage, want one per refetch limit", n)
				}
				if _, r := check(t, a, p.token(t, "alice")); r != Unavailable {
					t.Errorf("after max_stale: %v", r)
				}
				p.set(func(p *idp) { p.mode = "" })
				time.Sleep(time.Minute) // a failed fetch is repeated soon
				if _, r := check(t, a, p.token(t, "alice")); r != Accepted {
					t.Errorf("after the outage: %v", r)
				}
			})
		})
	}
}

func TestREG05_NoKeysYet(t *testing.T) {
	p := newIDP(jwkOf("ec", ecKey()))
	p.mode = "slow"
	inBubble(t, p, (*idp).config, Deps{}, func(t *testing.T, a *Authenticator) {
		begin := time.Now()
		if _, r := check(t, a, p.token(t, "alice")); r != Unavailable {
			t.Errorf("%v", r)
		}
		if d := time.Since(begin); d != 3*time.Second { // the bubble's clock: exact
			t.Errorf("waited %v for an issuer that does not answer, want the timeout", d)
		}
	})
}

func TestREG05_OneFetchForManyWaiters(t *testing.T) {
	p := newIDP(jwkOf("ec", ecKey()))
	p.gate = make(chan struct{})
	synctest.Test(t, func(t *testing.T) {
		p.gate = make(chan struct{}) // of the bubble
		client, stop := p.inMemory()
		cfg := p.config()
		cfg.Issuers[0].Keys.URL = p.url + "/jwks"
		a := start(t, cfg, Deps{HTTP: client})
		token := p.token(t, "alice")
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, r := check(t, a, token); r != Accepted {
					t.Errorf("%v", r)
				}
			})
		}
		synctest.Wait()
		close(p.gate)
		wg.Wait()
		if n := p.count("/jwks"); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
		if n := p.count("/.well-known/openid-configuration"); n != 0 {
			t.Errorf("%d discoveries although the URL is configured", n)
		}
		a.Close()
		stop()
	})
}

func TestREG05_DiscoveryOfAnotherIssuerIsRefused(t *testing.T) {
	p := newIDP(jwkOf("ec", ecKey()))
	cfg := func(p *idp) Config {
		c := p.config()
		c.Issuers[0].Issuer = p.url + "/tenant"
		return c
	}
	inBubble(t, p, cfg, Deps{}, func(t *testing.T, a *Authenticator) {
		if _, r := check(t, a, p.token(t, "alice", "iss", p.url+"/tenant")); r != Unavailable || p.count("/jwks") != 0 {
			t.Errorf("%v after %d key fetches", r, p.count("/jwks"))
		}
	})
}

// TestREG05_RealSockets repeats the failures over TCP, where answers break off and sizes are real.
func TestREG05_RealSockets(t *testing.T) {
	for mode, label := range map[string]string{"": "ok", "down": "status", "slow": "timeout", "garbage": "garbage", "empty": "ok", "array": "garbage",
		"oversize": "oversize", "redirect": "status"} {
		t.Run("mode "+mode, func(t *testing.T) {
			p := provider(t)
			p.mode = mode
			cfg := p.config()
			cfg.Issuers[0].Keys.URL = p.url + "/jwks"
			if mode == "slow" {
				cfg.Timeout = 100 * time.Millisecond
			}
			a := start(t, cfg, Deps{})
			defer a.Close()
			want := map[bool]Reason{true: Accepted, false: Unavailable}[mode == ""]
			if _, r := check(t, a, p.token(t, "alice")); r != want {
				t.Errorf("%v, want %v", r, want)
			}
			if n := testutil.ToFloat64(a.metrics.fetches.WithLabelValues("jwks", label)); n < 1 {
				t.Errorf("no fetch counted as %s", label)
			}
		})
	}
}
