package democore

import (
	"fmt"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// answerMD5 makes the Authorization (or, for a 407, Proxy-Authorization) that answers res.
func answerMD5(t *testing.T, res *sip.Response, user, password, method, uri string) sip.Header {
	t.Helper()
	in, out := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		in, out = "Proxy-Authenticate", "Proxy-Authorization"
	}
	chal, err := digest.ParseChallenge(res.GetHeader(in).Value())
	if err != nil {
		t.Fatal(err)
	}
	cred, err := digest.Digest(chal, digest.Options{Method: method, URI: uri, Username: user, Password: password, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	return sip.NewHeader(out, cred.String())
}

func credentials(t *testing.T, a *authenticator, now time.Time, user, password string, count int) *digest.Credentials {
	t.Helper()
	chal, err := digest.ParseChallenge(a.challenges("WWW-Authenticate", false, now)[0].Value())
	if err != nil {
		t.Fatal(err)
	}
	c, err := digest.Digest(chal, digest.Options{Method: "REGISTER", URI: "sip:d", Username: user, Password: password, Count: count})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testAuth(alg string) *authenticator {
	return newAuthenticator(&Config{Domain: "d", Digest: alg, Users: []User{{"u", "p"}}})
}

func TestDigestVerdicts(t *testing.T) {
	now := time.Now()
	for _, alg := range []string{"md5", "sha256"} {
		a := testAuth(alg)
		good := credentials(t, a, now, "u", "p", 1)
		changed := func(f func(*digest.Credentials)) *digest.Credentials { c := *good; f(&c); return &c }
		for _, c := range []struct {
			name string
			cred *digest.Credentials
			at   time.Time
			want verdict
		}{
			{"good", good, now, authGood},
			{"same count again", good, now, authStale},
			{"user with domain", credentials(t, a, now, "u@d", "p", 1), now, authGood},
			{"late", credentials(t, a, now, "u", "p", 1), now.Add(nonceLife + time.Second), authStale},
			{"wrong password", credentials(t, a, now, "u", "x", 1), now, authWrong},
			{"unknown user", credentials(t, a, now, "v", "p", 1), now, authWrong},
			{"other method's response", changed(func(c *digest.Credentials) { c.URI = "sip:e" }), now, authWrong},
			{"other nonce", changed(func(c *digest.Credentials) { c.Nonce = "AAAA" }), now, authWrong},
			{"algorithm not offered", changed(func(c *digest.Credentials) { c.Algorithm = "SHA-512-256" }), now, authWrong},
			{"no qop", changed(func(c *digest.Credentials) { c.QOP = "" }), now, authWrong},
		} {
			if _, got := a.verify(c.cred, "REGISTER", c.at); got != c.want {
				t.Errorf("%s, %s: verdict %d, want %d", alg, c.name, got, c.want)
			}
		}
	}
}

func TestDigestForeignNonceIsStaleNotGood(t *testing.T) {
	now := time.Now()
	c := credentials(t, testAuth("md5"), now, "u", "p", 1) // right password, nonce of another server
	if _, got := testAuth("md5").verify(c, "REGISTER", now); got != authStale {
		t.Errorf("verdict %d", got)
	}
}

func TestDigestDowngradeIsRefused(t *testing.T) {
	now := time.Now()
	a, md5 := testAuth("sha256"), testAuth("md5")
	md5.secret = a.secret
	if _, got := a.verify(credentials(t, md5, now, "u", "p", 1), "REGISTER", now); got != authWrong {
		t.Errorf("MD5 accepted where only SHA-256 is offered: verdict %d", got)
	}
}

func TestNonceCountsAreBounded(t *testing.T) {
	a := testAuth("md5")
	now := time.Now()
	for i := range 3 * maxNonces {
		a.count(fmt.Sprint(i), 1, now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(a.counts) > maxNonces {
		t.Errorf("%d nonces remembered", len(a.counts))
	}
}
