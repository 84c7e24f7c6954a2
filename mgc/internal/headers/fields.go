package headers

import (
	"slices"
	"strconv"
	"strings"
)

// CSeq is a parsed CSeq header field (RFC 3261 §20.16).
type CSeq struct {
	Seq    uint32 // below 2^31 (RFC 3261 §8.1.1.5)
	Method string // case is significant
}

// String returns the value as on the wire.
func (c CSeq) String() string { return strconv.FormatUint(uint64(c.Seq), 10) + " " + c.Method }

// ParseCSeq parses the value of a CSeq field.
func ParseCSeq(s string) (CSeq, error) {
	f := strings.Fields(s)
	if len(f) != 2 || !isDigits(f[0]) || !isToken(f[1]) {
		return CSeq{}, syntax("CSeq", s)
	}
	n, err := strconv.ParseUint(f[0], 10, 31)
	if err != nil {
		return CSeq{}, syntax("CSeq number", s)
	}
	return CSeq{uint32(n), f[1]}, nil
}

// List returns the elements of all lines of a comma-separated field in order (Route, Record-Route, Via, Contact,
// Supported, Require, Allow, Path, Service-Route, P-Associated-URI, ...).
func List(m *Msg, name string) []string {
	var out []string
	for i := range m.Fields {
		if strings.EqualFold(m.Fields[i].Name, name) {
			out = append(out, SplitList(m.Fields[i].Value)...)
		}
	}
	return out
}

// SetList replaces the field by one line per element; none removes it. The lines stand where the first one stood.
func SetList(m *Msg, name string, elements []string) {
	at := slices.IndexFunc(m.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	m.Del(name)
	if at < 0 || at > len(m.Fields) {
		at = len(m.Fields)
	}
	lines := make([]Field, len(elements))
	for i, e := range elements {
		lines[i] = Field{Name: name, Value: e}
	}
	m.Fields = slices.Insert(m.Fields, at, lines...)
}

// HasToken reports whether a comma list of tokens holds the token: option tags in Supported, Require, ...; methods in Allow.
// Case is ignored.
func HasToken(m *Msg, name, token string) bool {
	return slices.ContainsFunc(List(m, name), func(e string) bool { return strings.EqualFold(e, token) })
}

// RemoveToken takes a token out of a comma list and removes the field when nothing is left.
func RemoveToken(m *Msg, name, token string) {
	kept := slices.DeleteFunc(List(m, name), func(e string) bool { return strings.EqualFold(e, token) })
	if len(kept) == 0 {
		m.Del(name)
		return
	}
	m.Set(name, strings.Join(kept, ", "))
}

// AddToken adds a token to a comma list unless it is there.
func AddToken(m *Msg, name, token string) {
	if !HasToken(m, name, token) {
		m.Set(name, strings.Join(append(List(m, name), token), ", "))
	}
}

// FromTag returns the tag of From, "" when there is none or From is malformed.
func FromTag(m *Msg) string { return tagOf(m.Get("From")) }

// ToTag returns the tag of To, "" when there is none or To is malformed.
func ToTag(m *Msg) string { return tagOf(m.Get("To")) }

func tagOf(v string) string {
	a, err := ParseAddress(v)
	if err != nil {
		return ""
	}
	return a.Params.Value("tag")
}

// SetTag sets the tag of From or To ("From", "To"). The rest of the value stays as it was on the wire.
func SetTag(m *Msg, name, tag string) error {
	v := m.Get(name)
	a, err := ParseAddress(v)
	if err != nil {
		return err
	}
	if !a.Params.Has("tag") {
		if !strings.Contains(v, ">") {
			v = "<" + a.URI + ">" + a.Params.String()
		}
		m.Set(name, v+";tag="+tag)
		return nil
	}
	a.Params.Set("tag", tag)
	m.Set(name, a.String())
	return nil
}

// Expires returns the value of the Expires field in seconds and whether a valid one is there. Values above 2^32-1 count as
// that (RFC 3261 §20.19).
func Expires(m *Msg) (uint32, bool) { return deltaSeconds(m.Get("Expires")) }

// ContactExpires returns the lifetime that a contact asks for or was given, in seconds: its expires parameter, else the
// Expires field of m, else def (RFC 3261 §10.2.1.1).
func ContactExpires(m *Msg, contact Address, def uint32) uint32 {
	if v, ok := deltaSeconds(contact.Params.Value("expires")); ok {
		return v
	}
	if v, ok := Expires(m); ok {
		return v
	}
	return def
}

func deltaSeconds(s string) (uint32, bool) {
	s = trim(s)
	if !isDigits(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 1<<32 - 1, true
	}
	return uint32(n), true
}

// MaxForwards returns the value of Max-Forwards; ok is false when it is absent or malformed.
func MaxForwards(m *Msg) (n uint8, ok bool) {
	v := m.Get("Max-Forwards")
	if !isDigits(v) {
		return 0, false
	}
	u, err := strconv.ParseUint(v, 10, 8)
	return uint8(u), err == nil
}

// DecrementMaxForwards lowers Max-Forwards by one, or sets it to 70 when it is absent (RFC 3261 §16.6 step 3). It returns
// false, and changes nothing, when it is 0 already: the answer then is 483.
func DecrementMaxForwards(m *Msg) bool {
	n, ok := MaxForwards(m)
	switch {
	case !ok:
		m.Set("Max-Forwards", "70")
	case n == 0:
		return false
	default:
		m.Set("Max-Forwards", strconv.Itoa(int(n)-1))
	}
	return true
}

// BreadthLeft reports whether the request may still go on to somebody: Max-Breadth, when it is there, is not 0 (RFC 5393 §5.3.3). If
// not the answer is 440. Who calls one target only leaves the value as it is.
func BreadthLeft(m *Msg) bool {
	v := trim(m.Get("Max-Breadth"))
	return !isDigits(v) || strings.Trim(v, "0") != ""
}

// MediaType returns the lower-case type/subtype of Content-Type without parameters, "" when absent.
func MediaType(m *Msg) string {
	t, _, _ := strings.Cut(m.Get("Content-Type"), ";")
	return strings.ToLower(strings.ReplaceAll(trim(t), " ", ""))
}
