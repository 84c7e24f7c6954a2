package headers

import "strings"

// Address is the value of From, To, Contact, Route, Record-Route, Path, P-Asserted-Identity and their like: a name-addr or
// an addr-spec with header parameters (RFC 3261 §20.10).
type Address struct {
	Display string // text without quotes; "" when absent
	URI     string // as on the wire, without angle brackets
	Params  Params // header parameters (tag, expires, q, ...); URI parameters stay inside URI
}

// ParseAddress parses one name-addr or addr-spec with parameters. Commas that do not belong to it are an error: split
// lists first (List, SplitList). The URI's syntax is checked too.
func ParseAddress(s string) (Address, error) {
	a, rest, err := splitAddress(trim(s))
	if err != nil {
		return Address{}, err
	}
	if _, err = ParseURI(a.URI); err != nil {
		return Address{}, err
	}
	a.Params, err = ParseParams(rest)
	return a, err
}

// splitAddress returns display name and URI, and the text of the parameters.
func splitAddress(s string) (Address, string, error) {
	if strings.HasPrefix(s, "\"") {
		n := QuotedEnd(s)
		if n < 0 {
			return Address{}, "", syntax("display name", s)
		}
		rest := trim(s[n:])
		if !strings.HasPrefix(rest, "<") {
			return Address{}, "", syntax("name-addr", rest)
		}
		return splitBracket(Unquote(s[:n]), rest)
	}
	i := strings.IndexByte(s, '<')
	if i >= 0 && !strings.ContainsAny(s[:i], ":;\"") {
		display := trim(s[:i])
		if !isDisplayTokens(display) {
			return Address{}, "", syntax("display name", s)
		}
		return splitBracket(display, s[i:])
	}
	// addr-spec: everything after the first semicolon is a header parameter, and "?" and "," need brackets (RFC 3261 §20.10).
	uri, rest := s, ""
	if j := strings.IndexByte(s, ';'); j >= 0 {
		uri, rest = trim(s[:j]), s[j:]
	}
	if strings.ContainsAny(uri, "?,") {
		return Address{}, "", syntax("addr-spec without brackets", uri)
	}
	return Address{URI: uri}, rest, nil
}

// splitBracket reads "<uri>" at the start of s.
func splitBracket(display, s string) (Address, string, error) {
	j := strings.IndexByte(s, '>')
	if j < 0 {
		return Address{}, "", syntax("name-addr", s)
	}
	return Address{Display: display, URI: s[1:j]}, s[j+1:], nil
}

// isDisplayTokens accepts *(token LWS); bytes of UTF-8 beyond ASCII, though they should be quoted, are let through.
func isDisplayTokens(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isTokenChar(c) && c != ' ' && c != '\t' && c < 0x80 {
			return false
		}
	}
	return true
}

// String returns the address as a name-addr: the display name always quoted, the URI always in brackets.
func (a Address) String() string {
	var b strings.Builder
	if a.Display != "" {
		b.WriteString(Quote(a.Display))
		b.WriteByte(' ')
	}
	b.WriteByte('<')
	b.WriteString(a.URI)
	b.WriteByte('>')
	b.WriteString(a.Params.String())
	return b.String()
}

// AOR returns the canonical address-of-record of the address's URI (see the function AOR).
func (a Address) AOR() string { return AOR(a.URI) }

// ParseAddresses parses every element of the lines in values (comma lists are split).
func ParseAddresses(values []string) ([]Address, error) {
	var out []Address
	for _, v := range values {
		if hasEmptyElement(v) {
			return nil, syntax("list", v)
		}
		for _, e := range SplitList(v) {
			a, err := ParseAddress(e)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// hasEmptyElement reports whether a list of addresses has an element with nothing in it.
func hasEmptyElement(s string) bool {
	commas, depth := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			n := QuotedEnd(s[i:])
			if n < 0 {
				return false // the element's own parser will say so
			}
			i += n - 1
		case '<':
			depth = 1
		case '>':
			depth = 0
		case ',':
			if depth == 0 {
				commas++
			}
		}
	}
	return commas+1 != len(SplitList(s))
}
