package headers

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnwritable means that a message would break its own framing on the wire: a CR or LF in a value, a name that is no token.
var ErrUnwritable = errors.New("message cannot be written")

// Append appends the message as on the wire, with its Content-Length, and returns the extended slice. It refuses, with
// ErrUnwritable, what a peer could have smuggled into a value to add lines of its own.
func (m *Msg) Append(dst []byte) ([]byte, error) {
	if m.IsRequest() {
		if !isToken(m.Method) || m.RequestURI == "" || strings.ContainsAny(m.RequestURI, " \t\r\n<>") {
			return dst, fmt.Errorf("%w: request line %s %s", ErrUnwritable, ForLog(m.Method, 20), ForLog(m.RequestURI, 60))
		}
		dst = append(dst, m.Method...)
		dst = append(dst, ' ')
		dst = append(dst, m.RequestURI...)
		dst = append(dst, " SIP/2.0\r\n"...)
	} else {
		if m.Status < 100 || m.Status > 699 || strings.ContainsAny(m.Reason, "\r\n") {
			return dst, fmt.Errorf("%w: status line %d", ErrUnwritable, m.Status)
		}
		dst = append(dst, "SIP/2.0 "...)
		dst = strconv.AppendInt(dst, int64(m.Status), 10)
		dst = append(dst, ' ')
		dst = append(dst, m.Reason...)
		dst = append(dst, "\r\n"...)
	}
	for i := range m.Fields {
		f := &m.Fields[i]
		if !isToken(f.Name) || strings.ContainsAny(f.Value, "\r\n") {
			return dst, fmt.Errorf("%w: field %s", ErrUnwritable, ForLog(f.Name, 40))
		}
		if strings.EqualFold(f.Name, "Content-Length") {
			continue
		}
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(m.Body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, m.Body...), nil
}

// Bytes returns the message as on the wire; see Append.
func (m *Msg) Bytes() ([]byte, error) {
	n := 256 + len(m.Body)
	for i := range m.Fields {
		n += len(m.Fields[i].Name) + len(m.Fields[i].Value) + 4
	}
	return m.Append(make([]byte, 0, n))
}
