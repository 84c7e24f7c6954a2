// Package headers holds SIP messages as plain values and reads and writes the header fields that the controller
// touches. Floor 0 of mgc; pure, imports nothing of ours, no goroutine, no clock.
package headers

import (
	"slices"
	"strings"
)

// Field is one header field line. Name is in the canonical long form of its RFC ("Call-ID", "From", "CSeq", "Via");
// comparisons ignore case (RFC 3261 §7.3.1). Value has no leading or trailing white space and no line break.
type Field struct {
	Name  string `json:"n"`
	Value string `json:"v"`
}

// Msg is a SIP request or response as a value: what the pure cores work on and what the store keeps.
// It is a request when Method is set and Status is 0, a response when Status is set (Method then is that of its CSeq).
// Fields keep the order of the wire; Content-Length is never among them, it is made when the message is written.
// A Msg is owned by whoever holds it; Clone before changing one that was handed on.
type Msg struct {
	Method     string  `json:"m,omitempty"`
	RequestURI string  `json:"u,omitempty"` // requests: as on the wire
	Status     int     `json:"s,omitempty"` // responses: 100..699
	Reason     string  `json:"r,omitempty"` // responses: reason phrase
	Fields     []Field `json:"f,omitempty"`
	Body       []byte  `json:"b,omitempty"`
}

// IsRequest reports whether m is a request.
func (m *Msg) IsRequest() bool { return m.Status == 0 }

// Get returns the value of the first field with the name, or "".
func (m *Msg) Get(name string) string {
	for i := range m.Fields {
		if strings.EqualFold(m.Fields[i].Name, name) {
			return m.Fields[i].Value
		}
	}
	return ""
}

// Has reports whether a field with the name is present.
func (m *Msg) Has(name string) bool {
	return slices.ContainsFunc(m.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
}

// Values returns the values of all fields with the name in order, one per line (comma lists are not split); nil when none.
func (m *Msg) Values(name string) []string {
	var out []string
	for i := range m.Fields {
		if strings.EqualFold(m.Fields[i].Name, name) {
			out = append(out, m.Fields[i].Value)
		}
	}
	return out
}

// Add appends a field.
func (m *Msg) Add(name, value string) { m.Fields = append(m.Fields, Field{Name: name, Value: value}) }

// Set replaces all fields with the name by one, at the place of the first, or appends it.
func (m *Msg) Set(name, value string) {
	i := slices.IndexFunc(m.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	if i < 0 {
		m.Add(name, value)
		return
	}
	m.Fields[i].Value = value
	rest := slices.DeleteFunc(m.Fields[i+1:], func(f Field) bool { return strings.EqualFold(f.Name, name) })
	m.Fields = m.Fields[:i+1+len(rest)]
}

// Del removes all fields with the name.
func (m *Msg) Del(name string) {
	m.Fields = slices.DeleteFunc(m.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
}

// Clone returns a copy that shares nothing with m.
func (m *Msg) Clone() Msg {
	c := *m
	c.Fields = slices.Clone(m.Fields)
	c.Body = slices.Clone(m.Body)
	return c
}
