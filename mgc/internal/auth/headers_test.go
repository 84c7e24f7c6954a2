package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

func TestREG11_R8898_Challenge(t *testing.T) {
	c := Challenge{Realm: `a"b`, Scopes: []string{"openid", "sip"}, AuthzServer: "https://waf.example/"}
	for r, want := range map[Reason]string{
		Missing:      `Bearer realm="a\"b", scope="openid sip", authz_server="https://waf.example/"`,
		Expired:      `Bearer realm="a\"b", scope="openid sip", authz_server="https://waf.example/", error="invalid_token"`,
		ScopeMissing: `Bearer realm="a\"b", scope="openid sip", authz_server="https://waf.example/", error="invalid_scope"`,
	} {
		if got := c.Value(r); got != want {
			t.Errorf("%v: %s, want %s", r, got, want)
		}
	}
	if got := (Challenge{Realm: "x"}).Value(Missing); got != `Bearer realm="x"` {
		t.Errorf("bare: %s", got)
	}
}

func TestREG11_EveryReasonHasItsAnswer(t *testing.T) {
	req := headers.Msg{Method: "REGISTER"}
	for _, h := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
		req.Add(h, "x")
	}
	want := map[Reason]int{
		Missing: 401, BadSyntax: 400, Malformed: 401, Algorithm: 401, UnknownKey: 401, BadSignature: 401, Expired: 401, NotYetValid: 401, WrongIssuer: 401,
		WrongAudience: 401, ScopeMissing: 401, Inactive: 401, NoIdentity: 403, OtherIdentity: 403, InUse: 403, PoolEmpty: 503, Unavailable: 503, Overloaded: 503,
	}
	c := Challenge{Realm: "x"}
	names := map[string]bool{}
	for r := Accepted + 1; r < reasons; r++ {
		resp := c.Answer(&req, fmt.Errorf("wrapped: %w", r))
		if want[r] == 0 || resp.Status != want[r] || resp.Reason == "" || names[r.String()] || r.String() == "" {
			t.Errorf("%v: %d %s, want %d", r, resp.Status, resp.Reason, want[r])
		}
		names[r.String()] = true
		if resp.Has("WWW-Authenticate") != (resp.Status == 401) || resp.Has("Retry-After") != (resp.Status == 503) {
			t.Errorf("%v: %+v", r, resp)
		}
	}
	for _, err := range []error{errors.New("something else"), Accepted, Reason(250)} {
		if resp := c.Answer(&req, err); resp.Status != 503 {
			t.Errorf("%v: %d, want 503", err, resp.Status)
		}
	}
	if Reason(250).Status() != 503 || Reason(250).String() == "" {
		t.Error("an unknown reason has no answer")
	}
}

func TestREG07_AuthDoneTowardsTheCore(t *testing.T) {
	id := Identity{IMPI: "alice@ims.example", Issuer: "https://waf.example"}
	want := `Digest username="alice@ims.example", realm="ims.example", uri="sip:ims.example", nonce="", response="", integrity-protected="auth-done"`
	if got := CoreAuthorization(id, domain, ""); got != want {
		t.Errorf("%s", got)
	}
	// A private identity cannot break out of its quotes.
	id.IMPI = "a\", integrity-protected=\"no\r\nX: y\\"
	got := CoreAuthorization(id, domain, "")
	if strings.ContainsAny(got, "\r\n") || len(splitOutsideQuotes(strings.TrimPrefix(got, "Digest "))) != 6 {
		t.Errorf("%q", got)
	}
}

func TestREG13_EntityIsConveyedWhenAsked(t *testing.T) {
	id := Identity{IMPI: "alice@ims.example", Issuer: "https://waf.example"}
	if got := CoreAuthorization(id, domain, ""); strings.Contains(got, "waf") {
		t.Errorf("off: %s", got)
	}
	if got := CoreAuthorization(id, domain, "authorization-entity"); !strings.HasSuffix(got, `, authorization-entity="https://waf.example"`) {
		t.Errorf("on: %s", got)
	}
}

func TestREG10_R8898_StripKeepsDigestAndNothingOfTrust(t *testing.T) {
	cases := map[string]string{ // "": the whole field goes
		"Bearer abc":                   "",
		"bearer":                       "",
		`BEARER access_token="x"`:      "",
		`Digest a="b", Bearer abc`:     "",
		`Digest a="b", access_token=c`: "",
		`Digest username="alice", nonce="Bearer abc, bearer x", response="1"`:   `Digest username="alice", nonce="Bearer abc, bearer x", response="1"`,
		`Digest username="alice", integrity-protected="auth-done", response=""`: `Digest username="alice", response=""`,
		`Digest integrity-protected=yes`:                                        `Digest `,
		"Digest\tIntegrity-Protected = tls-yes ,nonce=\"a,b\"":                  `Digest nonce="a,b"`,
		`Digest username="a\", integrity-protected=yes, realm="b"`:              "", // two ways to read it
		`Digest username="x`: `Digest username="x`,
		`Digest username="alice", uri="sip:x", realm="integrity-protected", response="1"`: "",
	}
	for value, want := range cases {
		m := headers.Msg{Method: "REGISTER"}
		m.Add("Subject", value) // not credentials: not ours to touch
		m.Add("Authorization", value)
		Strip(&m)
		if got := m.Get("Authorization"); got != want || m.Has("Authorization") != (want != "") || m.Get("Subject") != value {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func TestREG12_ExpiresIsCutToTheToken(t *testing.T) {
	cases := []struct {
		expires, contact       string // "-": no field
		limit                  time.Duration
		wantExpires, wantParam string
	}{
		{"600", "<sip:a@b>", 100 * time.Second, "100", ""},
		{"60", "<sip:a@b>", 100 * time.Second, "60", ""},
		{"-", "<sip:a@b>", 100 * time.Second, "100", ""},
		{"0", "<sip:a@b>", 100 * time.Second, "0", ""},
		{"0", "*", 100 * time.Second, "0", ""},
		{"600", "<sip:a@b>;expires=0", 100 * time.Second, "100", "0"},
		{"60", "<sip:a@b>;expires=3600;+sip.instance=\"<urn:uuid:1>\"", 100 * time.Second, "60", "100"},
		{"60", "<sip:a@b>;expires=99999999999", 100 * time.Second, "60", "100"},
		{"60", "<sip:a@b>;expires=soon", 100 * time.Second, "60", "100"},
		{"600", "<sip:a@b>", 1900 * time.Millisecond, "1", ""},
		{"600", "<sip:a@b>", time.Millisecond, "1", ""},
	}
	for _, c := range cases {
		m := headers.Msg{Method: "REGISTER"}
		if c.expires != "-" {
			m.Add("Expires", c.expires)
		}
		m.Add("Contact", c.contact)
		CapExpires(&m, c.limit)
		if got := m.Get("Expires"); got != c.wantExpires {
			t.Errorf("%+v: Expires %q", c, got)
		}
		if c.contact == "*" {
			continue
		}
		a, err := headers.ParseAddress(m.Get("Contact"))
		if err != nil || a.Params.Value("expires") != c.wantParam || a.Params.Has("+sip.instance") != strings.Contains(c.contact, "instance") {
			t.Errorf("%+v: Contact %q", c, m.Get("Contact"))
		}
	}
}
