package sipp

import (
	"errors"
	"strconv"
	"strings"
)

// Message is a SIP message as a test looks at it: lines, nothing interpreted.
type Message struct {
	Method string // requests
	URI    string // requests
	Status int    // responses; 0: a request
	Reason string // responses
	Lines  []string
	Body   string
}

// errNoMessage reports text that is no SIP message.
var errNoMessage = errors.New("no SIP message")

// Parse reads a message with CRLF or LF line ends, as traces have both.
func Parse(text string) (Message, error) {
	head, body, _ := strings.Cut(strings.ReplaceAll(strings.TrimLeft(text, "\r\n"), "\r\n", "\n"), "\n\n")
	lines := strings.Split(head, "\n")
	a, rest, ok := strings.Cut(lines[0], " ")
	if !ok {
		return Message{}, errNoMessage
	}
	b, c, _ := strings.Cut(rest, " ")
	m := Message{Lines: lines[1:], Body: body}
	if a != "SIP/2.0" {
		if c != "SIP/2.0" {
			return Message{}, errNoMessage
		}
		m.Method, m.URI = a, b
		return m, nil
	}
	status, err := strconv.Atoi(b)
	if err != nil {
		return Message{}, errNoMessage
	}
	m.Status, m.Reason = status, c
	return m, nil
}

// Get returns the value of the first header field with the name, "" when there is none.
func (m Message) Get(name string) string {
	if v := m.Values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Values returns the values of all lines with the name in order; comma lists are not split.
func (m Message) Values(name string) []string {
	var out []string
	for _, l := range m.Lines {
		if n, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(strings.TrimSpace(n), name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

// CSeqMethod returns the method of CSeq.
func (m Message) CSeqMethod() string {
	_, method, _ := strings.Cut(m.Get("CSeq"), " ")
	return method
}

// Is reports whether the message is what the words say: a request by its method ("BYE"), a response by status and CSeq
// method ("200 BYE").
func (m Message) Is(what string) bool {
	if m.Status == 0 {
		return m.Method == what
	}
	return strconv.Itoa(m.Status)+" "+m.CSeqMethod() == what
}

// Summary names the message in one line.
func (m Message) Summary() string {
	if m.Status == 0 {
		return m.Method + " " + m.URI
	}
	return strconv.Itoa(m.Status) + " " + m.Reason + " (" + m.CSeqMethod() + ")"
}

// Tag returns the tag of From or To, "" when it has none.
func (m Message) Tag(name string) string {
	_, tag, _ := strings.Cut(m.Get(name), ";tag=")
	tag, _, _ = strings.Cut(tag, ";")
	return tag
}
