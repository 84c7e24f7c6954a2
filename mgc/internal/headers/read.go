package headers

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Framing says how the transport delimits messages, which decides what Content-Length means (RFC 3261 §18.3).
type Framing uint8

const (
	// Datagram: bytes beyond Content-Length are dropped, an absent Content-Length means all of the datagram. UDP.
	Datagram Framing = iota
	// Stream: Content-Length must be there and must be the length of the body. TCP, TLS.
	Stream
	// Framed: one message per transport message (RFC 7118 §5): Content-Length, when there, must be the length of the body.
	Framed
)

// Bounds of one message. MaxMessage bounds all of it, MaxFields the number of header lines.
const (
	MaxMessage = 65535
	MaxFields  = 512
)

// BadMessage is the error of Read and Validate: why a message is refused, in words fit for a reason phrase.
type BadMessage struct {
	Status int    // 400 or 505
	Reason string // reason phrase: ASCII, no part of the message
	Err    error  // detail for the log, may be nil; it quotes the message escaped and shortened
}

// Error implements error.
func (e *BadMessage) Error() string {
	if e.Err != nil {
		return e.Reason + ": " + e.Err.Error()
	}
	return e.Reason
}

// Unwrap returns the detail.
func (e *BadMessage) Unwrap() error { return e.Err }

func bad(reason string, err error) error { return &BadMessage{Status: 400, Reason: reason, Err: err} }

// Read parses and validates one whole message; raw may be reused after. Every field is kept: names become canonical, folded
// lines one line, values stay as they are. On a *BadMessage the returned Msg holds what could be read, so that the
// transport can answer 400 (see Reject); it must be used for nothing else.
//
// The wire is read here and not by the parser of sipgo: that one upper-cases methods, refuses valid URIs of RFC 4475, lets
// the last of two Content-Length win and cuts quoted parameter values at a semicolon.
func Read(raw []byte, framing Framing) (Msg, error) {
	if len(raw) > MaxMessage {
		return Msg{}, bad("Message Too Large", nil)
	}
	if framing != Framed {
		for bytes.HasPrefix(raw, []byte("\r\n")) { // RFC 3261 §7.5
			raw = raw[2:]
		}
	}
	end := bytes.Index(raw, []byte("\r\n\r\n"))
	if end < 0 {
		m, err := readHead(string(raw))
		if err == nil || m.Method != "" {
			err = bad("Header Section Not Terminated", err)
		}
		return m, err
	}
	m, err := readHead(string(raw[:end+2]))
	if err != nil {
		return m, err
	}
	if err = m.takeBody(raw[end+4:], framing); err != nil {
		return m, err
	}
	return m, Validate(&m)
}

// readHead reads start line and header fields; head ends in CRLF. It reads on after an error as long as lines make sense,
// so that the answer can carry Via, From, To, Call-ID and CSeq, and returns the first error.
func readHead(head string) (Msg, error) {
	var m Msg
	line, rest, ok := strings.Cut(head, "\r\n")
	if !ok {
		return m, bad("Start Line Not Terminated", nil)
	}
	first := m.readStartLine(line)
	if first != nil && m.Method == "" {
		return m, first
	}
	if !utf8.ValidString(head) {
		first = firstErr(first, bad("Header Section Not UTF-8", nil))
	}
	m.Fields = make([]Field, 0, strings.Count(rest, "\n"))
	for rest != "" {
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok {
			return m, firstErr(first, bad("Line Not Terminated", nil))
		}
		if rest != "" && isBlank(rest[0]) {
			line, rest = unfold(line, rest)
		}
		if len(m.Fields) == MaxFields {
			return m, firstErr(first, bad("Too Many Header Fields", nil))
		}
		first = firstErr(first, m.readField(line))
	}
	return m, first
}

func firstErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// unfold joins the continuation lines at the start of rest to line, each by one space (RFC 3261 §7.3.1).
func unfold(line, rest string) (folded, after string) {
	var b strings.Builder
	b.WriteString(strings.TrimRight(line, " \t"))
	for rest != "" && isBlank(rest[0]) {
		cont, r, ok := strings.Cut(rest, "\r\n")
		if !ok {
			return b.String(), rest
		}
		if cont = trim(cont); cont != "" {
			b.WriteByte(' ')
			b.WriteString(cont)
		}
		rest = r
	}
	return b.String(), rest
}

// readStartLine reads a Request-Line or Status-Line: exactly one space between the parts (RFC 3261 §7.1, §7.2).
func (m *Msg) readStartLine(line string) error {
	if len(line) >= 8 && strings.EqualFold(line[:4], "SIP/") {
		return m.readStatusLine(line)
	}
	method, rest, ok := strings.Cut(line, " ")
	if !ok || !isToken(method) {
		return bad("Malformed Start Line", syntax("start line", line))
	}
	m.Method = method
	i := strings.LastIndexByte(rest, ' ')
	if i < 0 {
		return bad("Malformed Request Line", syntax("request line", line))
	}
	m.RequestURI = rest[:i]
	if version := rest[i+1:]; !strings.EqualFold(version, "SIP/2.0") {
		if len(version) > 4 && strings.EqualFold(version[:4], "SIP/") && isVersion(version[4:]) {
			return &BadMessage{Status: 505, Reason: ReasonPhrase(505)}
		}
		return bad("Malformed Request Line", syntax("SIP version", version))
	}
	if u, err := ParseURI(m.RequestURI); err != nil {
		return bad("Malformed Request-URI", err)
	} else if u.Headers != "" {
		return bad("Request-URI With Headers", nil) // RFC 3261 §19.1.1 table 1
	}
	return nil
}

func isVersion(s string) bool {
	major, minor, ok := strings.Cut(s, ".")
	return ok && isDigits(major) && isDigits(minor)
}

func (m *Msg) readStatusLine(line string) error {
	version, rest, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if !strings.EqualFold(version, "SIP/2.0") || len(code) != 3 || err != nil || n < 100 || n > 699 {
		return bad("Malformed Status Line", syntax("status line", line))
	}
	if strings.IndexFunc(reason, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) >= 0 {
		return bad("Control Character In Reason Phrase", nil)
	}
	m.Status, m.Reason = n, reason
	m.Method = unknownMethod // until CSeq is read
	return nil
}

// unknownMethod stands in Method of a response whose CSeq has not been read.
const unknownMethod = "?"

// readField reads one unfolded header line.
func (m *Msg) readField(line string) error {
	name, value, ok := strings.Cut(line, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || !isToken(name) {
		return bad("Malformed Header Field", syntax("header field", line))
	}
	if strings.ContainsAny(line, "\r\n") {
		return bad("Bare CR Or LF In Header Field", syntax("header field", line))
	}
	name, value = CanonicalName(name), trim(value)
	m.Fields = append(m.Fields, Field{Name: name, Value: value})
	if hasBareControl(value) {
		return bad("Control Character In Header Field", syntax("header field "+name, value))
	}
	return nil
}

// hasBareControl reports a control character outside the one place where the grammar allows it: a quoted-pair in a
// quoted-string (RFC 3261 §25.1, RFC 4475 §3.1.1.2).
func hasBareControl(s string) bool {
	quoted, escaped := false, false
	for i := range len(s) {
		c := s[i]
		switch {
		case escaped:
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted = !quoted
		case c < ' ' && c != '\t' || c == 0x7f:
			return true
		}
	}
	return false
}

// takeBody checks Content-Length against what follows the header section, keeps the body and drops the field.
func (m *Msg) takeBody(rest []byte, framing Framing) error {
	lengths := m.Values("Content-Length")
	m.Del("Content-Length")
	switch {
	case len(lengths) > 1:
		return bad("Multiple Content-Length", nil)
	case len(lengths) == 0 && framing == Stream:
		return bad("Missing Content-Length", nil)
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 31)
		if err != nil || !isDigits(lengths[0]) {
			return bad("Malformed Content-Length", syntax("Content-Length", lengths[0]))
		}
		if int(n) > len(rest) || framing != Datagram && int(n) != len(rest) {
			return bad("Content-Length Does Not Match Body", nil)
		}
		rest = rest[:n]
	}
	if len(rest) > 0 {
		m.Body = bytes.Clone(rest)
	}
	return nil
}
