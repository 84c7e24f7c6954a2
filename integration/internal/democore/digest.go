package democore

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// nonceLife is how long a nonce is good for; afterwards the client is told it is stale.
const nonceLife = 5 * time.Minute

// maxNonces bounds the memory for nonce counts; beyond it the oldest half is forgotten, whose users
// are then asked once more.
const maxNonces = 4096

// verdict is the outcome of checking credentials.
type verdict int

const (
	authMissing verdict = iota // none, or for another realm
	authStale                  // right, but the nonce is too old or reused
	authWrong                  // wrong password, unknown user, malformed
	authGood
)

// authenticator is the server side of digest (RFC 8760, RFC 7616). It keeps a nonce count per nonce in
// use, nothing for a challenge that is never answered: a nonce is its issue time under an HMAC.
type authenticator struct {
	realm   string
	algos   []string // offered, in order of preference
	users   map[string]string
	trusted netip.Addr // whose word for users is taken; invalid: nobody's
	secret  [32]byte

	mu     sync.Mutex // guards counts
	counts map[string]nonceUse
}

type nonceUse struct {
	count int
	first time.Time
}

func newAuthenticator(cfg *Config) *authenticator {
	a := &authenticator{realm: cfg.Domain, users: map[string]string{}, counts: map[string]nonceUse{}}
	a.trusted, _ = netip.ParseAddr(cfg.Trusted) // checked by Check
	rand.Read(a.secret[:])
	for _, u := range cfg.Users {
		a.users[u.Name] = u.Password
	}
	if cfg.Digest != "md5" {
		a.algos = append(a.algos, "SHA-256")
	}
	if cfg.Digest != "sha256" {
		a.algos = append(a.algos, "MD5")
	}
	return a
}

// challenges makes the header fields of a 401 (WWW-Authenticate) or 407 (Proxy-Authenticate).
func (a *authenticator) challenges(header string, stale bool, now time.Time) []sip.Header {
	var hs []sip.Header
	for _, alg := range a.algos {
		v := fmt.Sprintf("Digest realm=%q, nonce=%q, algorithm=%s, qop=\"auth\"", a.realm, a.nonce(now), alg)
		if stale {
			v += ", stale=true"
		}
		hs = append(hs, sip.NewHeader(header, v))
	}
	return hs
}

func (a *authenticator) nonce(now time.Time) string {
	b := make([]byte, 16, 16+16)
	binary.BigEndian.PutUint64(b, uint64(now.UnixNano()))
	rand.Read(b[8:])
	return base64.RawURLEncoding.EncodeToString(append(b, a.mac(b)...))
}

func (a *authenticator) mac(b []byte) []byte {
	m := hmac.New(sha256.New, a.secret[:])
	m.Write(b)
	return m.Sum(nil)[:16]
}

// issued gives the time a nonce of ours was made.
func (a *authenticator) issued(nonce string) (time.Time, bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 32 || !hmac.Equal(b[16:], a.mac(b[:16])) {
		return time.Time{}, false
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(b))), true
}

// check verifies the credentials in req's header and returns the user's name when good.
func (a *authenticator) check(req *sip.Request, header string, now time.Time) (string, verdict) {
	for _, h := range req.GetHeaders(header) {
		c, err := digest.ParseCredentials(h.Value())
		if err != nil {
			return "", authWrong
		}
		if c.Realm == a.realm {
			return a.verify(c, string(req.Method), now)
		}
	}
	return "", authMissing
}

// vouched takes the word of the trusted P-CSCF for a user it has authenticated itself (TS 33.203 annex U, Trusted Node Authentication).
// authMissing: there is no such word; authWrong: it is not from where such words are taken, or of nobody we know.
func (a *authenticator) vouched(req *sip.Request, from netip.Addr) (string, verdict) {
	for _, h := range req.GetHeaders("Authorization") {
		if !strings.Contains(h.Value(), `integrity-protected="auth-done"`) {
			continue
		}
		name := quotedParam(h.Value(), "username")
		user, ours := strings.CutSuffix(name, "@"+a.realm)
		if _, known := a.users[user]; !known || !ours || !a.trusted.IsValid() || from.Unmap() != a.trusted {
			return "", authWrong
		}
		return user, authGood
	}
	return "", authMissing
}

// quotedParam is the value of name="value" in credentials.
func quotedParam(credentials, name string) string {
	_, rest, _ := strings.Cut(credentials, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func (a *authenticator) verify(c *digest.Credentials, method string, now time.Time) (string, verdict) {
	user := strings.TrimSuffix(c.Username, "@"+a.realm)
	password, known := a.users[user]
	made, ours := a.issued(c.Nonce)
	want, ok := expected(c, method, password)
	right := subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(c.Response))) == 1
	switch {
	case !known || !ok || !right || !a.offers(c.Algorithm):
		return "", authWrong
	case !ours || now.Sub(made) > nonceLife || !a.count(c.Nonce, c.Nc, now):
		return "", authStale
	}
	return user, authGood
}

func (a *authenticator) offers(alg string) bool {
	if alg == "" {
		alg = "MD5"
	}
	for _, o := range a.algos {
		if strings.EqualFold(o, alg) {
			return true
		}
	}
	return false
}

// count accepts each nonce count once and only upwards (RFC 7616 §3.4).
func (a *authenticator) count(nonce string, nc int, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	u, seen := a.counts[nonce]
	if seen && nc <= u.count {
		return false
	}
	if !seen {
		u.first = now
		a.pruneLocked(now)
	}
	u.count = nc
	a.counts[nonce] = u
	return true
}

func (a *authenticator) pruneLocked(now time.Time) {
	for limit := nonceLife; len(a.counts) >= maxNonces; limit /= 2 {
		for n, u := range a.counts {
			if now.Sub(u.first) >= limit {
				delete(a.counts, n)
			}
		}
	}
}

// expected computes the response (RFC 7616 §3.4.1), with qop=auth only.
func expected(c *digest.Credentials, method, password string) (string, bool) {
	var h func(string) string
	switch strings.ToUpper(c.Algorithm) {
	case "", "MD5":
		h = func(s string) string { d := md5.Sum([]byte(s)); return hex.EncodeToString(d[:]) }
	case "SHA-256":
		h = func(s string) string { d := sha256.Sum256([]byte(s)); return hex.EncodeToString(d[:]) }
	default:
		return "", false
	}
	if c.QOP != "auth" || c.Cnonce == "" || c.Nc < 1 {
		return "", false
	}
	ha1 := h(c.Username + ":" + c.Realm + ":" + password)
	ha2 := h(method + ":" + c.URI)
	return h(fmt.Sprintf("%s:%s:%08x:%s:auth:%s", ha1, c.Nonce, c.Nc, c.Cnonce, ha2)), true
}
