package headers

import (
	"net/netip"
	"strconv"
	"strings"
)

// URI is a parsed SIP or SIPS URI (RFC 3261 §19.1), or any other absolute URI with only Scheme and Opaque set.
type URI struct {
	Scheme   string // lower case: "sip", "sips", "tel", "urn", ...
	User     string // as on the wire, escapes kept; "" when absent
	Password string // as on the wire
	Host     string // name, IPv4 address, or IPv6 address without brackets; case kept
	Port     uint16 // 0: absent
	Params   Params // URI parameters
	Headers  string // what follows "?", as on the wire
	Opaque   string // not sip/sips: all that follows the colon
	hasPort  bool
}

// IsSIP reports whether the scheme is sip or sips.
func (u *URI) IsSIP() bool { return u.Scheme == "sip" || u.Scheme == "sips" }

// ParseURI parses an absolute URI without angle brackets. SIP and SIPS URIs are checked against RFC 3261 §25.1, with two
// liberties that the field needs: "#" in the user part and "_" in host names; others need a scheme and printable text.
func ParseURI(s string) (URI, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !isScheme(scheme) {
		return URI{}, syntax("URI scheme", s)
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' || c == '"' || c == '\\' || c == '^' || c == '{' || c == '}' || c == '|' {
			return URI{}, syntax("URI character", s[i:])
		}
	}
	u := URI{Scheme: strings.ToLower(scheme)}
	if !u.IsSIP() {
		if rest == "" {
			return URI{}, syntax("URI", s)
		}
		u.Opaque = rest
		return u, nil
	}
	return u, u.parseSIP(rest)
}

func (u *URI) parseSIP(rest string) error {
	if i := strings.IndexByte(rest, '@'); i >= 0 {
		if err := u.parseUserinfo(rest[:i]); err != nil {
			return err
		}
		rest = rest[i+1:]
		if strings.IndexByte(rest, '@') >= 0 {
			return syntax("URI user part", rest)
		}
	}
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		u.Headers = rest[i+1:]
		if u.Headers == "" || !validEscapes(u.Headers) {
			return syntax("URI headers", rest[i:])
		}
		rest = rest[:i]
	}
	hostport, params := rest, ""
	if i := strings.IndexByte(rest, ';'); i >= 0 {
		hostport, params = rest[:i], rest[i:]
	}
	var err error
	if u.Host, u.Port, u.hasPort, err = splitHostPort(hostport); err != nil {
		return err
	}
	u.Params, err = parseURIParams(params)
	return err
}

func (u *URI) parseUserinfo(s string) error {
	user, pass, _ := strings.Cut(s, ":")
	if user == "" || !validUserChars(user, "&=+$,;?/#") || !validUserChars(pass, "&=+$,;/:") {
		return syntax("URI user part", s)
	}
	u.User, u.Password = user, pass
	return nil
}

// maxURIParams bounds the parameters of one URI, and with them the cost of the search for repeated names.
const maxURIParams = 64

// parseURIParams parses uri-parameters: no white space and no quoting, unlike header parameters, and each name once
// (RFC 3261 §19.1.1).
func parseURIParams(s string) (Params, error) {
	var out Params
	for s != "" {
		one := s[1:]
		if i := strings.IndexByte(one, ';'); i >= 0 {
			one, s = one[:i], one[i:]
		} else {
			s = ""
		}
		name, value, _ := strings.Cut(one, "=")
		if name == "" || !validEscapes(one) || out.Has(name) || len(out) == maxURIParams {
			return nil, syntax("URI parameter", one)
		}
		out = append(out, Param{name, value})
	}
	return out, nil
}

// String returns the URI as on the wire.
func (u URI) String() string {
	var b strings.Builder
	b.WriteString(u.Scheme)
	b.WriteByte(':')
	if !u.IsSIP() {
		b.WriteString(u.Opaque)
		return b.String()
	}
	if u.User != "" {
		b.WriteString(u.User)
		if u.Password != "" {
			b.WriteByte(':')
			b.WriteString(u.Password)
		}
		b.WriteByte('@')
	}
	b.WriteString(HostPort(u.Host, u.Port))
	b.WriteString(u.Params.String())
	if u.Headers != "" {
		b.WriteByte('?')
		b.WriteString(u.Headers)
	}
	return b.String()
}

// HostPort joins a host and a port, with brackets around an IPv6 address and no port when it is 0.
func HostPort(host string, port uint16) string {
	if strings.IndexByte(host, ':') >= 0 {
		host = "[" + host + "]"
	}
	if port != 0 {
		host += ":" + strconv.Itoa(int(port))
	}
	return host
}

// splitHostPort parses host [":" port] (RFC 3261 §25.1 with the IPv6 correction of RFC 5954).
func splitHostPort(s string) (host string, port uint16, hasPort bool, err error) {
	rest := ""
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return "", 0, false, syntax("IPv6 reference", s)
		}
		// RFC 5118 §4.10: the grammar of RFC 3261 let ":::" slip in before an embedded IPv4 address; senders of it are understood.
		host = strings.Replace(s[1:i], ":::", "::", 1)
		if a, perr := netip.ParseAddr(host); perr != nil || !a.Is6() || a.Zone() != "" {
			return "", 0, false, syntax("IPv6 reference", s)
		}
		rest = s[i+1:]
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		host, rest = s[:i], s[i:]
		if !validHostname(host) {
			return "", 0, false, syntax("host", s)
		}
	}
	if rest == "" {
		return host, 0, false, nil
	}
	n, perr := strconv.ParseUint(strings.TrimPrefix(rest, ":"), 10, 16)
	if rest[0] != ':' || perr != nil || n == 0 || !isDigits(rest[1:]) {
		return "", 0, false, syntax("port", rest)
	}
	return host, uint16(n), true, nil
}

// validHostname accepts host names and IPv4 addresses; an all-numeric dotted name must be an IPv4 address.
func validHostname(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	numeric := true
	prevDot := true // an empty label is refused
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if prevDot {
				return false
			}
			prevDot = true
			continue
		case c >= '0' && c <= '9':
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_':
			numeric = false
		default:
			return false
		}
		prevDot = false
	}
	if numeric {
		_, err := netip.ParseAddr(s)
		return err == nil
	}
	return true
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		alpha := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alpha && (i == 0 || !(c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}

// validUserChars checks unreserved, escaped and the extra characters.
func validUserChars(s, extra string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
			i += 2
		case strings.IndexByte("-_.!~*'()", c) >= 0, strings.IndexByte(extra, c) >= 0:
		default:
			return false
		}
	}
	return true
}

func validEscapes(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])) {
			return false
		}
	}
	return true
}

// unescape resolves %HH; broken escapes stay.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			b.WriteByte(byte(n))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escapeUser escapes what may not stand in a user part.
func escapeUser(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c != '%' && validUserChars(s[i:i+1], "&=+$,;?/") {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
		}
	}
	return b.String()
}

// AOR returns the canonical address-of-record of a URI, the key under which bindings are kept (RFC 3261 §10.3 step 5):
// scheme, user with needless escapes resolved, lower-case host, port only when it is not the default; no password, no
// parameters, no headers. A tel URI keeps its digits without visual separators. "" when s is no URI.
func AOR(s string) string {
	u, err := ParseURI(s)
	if err != nil {
		return ""
	}
	return u.AOR()
}

// AOR is the method form of the function AOR.
func (u *URI) AOR() string {
	switch {
	case u.Scheme == "tel":
		num, _, _ := strings.Cut(u.Opaque, ";")
		if num = strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(num); num == "" {
			return ""
		}
		return "tel:" + num
	case !u.IsSIP():
		return u.Scheme + ":" + u.Opaque
	}
	out := u.Scheme + ":"
	if u.User != "" {
		out += escapeUser(unescape(u.User)) + "@"
	}
	port := u.Port
	if port == 5060 && u.Scheme == "sip" || port == 5061 && u.Scheme == "sips" {
		port = 0
	}
	return out + HostPort(strings.ToLower(u.Host), port)
}

// EqualURI compares two URIs by RFC 3261 §19.1.4; URIs of other schemes are compared as text. False when one is malformed.
func EqualURI(a, b string) bool {
	ua, errA := ParseURI(a)
	ub, errB := ParseURI(b)
	if errA != nil || errB != nil || ua.Scheme != ub.Scheme {
		return false
	}
	if !ua.IsSIP() {
		return ua.Opaque == ub.Opaque
	}
	if unescape(ua.User) != unescape(ub.User) || unescape(ua.Password) != unescape(ub.Password) {
		return false
	}
	if !strings.EqualFold(ua.Host, ub.Host) || ua.Port != ub.Port || ua.Headers != ub.Headers {
		return false
	}
	return uriParamsMatch(ua.Params, ub.Params) && uriParamsMatch(ub.Params, ua.Params)
}

// uriParamsMatch: parameters in both must be equal; user, ttl, method, maddr and transport never match an absent one.
func uriParamsMatch(a, b Params) bool {
	for _, p := range a {
		v, ok := b.Get(p.Name)
		if ok {
			if !strings.EqualFold(unescape(p.Value), unescape(v)) {
				return false
			}
			continue
		}
		switch strings.ToLower(p.Name) {
		case "user", "ttl", "method", "maddr", "transport":
			return false
		}
	}
	return true
}
