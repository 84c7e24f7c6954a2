package headers

import (
	"net/netip"
	"strconv"
	"strings"
)

// BranchCookie starts every branch made by RFC 3261 §8.1.1.7.
const BranchCookie = "z9hG4bK"

// Via is one hop of a Via header field (RFC 3261 §20.42).
type Via struct {
	Transport string // upper case: "UDP", "TCP", "TLS", "WS", "WSS", or an unknown token
	Host      string // sent-by host; IPv6 without brackets
	Port      uint16 // sent-by port; 0: absent
	Params    Params
	version   string // "" for 2.0; anything else passes only into the answer to a message of another version
}

// ParseVia parses one Via element; split lists first (List). White space around "/" and ":" is allowed (RFC 4475 §3.1.1.1).
func ParseVia(s string) (Via, error) {
	version, proto, rest, err := viaProtocol(s)
	if err != nil {
		return Via{}, err
	}
	v := Via{Transport: strings.ToUpper(proto)}
	if version != "2.0" {
		v.version = version
	}
	sentBy, params := rest, ""
	if i := strings.IndexByte(rest, ';'); i >= 0 {
		sentBy, params = trim(rest[:i]), rest[i:]
	}
	if strings.ContainsAny(sentBy, " \t") {
		// COLON may have white space around it: "host : 5060".
		h, p, ok := strings.Cut(sentBy, ":")
		if !ok || strings.HasPrefix(sentBy, "[") {
			return Via{}, syntax("Via sent-by", sentBy)
		}
		sentBy = trim(h) + ":" + trim(p)
	}
	if v.Host, v.Port, _, err = splitHostPort(sentBy); err != nil {
		return Via{}, err
	}
	if v.Params, err = ParseParams(params); err != nil {
		return Via{}, err
	}
	return v, v.checkParams()
}

// viaProtocol reads "SIP / 2.0 / transport LWS" and returns version, transport and what follows.
func viaProtocol(s string) (version, transport, rest string, err error) {
	name, after, ok := strings.Cut(s, "/")
	if !ok || !strings.EqualFold(trim(name), "SIP") {
		return "", "", "", syntax("Via protocol", s)
	}
	version, after, ok = strings.Cut(after, "/")
	if version = trim(version); !ok || !isVersion(version) {
		return "", "", "", syntax("Via version", s)
	}
	after = trim(after)
	i := strings.IndexAny(after, " \t")
	if i < 0 || !isToken(after[:i]) {
		return "", "", "", syntax("Via transport", after)
	}
	return version, after[:i], trim(after[i:]), nil
}

// checkParams refuses what would be acted upon: received must be an address, rport a port, ttl an octet.
func (v *Via) checkParams() error {
	if r, ok := v.Params.Get("received"); ok {
		if _, err := netip.ParseAddr(strings.Trim(r, "[]")); err != nil { // RFC 5118 §4.5: with or without brackets
			return syntax("Via received", r)
		}
	}
	if r := v.Params.Value("rport"); r != "" {
		if n, err := strconv.ParseUint(r, 10, 16); err != nil || n == 0 {
			return syntax("Via rport", r)
		}
	}
	if t := v.Params.Value("ttl"); t != "" {
		if _, err := strconv.ParseUint(t, 10, 8); err != nil {
			return syntax("Via ttl", t)
		}
	}
	return nil
}

// String returns the element as on the wire.
func (v Via) String() string {
	version := "2.0"
	if v.version != "" {
		version = v.version
	}
	return "SIP/" + version + "/" + v.Transport + " " + HostPort(v.Host, v.Port) + v.Params.String()
}

// Branch returns the branch parameter, or "".
func (v Via) Branch() string { return v.Params.Value("branch") }

// SentBy returns host:port in the form used as part of a transaction key: lower case, default port filled in (RFC 3261 §18.1.1).
func (v Via) SentBy() string {
	port := v.Port
	if port == 0 {
		port = DefaultPort(v.Transport)
	}
	return strings.ToLower(HostPort(v.Host, port))
}

// DefaultPort returns the port of a transport when none is written: 5061 TLS, 80 WS, 443 WSS, else 5060.
func DefaultPort(transport string) uint16 {
	switch strings.ToUpper(transport) {
	case "TLS":
		return 5061
	case "WS":
		return 80
	case "WSS":
		return 443
	}
	return 5060
}

// TopVia returns the first Via element of m.
func TopVia(m *Msg) (Via, error) {
	elements := SplitList(m.Get("Via"))
	if len(elements) == 0 {
		return Via{}, syntax("Via", m.Get("Via"))
	}
	return ParseVia(elements[0])
}

// SetTopVia replaces the first Via element of m, which must have one; other elements of the same line stay behind it.
func SetTopVia(m *Msg, v Via) {
	for i := range m.Fields {
		if strings.EqualFold(m.Fields[i].Name, "Via") {
			parts := SplitList(m.Fields[i].Value)
			if len(parts) == 0 {
				parts = []string{""}
			}
			parts[0] = v.String()
			m.Fields[i].Value = strings.Join(parts, ", ")
			return
		}
	}
}

// PushVia puts v before all other Via elements.
func PushVia(m *Msg, v Via) {
	fields := make([]Field, 0, len(m.Fields)+1)
	fields = append(fields, Field{Name: "Via", Value: v.String()})
	m.Fields = append(fields, m.Fields...)
}
