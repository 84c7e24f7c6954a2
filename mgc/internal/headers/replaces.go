package headers

import (
	"net/url"
	"strings"
)

// Replaces names the dialog that an INVITE takes the place of (RFC 3891 §6.1). Tags are seen from who receives the field:
// ToTag is its own tag of the dialog, FromTag that of its peer.
type Replaces struct {
	CallID    string
	ToTag     string
	FromTag   string
	EarlyOnly bool
}

// ParseReplaces parses the value of a Replaces field.
func ParseReplaces(s string) (Replaces, error) {
	id, rest, _ := strings.Cut(s, ";")
	p, err := ParseParams(";" + rest)
	if err != nil {
		return Replaces{}, err
	}
	r := Replaces{CallID: trim(id), ToTag: p.Value("to-tag"), FromTag: p.Value("from-tag"), EarlyOnly: p.Has("early-only")}
	if r.CallID == "" || strings.ContainsAny(r.CallID, " \t") || r.ToTag == "" || r.FromTag == "" {
		return Replaces{}, syntax("Replaces", s)
	}
	return r, nil
}

// String returns the value as on the wire.
func (r Replaces) String() string {
	s := r.CallID + ";to-tag=" + r.ToTag + ";from-tag=" + r.FromTag
	if r.EarlyOnly {
		s += ";early-only"
	}
	return s
}

// ReplacesIn returns the Replaces header of a URI, as a Refer-To carries it in an attended transfer (RFC 3891 §6.1,
// RFC 5589 §7), and the URI without any headers. Absent: ok is false and bare is the URI without headers all the same.
func ReplacesIn(u URI) (r Replaces, bare URI, ok bool) {
	bare = u
	bare.Headers = ""
	for pair := range strings.SplitSeq(u.Headers, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(name, "Replaces") {
			continue
		}
		text, err := url.PathUnescape(value) // hname and hvalue escape with %XX; "+" is no space there (RFC 3261 §25.1)
		if err != nil {
			return Replaces{}, bare, false
		}
		r, err := ParseReplaces(text)
		return r, bare, err == nil
	}
	return Replaces{}, bare, false
}

// WithReplaces returns the URI with r as its only header.
func WithReplaces(u URI, r Replaces) URI {
	u.Headers = "Replaces=" + escapeHeader(r.String())
	return u
}

// escapeHeader escapes all but unreserved characters (RFC 3261 §25.1: hnv-unreserved is left out, escaping it is allowed).
func escapeHeader(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-_.!~*'()", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}
