package headers

import "strings"

// isTokenChar reports whether c may stand in a token (RFC 3261 §25.1).
func isTokenChar(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("-.!%*_+`'~", c) >= 0
}

// isToken reports whether s is a non-empty token.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// trim removes linear white space (after unfolding: space and tab) from both ends.
func trim(s string) string { return strings.Trim(s, " \t") }

// QuotedEnd returns the index just after the quoted-string that starts at s[0] == '"', or -1 when it never ends.
func QuotedEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// Unquote returns the text of a quoted-string with its quoted-pairs resolved; a string that is not quoted is returned as it is.
func Unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Quote returns s as a quoted-string (RFC 3261 §25.1); CR and LF, which cannot be quoted, become spaces.
func Quote(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\r' || c == '\n':
			b.WriteByte(' ')
			continue
		case c == '"' || c == '\\' || c < ' ' && c != '\t' || c == 0x7f:
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// SplitList splits a header field value at the commas that separate its elements: those outside quoted strings and
// outside angle brackets (RFC 3261 §7.3.1). Elements are trimmed; empty ones are left out. It must not be used for the
// fields whose own grammar holds commas: Authorization, Proxy-Authorization, WWW-/Proxy-Authenticate, Date.
func SplitList(s string) []string {
	var out []string
	start, depth := 0, 0
	add := func(e string) {
		if e = trim(e); e != "" {
			out = append(out, e)
		}
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			n := QuotedEnd(s[i:])
			if n < 0 {
				add(s[start:])
				return out
			}
			i += n - 1
		case '<':
			depth = 1
		case '>':
			depth = 0
		case ',':
			if depth == 0 {
				add(s[start:i])
				start = i + 1
			}
		}
	}
	add(s[start:])
	return out
}

// ForLog returns s quoted in Go syntax for a log line, cut to at most limit bytes of input (0: 128). What peers send
// reaches a log only through here: no line break, no control character, no unbounded text.
func ForLog(s string, limit int) string {
	if limit <= 0 {
		limit = 128
	}
	cut := ""
	if len(s) > limit {
		s, cut = s[:limit], "..."
	}
	return quoteASCII(s) + cut
}
