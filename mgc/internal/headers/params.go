package headers

import (
	"errors"
	"strconv"
	"strings"
)

// ErrSyntax is wrapped by every parse error of this package.
var ErrSyntax = errors.New("malformed")

// Param is one parameter of a header field value or a URI. Value is as on the wire (a quoted-string keeps its quotes);
// "" means that there is no "=".
type Param struct {
	Name  string
	Value string
}

// Params are the parameters after a header field value or inside a URI, in order of the wire. Names ignore case.
type Params []Param

// Get returns the value without quotes and whether the parameter is present.
func (p Params) Get(name string) (string, bool) {
	for i := range p {
		if strings.EqualFold(p[i].Name, name) {
			return Unquote(p[i].Value), true
		}
	}
	return "", false
}

// Value returns the value without quotes, or "" when the parameter is absent or has none.
func (p Params) Value(name string) string {
	v, _ := p.Get(name)
	return v
}

// Has reports whether the parameter is present.
func (p Params) Has(name string) bool {
	_, ok := p.Get(name)
	return ok
}

// Set replaces the parameter's value or appends the parameter. value is put on the wire as given: Quote it first when it is no token.
func (p *Params) Set(name, value string) {
	for i := range *p {
		if strings.EqualFold((*p)[i].Name, name) {
			(*p)[i].Value = value
			return
		}
	}
	*p = append(*p, Param{name, value})
}

// Del removes the parameter.
func (p *Params) Del(name string) {
	kept := (*p)[:0]
	for _, q := range *p {
		if !strings.EqualFold(q.Name, name) {
			kept = append(kept, q)
		}
	}
	*p = kept
}

// String returns the parameters as on the wire, each with its leading semicolon.
func (p Params) String() string {
	var b strings.Builder
	for _, q := range p {
		b.WriteByte(';')
		b.WriteString(q.Name)
		if q.Value != "" {
			b.WriteByte('=')
			b.WriteString(q.Value)
		}
	}
	return b.String()
}

// ParseParams parses ";a;b=c;d=\"e\"" with white space allowed around the separators (generic-param, RFC 3261 §25.1).
// "" gives nil. An empty parameter, as in ";;", is an error.
func ParseParams(s string) (Params, error) {
	var out Params
	s = trim(s)
	for s != "" {
		if s[0] != ';' {
			return nil, syntax("parameter separator", s)
		}
		var q Param
		var err error
		if q, s, err = nextParam(trim(s[1:])); err != nil {
			return nil, err
		}
		out = append(out, q)
	}
	return out, nil
}

// nextParam reads one parameter from the start of s and returns what follows it, trimmed.
func nextParam(s string) (Param, string, error) {
	i := 0
	for i < len(s) && isTokenChar(s[i]) {
		i++
	}
	if i == 0 {
		return Param{}, "", syntax("parameter name", s)
	}
	q := Param{Name: s[:i]}
	s = trim(s[i:])
	if s == "" || s[0] != '=' {
		return q, s, nil
	}
	s = trim(s[1:])
	if s != "" && s[0] == '"' {
		n := QuotedEnd(s)
		if n < 0 {
			return Param{}, "", syntax("quoted parameter value", s)
		}
		q.Value = s[:n]
		return q, trim(s[n:]), nil
	}
	n := strings.IndexAny(s, "; \t,\"<>")
	if n < 0 {
		n = len(s)
	}
	if n == 0 {
		return Param{}, "", syntax("parameter value", s)
	}
	q.Value = s[:n]
	return q, trim(s[n:]), nil
}

// syntax returns an error that names what was malformed and quotes where, shortened.
func syntax(what, where string) error {
	return &syntaxError{what: what, where: where}
}

type syntaxError struct{ what, where string }

func (e *syntaxError) Error() string { return "malformed " + e.what + " at " + ForLog(e.where, 40) }
func (e *syntaxError) Unwrap() error { return ErrSyntax }

func quoteASCII(s string) string { return strconv.QuoteToASCII(s) }
