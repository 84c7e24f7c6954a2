package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

func TestREG09_PooledIdentities(t *testing.T) {
	p := provider(t)
	cfg := p.config()
	cfg.Issuers[0].Mapping = MappingConfig{IMPI: "{impi}", IMPUs: []string{"{impu}"}, PooledClaim: "pool"}
	a := start(t, cfg, Deps{})
	token := func(sub string) string {
		return p.token(t, sub, "impi", "guest1@ims.example", "impu", "sip:guest1@ims.example", "pool", true)
	}
	one := register(t, a, requestOf("REGISTER", token("s1"), "guest1"), "f1", "client1")
	if one.Action != Trust || one.Lease.IMPU != "sip:guest1@ims.example" {
		t.Fatalf("%+v", one)
	}
	if d := register(t, a, requestOf("REGISTER", token("s2"), "guest1"), "f2", "client2"); ReasonOf(d.Err) != InUse || a.Answer(request("REGISTER", ""), d).Status != 403 {
		t.Errorf("a second user of the identity: %+v", d)
	}
	if d := register(t, a, requestOf("REGISTER", token("s1"), "guest1"), "f3", "client2"); ReasonOf(d.Err) != InUse {
		t.Errorf("a second client of the user: %+v", d)
	}
	if d := register(t, a, requestOf("REGISTER", token("s1"), "guest1"), "f4", "client1"); d.Action != Trust {
		t.Errorf("the same client over a new connection: %+v", d)
	}
	a.Close()
	cfg.Pool.Shared = true
	a = start(t, cfg, Deps{})
	defer a.Close()
	for _, client := range []string{"client1", "client2"} {
		if d := register(t, a, requestOf("REGISTER", token("s1"), "guest1"), client, client); d.Action != Trust {
			t.Errorf("shared, %s: %+v", client, d)
		}
	}
}

func TestREG09_OwnPool(t *testing.T) {
	p := newIDP(jwkOf("ec", ecKey()))
	cfg := func(p *idp) Config {
		c := p.config()
		c.Issuers[0].Mapping.Pool = true
		c.Pool.IMPI, c.Pool.IMPU, c.Pool.Size = "guest{n}@ims.example", "sip:guest{n}@ims.example", 2
		return c
	}
	inBubble(t, p, cfg, Deps{}, func(t *testing.T, a *Authenticator) {
		ask := func(sub, flow string) (Decision, *headers.Msg) {
			m := request("REGISTER", p.token(t, sub))
			m.Set("From", `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=f`)
			m.Set("To", "<sip:anonymous@anonymous.invalid>")
			return register(t, a, m, flow, "client of "+sub), m
		}
		one, m := ask("s1", "f1")
		if one.Action != Trust || !one.Rewrite || one.Lease.IsZero() {
			t.Fatalf("%+v", one)
		}
		out := towardsCore(t, a, m, one, "a.b.c")
		to, err := headers.ParseAddress(out.Get("To"))
		if err != nil || to.URI != one.IMPU || headers.FromTag(&out) != "f" || !strings.Contains(out.Get("From"), one.IMPU) ||
			!strings.Contains(out.Get("Authorization"), `username="`+strings.TrimPrefix(one.IMPU, "sip:")+`"`) {
			t.Errorf("towards the core: %+v", out)
		}
		resp := headers.NewResponse(&out, 200, "")
		_ = headers.SetTag(&resp, "To", "core")
		a.Restore(&resp, m, one)
		if resp.Get("From") != m.Get("From") || headers.ToTag(&resp) != "core" || !strings.Contains(resp.Get("To"), "anonymous.invalid") {
			t.Errorf("towards the browser: %+v", resp)
		}
		two, _ := ask("s2", "f2")
		if two.Action != Trust || two.IMPU == one.IMPU {
			t.Errorf("%+v", two)
		}
		if d, _ := ask("s3", "f3"); ReasonOf(d.Err) != PoolEmpty {
			t.Errorf("beyond the pool: %+v", d)
		}
		user := strings.TrimSuffix(strings.TrimPrefix(one.IMPU, "sip:"), "@"+domain)
		again := register(t, a, requestOf("REGISTER", p.token(t, "s1"), user), "f1", "client of s1")
		if again.Action != Trust || again.Rewrite || again.IMPU != one.IMPU {
			t.Errorf("by its own name: %+v", again)
		}
		if d := register(t, a, requestOf("REGISTER", p.token(t, "s2"), user), "f2", "client of s2"); ReasonOf(d.Err) != OtherIdentity {
			t.Errorf("by another's name: %+v", d)
		}
		if err := a.Return(t.Context(), one.Lease); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		if d, _ := ask("s3", "f3"); d.Action != Trust || d.IMPU != one.IMPU {
			t.Errorf("after the return: %+v", d)
		}
		if err := a.Return(t.Context(), Lease{}); err != nil {
			t.Error(err)
		}
	})
}
