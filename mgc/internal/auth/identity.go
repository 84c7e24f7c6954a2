package auth

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Identity is who a token stands for. A plain value; its slices are never changed in place.
type Identity struct {
	Issuer  string // iss, as configured
	Subject string // sub
	IMPI    string // private identity, user@domain; "" while a pooled one is not yet assigned
	// IMPUs are the public identities as canonical addresses of record, the first is the default one. Wildcards are those with a
	// regular expression between exclamation marks (TS 23.003 §13.5).
	IMPUs, Wildcards []string
	Expires          time.Time // end of the token; the registration must not outlive it (REG-12)
	Recheck          time.Time // until then the verdict may be used again without asking the issuer; not after Expires
	Pooled           bool      // the identity is one of a pool: one live binding each (REG-09)
}

// same reports whether both are the same user of the same issuer.
func (id *Identity) same(other *Identity) bool {
	return id.Issuer == other.Issuer && id.Subject == other.Subject
}

// Allows reports whether the identity may use the URI as its public identity (REG-08).
func (id *Identity) Allows(uri string) bool {
	aor := headers.AOR(uri)
	if aor == "" {
		return false
	}
	return slices.Contains(id.IMPUs, aor) || slices.ContainsFunc(id.Wildcards, func(w string) bool {
		re, err := wildcard(w)
		return err == nil && re.MatchString(aor)
	})
}

const (
	maxIMPUs    = 32  // public identities of one token
	maxValue    = 255 // bytes of one claim value that becomes part of an identity
	maxWildcard = 64  // bytes of a wildcarded identity's expression
)

// mapper makes identities from claims by an issuer's configuration. Immutable.
type mapper struct {
	impi     template
	impus    []template
	domains  []string // lower case
	tel      []string
	wildcard bool
	pooled   string // claim that marks a pooled identity; "": none
	assign   bool   // the identity comes from our own pool, not from claims
}

func newMapper(c MappingConfig, domain string) (*mapper, error) {
	m := &mapper{tel: c.TelPrefixes, wildcard: c.Wildcard, pooled: c.PooledClaim, assign: c.Pool}
	for _, d := range c.Domains {
		m.domains = append(m.domains, strings.ToLower(d))
	}
	if len(m.domains) == 0 {
		m.domains = []string{strings.ToLower(domain)}
	}
	impi, impus := c.IMPI, c.IMPUs
	if impi == "" {
		impi = "{sub}@" + domain
	}
	if len(impus) == 0 {
		impus = []string{"sip:{sub}@" + domain}
	}
	var err error
	if m.impi, err = parseTemplate(impi); err != nil {
		return nil, fmt.Errorf("mapping.impi: %w", err)
	}
	for _, s := range impus {
		t, err := parseTemplate(s)
		if err != nil {
			return nil, fmt.Errorf("mapping.impus: %w", err)
		}
		m.impus = append(m.impus, t)
	}
	return m, nil
}

// identity fills in IMPI, IMPUs and Wildcards (REG-08). What is malformed or of a foreign domain is left out; NoIdentity when
// nothing is left.
func (m *mapper) identity(id *Identity, claims map[string]any) error {
	if m.assign {
		id.Pooled = true
		return nil
	}
	for _, v := range m.impi.expand(claims) {
		if aor := m.public("sip:" + v); id.IMPI == "" && aor != "" {
			id.IMPI = strings.TrimPrefix(aor, "sip:")
		}
	}
	for _, t := range m.impus {
		for _, v := range t.expand(claims) {
			if m.wildcard && m.isWildcard(v) {
				id.Wildcards = append(id.Wildcards, v)
			} else if aor := m.public(v); aor != "" && !slices.Contains(id.IMPUs, aor) {
				id.IMPUs = append(id.IMPUs, aor)
			}
			if len(id.IMPUs)+len(id.Wildcards) > maxIMPUs {
				return NoIdentity
			}
		}
	}
	id.Pooled = m.pooled != "" && claims[m.pooled] != nil && claims[m.pooled] != false
	if id.IMPI == "" || len(id.IMPUs)+len(id.Wildcards) == 0 {
		return NoIdentity
	}
	return nil
}

// public returns the canonical form of a sip, sips or tel URI that may be an identity here, "" for every other.
func (m *mapper) public(s string) string {
	u, err := headers.ParseURI(s)
	if err != nil || len(s) > 2*maxValue {
		return ""
	}
	aor := u.AOR()
	switch {
	case u.Scheme == "tel":
		if number := strings.TrimPrefix(aor, "tel:"); isE164(number) && slices.ContainsFunc(m.tel, func(p string) bool { return strings.HasPrefix(number, p) }) {
			return aor
		}
		return ""
	case !u.IsSIP() || u.User == "" || u.Password != "" || u.Headers != "" || u.Port != 0:
		return ""
	case !slices.Contains(m.domains, strings.ToLower(u.Host)):
		return ""
	}
	return aor
}

// isE164 checks a global number: "+" and 3 to 15 digits.
func isE164(s string) bool {
	digits, ok := strings.CutPrefix(s, "+")
	return ok && len(digits) >= 3 && len(digits) <= 15 && strings.Trim(digits, "0123456789") == ""
}

// isWildcard accepts sip:prefix!expression!suffix@domain of our domains.
func (m *mapper) isWildcard(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 0 || !slices.Contains(m.domains, strings.ToLower(s[at+1:])) {
		return false
	}
	_, err := wildcard(s)
	return err == nil
}

// wildcard compiles a wildcarded public identity (TS 23.003 §13.5). The expression cannot reach beyond the user part.
func wildcard(s string) (*regexp.Regexp, error) {
	rest, ok := strings.CutPrefix(s, "sip:")
	at := strings.LastIndexByte(rest, '@')
	if !ok || at < 0 || len(s) > 2*maxValue {
		return nil, NoIdentity
	}
	user, host := rest[:at], rest[at+1:]
	first, last := strings.IndexByte(user, '!'), strings.LastIndexByte(user, '!')
	if first == last || last-first-1 > maxWildcard {
		return nil, NoIdentity
	}
	if _, err := regexp.Compile(user[first+1 : last]); err != nil { // alone first: "a)|(b" must not close our group
		return nil, NoIdentity
	}
	return regexp.Compile("^sip:" + regexp.QuoteMeta(user[:first]) + "(?:" + user[first+1:last] + ")" + regexp.QuoteMeta(user[last+1:]+"@"+strings.ToLower(host)) + `\z`)
}

// template is an identity with claims in braces: "sip:{sub}@ims.example", "tel:{phone_number}", "{impus}".
type template struct {
	parts []part
	host  bool // has a literal @: references before it are users, behind it hosts
}

// part is literal text or a reference to a claim.
type part struct {
	text, claim string
	inHost      bool
}

// parseTemplate checks the braces; a template without a reference would give every user the same identity and is refused.
func parseTemplate(s string) (template, error) {
	var t template
	refs := 0
	for rest := s; rest != ""; {
		text, more, open := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return t, fmt.Errorf("%q: } without {", s)
		}
		if text != "" {
			t.host = t.host || strings.Contains(text, "@")
			t.parts = append(t.parts, part{text: text})
		}
		if !open {
			break
		}
		claim, tail, closed := strings.Cut(more, "}")
		if !closed || claim == "" || strings.Contains(claim, "{") {
			return t, fmt.Errorf("%q: { without a claim name and }", s)
		}
		t.parts = append(t.parts, part{claim: claim, inHost: t.host})
		rest = tail
		refs++
	}
	if refs == 0 {
		return t, fmt.Errorf("%q: names no claim in braces", s)
	}
	return t, nil
}

// whole reports whether the template is one reference and nothing else: the claim then holds complete identities.
func (t template) whole() bool { return len(t.parts) == 1 }

// expand returns what the template gives: nothing when a claim is missing or unfit, several when the only reference is a list.
func (t template) expand(claims map[string]any) []string {
	refs := 0
	for _, p := range t.parts {
		if p.claim != "" {
			refs++
		}
	}
	out := []string{""}
	for _, p := range t.parts {
		if p.claim == "" {
			for i := range out {
				out[i] += p.text
			}
			continue
		}
		values := claimValues(claims, p.claim)
		if len(values) == 0 || len(values) > maxIMPUs || len(values) > 1 && refs > 1 {
			return nil
		}
		next := make([]string, 0, len(values))
		for _, v := range values {
			if v, ok := t.fit(p, v); ok {
				next = append(next, out[0]+v)
			}
		}
		if out = next; len(out) == 0 {
			return nil
		}
	}
	return out
}

// fit makes a claim's value safe for its place, so that a user name cannot become another host.
func (t template) fit(p part, v string) (string, bool) {
	switch {
	case t.whole():
		return v, true
	case p.inHost:
		return v, isHostText(v)
	case t.host:
		return escapeUser(v), true
	case strings.HasPrefix(t.parts[0].text, "tel:"):
		return v, strings.Trim(v, "+0123456789-.() ") == ""
	}
	// No @ of our own, like "sip:{email}": the value brings user and host.
	user, host, ok := strings.Cut(v, "@")
	return escapeUser(user) + "@" + host, ok && user != "" && isHostText(host)
}

func isHostText(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '-' && c != '.' {
			return false
		}
	}
	return s != ""
}

// escapeUser escapes everything but unreserved characters; AOR then undoes what needs no escape.
func escapeUser(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || strings.IndexByte("-_.!~*'()", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// claimValues returns the text values of a claim: a string, a whole number, or a list of strings. A name with a leading
// slash is a path into nested objects: "/ims/impu". Unfit values are left out.
func claimValues(claims map[string]any, name string) []string {
	var v any = claims
	path := []string{name}
	if strings.HasPrefix(name, "/") {
		path = strings.Split(name[1:], "/")
	}
	for _, step := range path {
		object, _ := v.(map[string]any)
		v = object[step]
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	var out []string
	for _, e := range list {
		s := ""
		switch e := e.(type) {
		case string:
			s = e
		case json.Number:
			if s = e.String(); strings.Trim(s, "0123456789") != "" {
				s = ""
			}
		}
		if s != "" && len(s) <= maxValue && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' && r != ' ' || r == 0x7f || r == 0xfffd }) {
			out = append(out, s)
		}
	}
	return out
}

// isLoopback reports whether the host of a URL is this machine by its spelling.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
