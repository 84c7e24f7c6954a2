package auth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

func TestREG06_R8898_BothSpellings(t *testing.T) {
	long := strings.Repeat("a", 300)
	cases := []struct {
		value string
		token string
		ok    bool
		err   error
	}{
		{"Bearer abc.DEF-_~+/123==", "abc.DEF-_~+/123==", true, nil},
		{"bearer\t abc ", "abc", true, nil},
		{"BEARER abc", "abc", true, nil},
		{`Bearer access_token="abc.def"`, "abc.def", true, nil},
		{`Bearer ACCESS_TOKEN = "abc"`, "abc", true, nil},
		{`Bearer access_token=abc`, "abc", true, nil},
		{`Bearer realm="a,\"b", access_token="abc", x=y`, "abc", true, nil},
		{`Bearer access_token="abc==",realm="x"`, "abc==", true, nil},
		{"Bearer realm=", "realm=", true, nil}, // a token68, whatever it looks like
		{`Digest username="alice", nonce="Bearer abc"`, "", false, nil},
		{"Bearerx abc", "", false, nil},
		{"", "", false, nil},
		{"Bearer", "", true, BadSyntax},
		{"Bearer ", "", true, BadSyntax},
		{"Bearer =", "", true, BadSyntax},
		{"Bearer access_token=", "", true, BadSyntax},
		{`Bearer access_token=""`, "", true, BadSyntax},
		{`Bearer access_token="a b"`, "", true, BadSyntax},
		{`Bearer access_token="a\"b"`, "", true, BadSyntax},
		{`Bearer access_token="abc`, "", true, BadSyntax},
		{`Bearer access_token="abc",`, "", true, BadSyntax},
		{`Bearer access_token="abc" realm="x"`, "", true, BadSyntax},
		{`Bearer access_token="abc", access_token="def"`, "", true, BadSyntax},
		{`Bearer ,access_token="abc"`, "", true, BadSyntax},
		{`Bearer realm="x"`, "", true, BadSyntax},
		{`Bearer a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,access_token="abc"`, "", true, BadSyntax},
		{"Bearer abc def", "", true, BadSyntax},
		{"Bearer abc,Bearer def", "", true, BadSyntax},
		{"Bearer a=b=", "", true, BadSyntax},
		{"Bearer caf\xc3\xa9", "", true, BadSyntax},
		{"Bearer " + long, "", true, Malformed},
		{`Bearer access_token="` + long + `"`, "", true, Malformed},
		{"Bearer " + strings.Repeat("a", 1<<16), "", true, Malformed},
		{`Bearer realm="` + strings.Repeat("a", 2000) + `", access_token="abc"`, "", true, Malformed},
	}
	for _, c := range cases {
		token, ok, err := ParseBearer(c.value, 256)
		if token != c.token || ok != c.ok || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%.60q: %q %v %v, want %q %v %v", c.value, token, ok, err, c.token, c.ok, c.err)
		}
	}
}

func TestR8898_OneBearerOfManyCredentials(t *testing.T) {
	m := headers.Msg{Method: "REGISTER"}
	m.Add("Authorization", `Digest username="alice"`)
	m.Add("Authorization", "Bearer abc")
	if token, err := FromRequest(&m, 100); token != "abc" || err != nil {
		t.Errorf("%q %v", token, err)
	}
	m.Add("authorization", "Bearer abc")
	if _, err := FromRequest(&m, 100); !errors.Is(err, BadSyntax) {
		t.Errorf("two tokens: %v", err)
	}
	m = headers.Msg{Method: "REGISTER"}
	if token, err := FromRequest(&m, 100); token != "" || err != nil {
		t.Errorf("none: %q %v", token, err)
	}
}

func TestREG06_TokenOfTheUpgrade(t *testing.T) {
	all := UpgradeConfig{Subprotocol: "access_token.", Cookie: "wic", Query: "access_token"}
	request := func(protocol, cookie, query string) *http.Request {
		r := &http.Request{Header: http.Header{}, URL: &url.URL{Path: "/sip", RawQuery: query}}
		if protocol != "" {
			r.Header.Add("Sec-WebSocket-Protocol", protocol)
		}
		if cookie != "" {
			r.Header.Add("Cookie", cookie)
		}
		return r
	}
	cases := []struct {
		name string
		r    *http.Request
		cfg  UpgradeConfig
		want string
		err  error
	}{
		{"subprotocol", request("sip, access_token.abc.def", "", ""), all, "abc.def", nil},
		{"cookie", request("sip", "x=1; wic=abc", ""), all, "abc", nil},
		{"query", request("sip", "", "access_token=abc%3D"), all, "abc=", nil},
		{"the same twice", request("sip, access_token.abc", "wic=abc", ""), all, "abc", nil},
		{"none", request("sip", "", ""), all, "", nil},
		{"all places closed", request("sip, access_token.abc", "wic=abc", "access_token=abc"), UpgradeConfig{}, "", nil},
		{"two different", request("sip, access_token.abc", "wic=def", ""), all, "", BadSyntax},
		{"empty", request("sip, access_token.", "", ""), all, "", BadSyntax},
		{"not a token", request("sip", "", "access_token=a%20b"), all, "", BadSyntax},
		{"too long", request("sip", "wic="+strings.Repeat("a", 300), ""), all, "", Malformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, err := FromUpgrade(c.r, c.cfg, 256); got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q %v, want %q %v", got, err, c.want, c.err)
			}
		})
	}
}

// FuzzParseBearer: whatever is accepted is a bounded token68, and written out again in both spellings it is read back the same.
func FuzzParseBearer(f *testing.F) {
	for _, s := range []string{"Bearer abc==", `Bearer access_token="abc"`, `bearer realm="\"", access_token=abc`, "Bearer access_token=", "Digest x=y", "Bearer a,b", "Bearer \""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, ok, err := ParseBearer(value, 64)
		if err != nil || !ok {
			if token != "" {
				t.Fatalf("a token in spite of %v", err)
			}
			return
		}
		if !isToken68(token) || len(token) > 64 {
			t.Fatalf("accepted %q", token)
		}
		for _, again := range []string{"Bearer " + token, `Bearer access_token="` + token + `"`} {
			if back, _, err := ParseBearer(again, 64); back != token && !strings.EqualFold(token, "access_token=") || err != nil && !strings.EqualFold(token, "access_token=") {
				t.Fatalf("%q read back as %q: %v", token, back, err)
			}
		}
	})
}

// FuzzStrip: after Strip no header of credentials holds a Bearer token, nor a word of trust, whatever the browser wrote.
func FuzzStrip(f *testing.F) {
	for _, s := range []string{"Bearer abc", `Digest username="a", integrity-protected="auth-done"`, `Digest a="x, integrity-protected=yes`, "Digest a=b, Bearer c",
		"bearer", `Digest INTEGRITY-protected = "yes",b="c"`, "Digest\tintegrity-protected=yes"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		m := headers.Msg{Method: "REGISTER"}
		m.Add("Authorization", value)
		m.Add("proxy-authorization", value)
		Strip(&m)
		for _, fd := range m.Fields {
			if _, ok, _ := ParseBearer(fd.Value, 1<<20); ok {
				t.Fatalf("Bearer left in %q", fd.Value)
			}
			if strings.Contains(strings.ToLower(fd.Value), "integrity-protected") {
				t.Fatalf("integrity-protected left in %q", fd.Value)
			}
		}
	})
}
