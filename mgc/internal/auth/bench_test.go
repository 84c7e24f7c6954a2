package auth

import (
	"testing"
	"time"
)

// BenchmarkRegister is the decision on one REGISTER and what goes to the core: the token of a connection again, and a new connection
// by algorithm.
func BenchmarkRegister(b *testing.B) {
	p := newIDP(jwkOf("ec", ecKey()), jwkOf("rsa", rsaKey()))
	client, stop := p.inMemory()
	defer stop()
	a := start(b, p.config(), Deps{HTTP: client})
	defer a.Close()
	es := p.token(b, "alice", "exp", time.Now().Unix()+3600)
	rs := sign(b, object{"alg": "RS256", "kid": "rsa"}, p.claims("alice", "exp", time.Now().Unix()+3600), rsaKey())
	for name, c := range map[string]struct {
		token string
		again bool
	}{"known": {es, true}, "ES256": {es, false}, "RS256": {rs, false}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			m := request("REGISTER", c.token)
			done := make(chan Decision, 1)
			for b.Loop() {
				a.Register(m, "f", "", func(d Decision) { done <- d })
				d := <-done
				if d.Action != Trust {
					b.Fatalf("%+v", d)
				}
				out := m.Clone()
				a.Apply(&out, d)
				if !c.again {
					a.FlowClosed("f")
				}
			}
		})
	}
}
