package cdr

import "strings"

// Vector is a P-Charging-Vector header field (RFC 7315 §4.6, §5.6).
type Vector struct {
	ICID    string // icid-value
	Node    string // icid-generated-at
	OrigIOI string // of the originating network
	TermIOI string // of the terminating network
}

// ParseVector reads the value of a P-Charging-Vector header field; parameters that it does not know are left out, an unreadable value is empty.
func ParseVector(value string) Vector {
	var v Vector
	for _, part := range split(value) {
		name, val, _ := strings.Cut(part, "=")
		val = unquote(strings.TrimSpace(val))
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "icid-value":
			v.ICID = val
		case "icid-generated-at":
			v.Node = val
		case "orig-ioi":
			v.OrigIOI = val
		case "term-ioi":
			v.TermIOI = val
		}
	}
	return v
}

// String renders the value; "" without an ICID, which the header field must have.
func (v Vector) String() string {
	if v.ICID == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("icid-value=" + quote(v.ICID))
	for _, p := range []struct{ name, value string }{{"icid-generated-at", v.Node}, {"orig-ioi", v.OrigIOI}, {"term-ioi", v.TermIOI}} {
		if p.value == "" {
			continue
		}
		b.WriteString(";" + p.name + "=")
		if p.name == "icid-generated-at" {
			b.WriteString(p.value) // a host, never quoted
			continue
		}
		b.WriteString(quote(p.value))
	}
	return b.String()
}

// Request is the vector of a request from a browser towards its home network (TS 24.229 §4.5.4): we name our network, as a type 1
// identifier, only in a roaming agreement, which is where network is not empty.
func (v Vector) Request(network string) Vector {
	v.OrigIOI, v.TermIOI = typed(network), ""
	return v
}

// Response is the vector of our response to a request of the home network towards a browser: its own identifier comes back, ours is added
// in a roaming agreement.
func (v Vector) Response(network string) Vector {
	v.TermIOI = typed(network)
	return v
}

// typed is network as a type 1 identifier (TS 24.229 §4.5.4.1).
func typed(network string) string {
	if network == "" {
		return ""
	}
	return "Type 1" + network
}

// split cuts at semicolons outside quotes.
func split(s string) []string {
	var out []string
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			out = append(out, s[from:i])
			from = i + 1
		}
	}
	return append(out, s[min(from, len(s)):])
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// quote makes a quoted string; characters that no header field may hold are left out.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c >= ' ' && c != 0x7f:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
