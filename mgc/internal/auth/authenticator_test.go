package auth

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// request is a request of alice with the token, in the RFC's spelling, unless it is "".
func request(method, token string) *headers.Msg { return requestOf(method, token, "alice") }

func requestOf(method, token, user string) *headers.Msg {
	m := &headers.Msg{Method: method, RequestURI: "sip:" + domain}
	m.Add("Via", "SIP/2.0/WSS a.invalid;branch=z9hG4bK1")
	m.Add("From", `"A" <sip:`+user+"@"+domain+">;tag=f")
	m.Add("To", "<sip:"+user+"@"+domain+">")
	m.Add("Call-ID", "c1")
	m.Add("CSeq", "1 "+method)
	if method == "REGISTER" {
		m.Add("Contact", "<sip:x@a.invalid;transport=ws>;expires=3600")
	}
	if token != "" {
		m.Add("Authorization", "Bearer "+token)
	}
	return m
}

// register waits for the decision on a REGISTER.
func register(t testing.TB, a *Authenticator, m *headers.Msg, flow, client string) Decision {
	return await(t, func(d func(Decision)) { a.Register(m, flow, client, d) })
}

func await(t testing.TB, call func(deliver func(Decision))) Decision {
	t.Helper()
	got := make(chan Decision, 2)
	call(func(d Decision) { got <- d })
	select {
	case d := <-got:
		return d
	case <-time.After(time.Minute):
		t.Fatal("no decision")
	}
	return Decision{}
}

// towardsCore is what the core would get; no part of the token may be in it.
func towardsCore(t testing.TB, a *Authenticator, m *headers.Msg, d Decision, token string) headers.Msg {
	t.Helper()
	out := m.Clone()
	a.Apply(&out, d)
	for _, f := range out.Fields {
		noToken(t, token, f.Name+": "+f.Value)
		if strings.Contains(strings.ToLower(f.Value), "bearer") || strings.Contains(f.Value, "access_token") {
			t.Errorf("%s: %s", f.Name, f.Value)
		}
	}
	return out
}

func TestREG05_REG07_REG10_TokenEndsHereAndTrustGoesOn(t *testing.T) {
	p := provider(t)
	a := start(t, p.config(), Deps{})
	defer a.Close()
	token := p.token(t, "alice")
	for _, spelling := range []string{"Bearer " + token, `bearer realm="x", access_token="` + token + `"`} {
		m := request("REGISTER", "")
		m.Add("Authorization", spelling)
		m.Add("Proxy-Authorization", "Bearer "+token)
		m.Add("Authorization", `Digest username="bob"`)
		m.Add("Proxy-Authorization", `Digest username="bob"`)
		d := register(t, a, m, "f1", "")
		if d.Action != Trust || d.IMPU != "sip:alice@"+domain || d.Identity.IMPI != "alice@"+domain || !d.Lease.IsZero() {
			t.Fatalf("%.20s: %+v", spelling, d)
		}
		out := towardsCore(t, a, m, d, token)
		want := `Digest username="alice@ims.example", realm="ims.example", uri="sip:ims.example", nonce="", response="", integrity-protected="auth-done"`
		if got := out.Values("Authorization"); len(got) != 1 || got[0] != want || out.Has("Proxy-Authorization") {
			t.Errorf("towards the core %q", got)
		}
	}
}

func TestREG05_ABrowserCannotVouchForItself(t *testing.T) {
	p := provider(t)
	for _, mode := range []string{ModeDigest, ModeBoth, ModeToken} {
		cfg := p.config()
		cfg.Mode = mode
		a := start(t, cfg, Deps{})
		m := request("REGISTER", "")
		m.Add("Authorization", `Digest username="bob@ims.example", realm="ims.example", nonce="", response="", integrity-protected="auth-done"`)
		d := register(t, a, m, "f1", "")
		if (d.Action == Refuse) != (mode == ModeToken) || d.Action == Trust {
			t.Errorf("%s: %+v", mode, d)
		}
		if out := towardsCore(t, a, m, d, "x.y.z"); strings.Contains(out.Get("Authorization"), "auth-done") {
			t.Errorf("%s: %s", mode, out.Get("Authorization"))
		}
		a.Close()
	}
}

func TestREG08_OnlyTheTokensIdentityRegisters(t *testing.T) {
	p := provider(t)
	a := start(t, p.config(), Deps{})
	defer a.Close()
	token := p.token(t, "alice")
	third := request("REGISTER", token)
	third.Set("From", "<sip:bob@ims.example>;tag=1")
	tel := request("REGISTER", token)
	tel.Set("To", "<tel:+4930123>")
	malformed := request("REGISTER", token)
	malformed.Set("To", "<sip:")
	for name, c := range map[string]struct {
		m    *headers.Msg
		want Reason
	}{
		"alice":             {request("REGISTER", token), Accepted},
		"bob":               {requestOf("REGISTER", token, "bob"), OtherIdentity},
		"alice for bob":     {third, OtherIdentity},
		"a number":          {tel, OtherIdentity},
		"malformed To":      {malformed, BadSyntax},
		"two tokens":        {func() *headers.Msg { m := request("REGISTER", token); m.Add("Authorization", "Bearer x"); return m }(), BadSyntax},
		"alice, once again": {request("REGISTER", token), Accepted},
	} {
		d := register(t, a, c.m, "f1", "")
		if got := ReasonOf(d.Err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if c.want == OtherIdentity {
			if resp := a.Answer(c.m, d); resp.Status != 403 || resp.Has("WWW-Authenticate") {
				t.Errorf("%s: %+v", name, resp)
			}
		}
	}
}

func TestREG06_TokenBoundAtTheUpgrade(t *testing.T) {
	p := provider(t)
	cfg := p.config()
	cfg.InDialog = InDialogEnforce
	a := start(t, cfg, Deps{})
	defer a.Close()
	token := p.token(t, "alice")
	a.Bind("f1", token)
	if d := register(t, a, request("REGISTER", ""), "f1", ""); d.Action != Trust {
		t.Errorf("bound connection: %+v", d)
	}
	if d := register(t, a, request("REGISTER", ""), "f2", ""); ReasonOf(d.Err) != Missing {
		t.Errorf("another connection: %+v", d)
	}
	if d := await(t, func(f func(Decision)) { a.Request(request("INVITE", ""), "f1", f) }); d.Action != Pass {
		t.Errorf("INVITE over the bound connection: %+v", d)
	}
	a.FlowClosed("f1")
	if d := register(t, a, request("REGISTER", ""), "f1", ""); ReasonOf(d.Err) != Missing {
		t.Errorf("after its end: %+v", d)
	}
}

func TestREG10_PolicyForOtherRequests(t *testing.T) {
	p := provider(t)
	type want struct {
		action Action
		reason Reason
	}
	good, bad, other := p.token(t, "alice"), p.token(t, "alice", "exp", 1), p.token(t, "bob")
	cases := map[string]struct {
		off, warn, enforce want
		token, method      string
	}{
		"none":        {off: want{Pass, Accepted}, warn: want{Pass, Accepted}, enforce: want{Refuse, Missing}, method: "INVITE"},
		"good":        {off: want{Pass, Accepted}, warn: want{Pass, Accepted}, enforce: want{Pass, Accepted}, token: good, method: "INVITE"},
		"bad":         {off: want{Refuse, Expired}, warn: want{Refuse, Expired}, enforce: want{Refuse, Expired}, token: bad, method: "BYE"},
		"other":       {off: want{Refuse, OtherIdentity}, warn: want{Refuse, OtherIdentity}, enforce: want{Refuse, OtherIdentity}, token: other, method: "INVITE"},
		"ACK, none":   {off: want{Pass, Accepted}, warn: want{Pass, Accepted}, enforce: want{Pass, Accepted}, method: "ACK"},
		"ACK, bad":    {off: want{Pass, Accepted}, warn: want{Pass, Accepted}, enforce: want{Pass, Accepted}, token: bad, method: "ACK"},
		"CANCEL, bad": {off: want{Pass, Accepted}, warn: want{Pass, Accepted}, enforce: want{Pass, Accepted}, token: bad, method: "CANCEL"},
	}
	for _, policy := range []string{InDialogOff, InDialogWarn, InDialogEnforce} {
		cfg := p.config()
		cfg.InDialog = policy
		a := start(t, cfg, Deps{})
		if d := register(t, a, request("REGISTER", good), "f1", ""); d.Action != Trust {
			t.Fatalf("%+v", d)
		}
		for name, c := range cases {
			w := map[string]want{InDialogOff: c.off, InDialogWarn: c.warn, InDialogEnforce: c.enforce}[policy]
			m := request(c.method, c.token)
			d := await(t, func(f func(Decision)) { a.Request(m, "f1", f) })
			if d.Action != w.action || ReasonOf(d.Err) != w.reason {
				t.Errorf("%s, %s: %+v", policy, name, d)
			}
			if d.Action == Pass {
				if out := towardsCore(t, a, m, d, c.token); out.Has("Authorization") {
					t.Errorf("%s, %s: %+v", policy, name, out)
				}
			}
		}
		if n := testutil.ToFloat64(a.metrics.absent.WithLabelValues(policy)); (n == 1) != (policy != InDialogOff) {
			t.Errorf("%s: %v requests without token counted", policy, n)
		}
		a.Close()
	}
}

func TestREG10_VerdictIsBoundToConnectionAndToken(t *testing.T) {
	p := newIDP()
	p.listen(t)
	a := start(t, p.introspecting(t), Deps{})
	defer a.Close()
	in := a.verifier.(*verifiers).opaque.(*introspector)
	p.set(func(p *idp) { p.tokens["one"], p.tokens["two"] = p.active("alice"), p.active("alice") })
	forget := func() { // the introspector's own memory, so that only the connection's is left
		in.mu.Lock()
		defer in.mu.Unlock()
		for _, e := range in.known {
			in.forget(e)
		}
	}
	step := func(flow, token string, calls int) {
		t.Helper()
		if d := register(t, a, request("REGISTER", token), flow, ""); d.Action != Trust || p.count("/introspect") != calls {
			t.Errorf("%s over %s: %+v after %d requests, want %d", token, flow, d, p.count("/introspect"), calls)
		}
		forget()
	}
	step("f1", "one", 1)
	step("f1", "one", 1)
	step("f2", "one", 2)
	step("f1", "two", 3)
	step("f1", "one", 4)
}

func TestREG10_RevokedTokenIsSeenOnTheSameConnection(t *testing.T) {
	p := newIDP()
	inBubble(t, p, func(p *idp) Config { return p.introspecting(t) }, Deps{}, func(t *testing.T, a *Authenticator) {
		p.set(func(p *idp) { p.tokens[opaque] = p.active("alice") })
		if d := register(t, a, request("REGISTER", opaque), "f1", ""); d.Action != Trust {
			t.Fatalf("%+v", d)
		}
		p.set(func(p *idp) { delete(p.tokens, opaque) })
		time.Sleep(61 * time.Second)
		if d := register(t, a, request("REGISTER", opaque), "f1", ""); ReasonOf(d.Err) != Inactive {
			t.Errorf("after introspection.cache: %+v", d)
		}
	})
}

func TestREG11_ChallengesByMode(t *testing.T) {
	p := provider(t)
	for _, mode := range []string{ModeToken, ModeBoth} {
		cfg := p.config()
		cfg.Mode, cfg.AuthzServer, cfg.Realm = mode, "https://waf.example", "wonder"
		a := start(t, cfg, Deps{})
		expired := request("REGISTER", p.token(t, "alice", "exp", 1))
		resp := a.Answer(expired, register(t, a, expired, "f1", ""))
		if want := `Bearer realm="wonder", scope="sip", authz_server="https://waf.example", error="invalid_token"`; resp.Status != 401 || resp.Get("WWW-Authenticate") != want {
			t.Errorf("%s, expired: %d %s", mode, resp.Status, resp.Get("WWW-Authenticate"))
		}
		if resp.Get("To") != expired.Get("To") || resp.Get("Via") == "" {
			t.Errorf("%+v", resp)
		}
		none := request("REGISTER", "")
		d := register(t, a, none, "f2", "")
		if mode == ModeBoth {
			if d.Action != Pass {
				t.Errorf("both, none: %+v", d)
			}
			core := headers.NewResponse(none, 401, "")
			core.Add("WWW-Authenticate", `Digest realm="core", nonce="n"`)
			a.Offer(&core)
			a.Offer(&core)
			if got := core.Values("WWW-Authenticate"); len(got) != 2 || !strings.HasPrefix(got[1], "Digest") || got[0] != `Bearer realm="wonder", scope="sip", authz_server="https://waf.example"` {
				t.Errorf("both challenges: %q", got)
			}
			other := headers.NewResponse(none, 403, "")
			a.Offer(&other)
			if other.Has("WWW-Authenticate") {
				t.Error("a 403 was turned into a challenge")
			}
		} else if resp := a.Answer(none, d); resp.Status != 401 || strings.Contains(resp.Get("WWW-Authenticate"), "error=") {
			t.Errorf("token, none: %d %s", resp.Status, resp.Get("WWW-Authenticate"))
		}
		a.Close()
	}
}

func TestREG11_AUserOfATokenCannotFallBackToNone(t *testing.T) {
	p := provider(t)
	cfg := p.config()
	cfg.Mode = ModeBoth
	a := start(t, cfg, Deps{})
	defer a.Close()
	if d := register(t, a, request("REGISTER", p.token(t, "alice")), "f1", ""); d.Action != Trust {
		t.Fatalf("%+v", d)
	}
	if d := register(t, a, request("REGISTER", ""), "f1", ""); ReasonOf(d.Err) != Missing {
		t.Errorf("%+v", d)
	}
	if d := register(t, a, requestOf("REGISTER", p.token(t, "bob"), "bob"), "f1", ""); ReasonOf(d.Err) != OtherIdentity {
		t.Errorf("another user over the same connection: %+v", d)
	}
	a.Forget("f1") // de-registered
	if d := register(t, a, requestOf("REGISTER", p.token(t, "bob"), "bob"), "f1", ""); d.Action != Trust {
		t.Errorf("another user afterwards: %+v", d)
	}
}

func TestREG12_RegistrationEndsWithTheToken(t *testing.T) {
	p := newIDP(jwkOf("ec", ecKey()))
	var mu sync.Mutex
	var expired []string
	deps := Deps{OnExpired: func(flow string) { mu.Lock(); defer mu.Unlock(); expired = append(expired, flow) }}
	inBubble(t, p, (*idp).config, deps, func(t *testing.T, a *Authenticator) {
		end := time.Now().Unix() + 120
		first := p.token(t, "alice", "exp", end)
		for _, flow := range []string{"kept", "renewed", "closed"} {
			m := request("REGISTER", first)
			d := register(t, a, m, flow, "")
			if d.Action != Trust || d.MaxExpires != 120*time.Second {
				t.Fatalf("%+v", d)
			}
			out := towardsCore(t, a, m, d, first)
			c, err := headers.ParseAddress(out.Get("Contact"))
			if err != nil || out.Get("Expires") != "120" || c.Params.Value("expires") != "120" {
				t.Errorf("asked of the core: Expires %q, Contact %q", out.Get("Expires"), out.Get("Contact"))
			}
		}
		time.Sleep(90 * time.Second)
		if d := register(t, a, request("REGISTER", first), "kept", ""); d.MaxExpires != 30*time.Second {
			t.Errorf("later the same token gives %v", d.MaxExpires)
		}
		if d := register(t, a, request("REGISTER", p.token(t, "alice")), "renewed", ""); d.MaxExpires != 600*time.Second {
			t.Errorf("a new token gives %v", d.MaxExpires)
		}
		a.FlowClosed("closed")
		time.Sleep(32 * time.Second)
		mu.Lock()
		if fmt.Sprint(expired) != "[kept]" {
			t.Errorf("ended: %v, want only the one that was not renewed", expired)
		}
		mu.Unlock()
		time.Sleep(40 * time.Second) // beyond the skew
		if d := register(t, a, request("REGISTER", first), "kept", ""); ReasonOf(d.Err) != Expired {
			t.Errorf("the ended token: %+v", d)
		}
		a.FlowClosed("renewed")
		a.FlowClosed("kept")
		register(t, a, request("REGISTER", ""), "late", "") // came after its connection had closed
		time.Sleep(2 * time.Minute)
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.flows) != 0 {
			t.Errorf("%d connections are remembered", len(a.flows))
		}
	})
}

func TestREG12_TokenThatEndsWhileItIsVerified(t *testing.T) {
	p := newIDP()
	p.listen(t)
	a := start(t, p.config(), Deps{})
	defer a.Close()
	id := Identity{IMPI: "a@ims.example", IMPUs: []string{"sip:a@ims.example"}, Expires: time.Now().Add(-time.Second)}
	if d := a.admit(t.Context(), id, id.IMPUs[0], id.IMPUs[0], "c"); ReasonOf(d.Err) != Expired {
		t.Errorf("%+v", d)
	}
}

func TestREG12_ClosedConnectionsLearnNothing(t *testing.T) {
	p := newIDP()
	inBubble(t, p, func(p *idp) Config { return p.introspecting(t) }, Deps{}, func(t *testing.T, a *Authenticator) {
		p.set(func(p *idp) { p.tokens[opaque], p.gate = p.active("alice"), make(chan struct{}) })
		done := make(chan Decision, 1)
		a.Register(request("REGISTER", opaque), "f1", "", func(d Decision) { done <- d })
		synctest.Wait()
		a.FlowClosed("f1")
		close(p.gate)
		<-done
		if _, ok := a.verified("f1", hashOf(opaque)); ok || len(a.flows) != 0 {
			t.Error("a verdict outlived its connection")
		}
	})
}

func TestREG05_OverloadAndClose(t *testing.T) {
	p := newIDP()
	synctest.Test(t, func(t *testing.T) {
		client, stop := p.inMemory()
		cfg := p.introspecting(t)
		cfg.MaxInFlight = 2
		p.gate = make(chan struct{})
		a := start(t, cfg, Deps{HTTP: client})
		got := make(chan Decision, 8)
		for i := range 4 {
			a.Register(request("REGISTER", opaque+fmt.Sprint(i)), fmt.Sprint("f", i), "", func(d Decision) { got <- d })
		}
		for range 2 {
			if d := <-got; ReasonOf(d.Err) != Overloaded || a.Answer(request("REGISTER", ""), d).Status != 503 {
				t.Errorf("beyond the limit: %+v", d)
			}
		}
		synctest.Wait()
		a.Close()
		for range 2 {
			if d := <-got; ReasonOf(d.Err) != Unavailable {
				t.Errorf("at the close: %+v", d)
			}
		}
		a.Register(request("REGISTER", opaque), "f9", "", func(d Decision) { got <- d })
		if d := <-got; ReasonOf(d.Err) != Overloaded {
			t.Errorf("after the close: %+v", d)
		}
		stop()
	})
}

func TestREG05_NoTokenAndNoSecretInLogsAndMetrics(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	reg := prometheus.NewRegistry()
	p := newIDP()
	p.listen(t)
	a := start(t, p.introspecting(t), Deps{Log: zap.New(core), Metrics: reg})
	tokens := []string{opaque, p.token(t, "alice"), p.token(t, "alice", "iss", "https://evil.example"), "eyJ.broken.token"}
	for _, mode := range []string{"", "down", "garbage", "denied"} {
		p.set(func(p *idp) { p.mode = mode })
		for i, token := range tokens {
			m := request("REGISTER", token+fmt.Sprintf("%v%d", mode != "", i))
			d := register(t, a, m, mode, "")
			resp := a.Answer(m, d)
			for _, f := range resp.Fields {
				noToken(t, token, f.Value)
			}
			noToken(t, token, fmt.Sprint(d.Err))
		}
	}
	a.Close()
	if logs.Len() == 0 {
		t.Error("an outage leaves no line in the log")
	}
	families, err := reg.Gather()
	if err != nil || len(families) < 4 {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	for _, token := range tokens {
		for _, e := range logs.All() {
			noToken(t, token, fmt.Sprint(e.Message, e.ContextMap()))
		}
		noToken(t, token, fmt.Sprint(families))
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}
