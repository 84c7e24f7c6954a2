package auth

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Challenge is what a 401 tells a browser about the tokens it may bring (RFC 8898 §4).
type Challenge struct {
	Realm       string   // protection domain, never empty
	Scopes      []string // scopes a token needs; none: no parameter
	AuthzServer string   // https URL of the authorization server; "": no parameter
}

// Value returns the WWW-Authenticate value for the reason, with its error parameter when it has one.
func (c Challenge) Value(r Reason) string {
	v := scheme + " realm=" + headers.Quote(c.Realm)
	if len(c.Scopes) > 0 {
		v += ", scope=" + headers.Quote(strings.Join(c.Scopes, " "))
	}
	if c.AuthzServer != "" {
		v += ", authz_server=" + headers.Quote(c.AuthzServer)
	}
	if r < reasons && table[r].oauth != "" {
		v += ", error=" + headers.Quote(table[r].oauth)
	}
	return v
}

// CoreAuthorization is the Authorization value of a REGISTER towards the core that says that we have authenticated the user:
// Trusted Node Authentication (REG-07; TS 33.203 annex U, TS 24.229 §5.2.2). domain is the home domain. entityParam, when not
// empty, adds the issuer of the token under that name (REG-13). Nothing of the token is in it.
func CoreAuthorization(id Identity, domain, entityParam string) string {
	v := "Digest username=" + headers.Quote(id.IMPI) + ", realm=" + headers.Quote(domain) + ", uri=" + headers.Quote("sip:"+domain) +
		`, nonce="", response="", integrity-protected="auth-done"`
	if entityParam != "" && id.Issuer != "" {
		v += ", " + entityParam + "=" + headers.Quote(id.Issuer)
	}
	return v
}

// credentials are the header fields in which a token can stand.
var credentials = []string{"Authorization", "Proxy-Authorization"}

// Strip takes out of a request of a browser what must never reach the core: Bearer credentials in any form, well-formed or not
// (REG-10, R8898), and the integrity-protected parameter of Digest credentials, by which only a P-CSCF speaks (TS 24.229
// §7.2A.2): a browser that sent "auth-done" itself would not be challenged.
func Strip(m *headers.Msg) {
	m.Fields = slices.DeleteFunc(m.Fields, func(f headers.Field) bool {
		return isCredentials(f.Name) && (mentions(f.Value, "bearer") || mentions(f.Value, "access_token") || withoutIntegrity(f.Value) == "")
	})
	for i := range m.Fields {
		if isCredentials(m.Fields[i].Name) {
			m.Fields[i].Value = withoutIntegrity(m.Fields[i].Value)
		}
	}
}

func isCredentials(name string) bool {
	return slices.ContainsFunc(credentials, func(c string) bool { return strings.EqualFold(c, name) })
}

// mentions finds word outside quoted strings, at the start of a parameter or of further credentials behind a comma.
func mentions(value, word string) bool {
	for _, p := range splitOutsideQuotes(value) {
		if len(p) >= len(word) && strings.EqualFold(p[:len(word)], word) && (len(p) == len(word) || strings.IndexByte(" \t=", p[len(word)]) >= 0) {
			return true
		}
	}
	return false
}

// withoutIntegrity removes integrity-protected from Digest credentials.
func withoutIntegrity(value string) string { return without(value, integrityProtected) }

const integrityProtected = "integrity-protected"

// without removes a parameter from Digest credentials or a challenge; the rest stays as it was on the wire. It returns "" when the name
// may still be there, inside or behind a quoted-string: a parser that reads quotes otherwise might find it.
func without(value, param string) string {
	if !strings.Contains(strings.ToLower(value), param) {
		return value
	}
	value = strings.Trim(value, " \t")
	n := strings.IndexAny(value, " \t")
	if n < 0 {
		return ""
	}
	kept := slices.DeleteFunc(splitOutsideQuotes(value[n:]), func(p string) bool { return isParam(p, param) })
	if out := value[:n] + " " + strings.Join(kept, ", "); !strings.Contains(strings.ToLower(out), param) {
		return out
	}
	return ""
}

// isParam reports whether p is the parameter of the name.
func isParam(p, name string) bool {
	n, _, _ := strings.Cut(p, "=")
	return strings.EqualFold(strings.Trim(n, " \t"), name)
}

// KeepKeys takes the cipher and integrity keys of an IMS AKA challenge out of a response: they are for the P-CSCF alone, and over TLS
// for nobody (TS 24.229 §5.2.2.1, TS 33.203 §6.1.1).
func KeepKeys(m *headers.Msg) {
	for i := range m.Fields {
		f := &m.Fields[i]
		if !strings.EqualFold(f.Name, "WWW-Authenticate") && !strings.EqualFold(f.Name, "Proxy-Authenticate") {
			continue
		}
		scheme, rest, ok := strings.Cut(strings.Trim(f.Value, " \t"), " ")
		if !ok {
			continue
		}
		parts := splitOutsideQuotes(rest)
		kept := slices.DeleteFunc(slices.Clone(parts), func(p string) bool { return isParam(p, "ck") || isParam(p, "ik") })
		if len(kept) != len(parts) {
			f.Value = scheme + " " + strings.Join(kept, ", ")
		}
	}
}

// splitOutsideQuotes splits at commas outside quoted strings and trims the parts. An unclosed quoted-string ends with the text.
func splitOutsideQuotes(s string) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			n := headers.QuotedEnd(s[i:])
			if n < 0 {
				i = len(s)
				continue
			}
			i += n - 1
		case ',':
			out = append(out, strings.Trim(s[start:i], " \t"))
			start = i + 1
		}
	}
	return append(out, strings.Trim(s[start:], " \t"))
}

// CapExpires lowers the lifetime that a REGISTER asks for to limit (REG-12): Expires and every expires parameter of a
// Contact above it, and a REGISTER that names none gets limit. 0, a de-registration, stays. limit is rounded down to
// seconds; below one second it is one.
func CapExpires(m *headers.Msg, limit time.Duration) {
	secs := max(1, uint64(limit/time.Second))
	secs = min(secs, 1<<32-1)
	text := strconv.FormatUint(secs, 10)
	if v, ok := headers.Expires(m); !ok || uint64(v) > secs {
		m.Set("Expires", text)
	}
	contacts := headers.List(m, "Contact")
	changed := false
	for i, c := range contacts {
		a, err := headers.ParseAddress(c)
		if err != nil || !a.Params.Has("expires") {
			continue
		}
		if uint64(headers.ContactExpires(&headers.Msg{}, a, 1<<32-1)) > secs {
			a.Params.Set("expires", text)
			contacts[i], changed = a.String(), true
		}
	}
	if changed {
		headers.SetList(m, "Contact", contacts)
	}
}
