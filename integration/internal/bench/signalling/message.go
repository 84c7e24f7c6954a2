package signalling

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// message is a SIP message as far as the load reads it.
type message struct {
	method string // of the request, or of the CSeq of a response
	uri    string // request
	status int    // response; 0: request
	fields []field
	body   string
}

type field struct{ name, value string }

var errMessage = errors.New("signalling: not a SIP message")

// parse reads what both systems write: long names, one value per line or a comma list, no folding.
func parse(raw []byte) (message, error) {
	head, body, ok := strings.Cut(string(raw), "\r\n\r\n")
	if !ok {
		return message{}, fmt.Errorf("%w: %.80q", errMessage, raw)
	}
	m := message{body: body, fields: make([]field, 0, 24)}
	line, rest, _ := strings.Cut(head, "\r\n")
	if code, isStatus := strings.CutPrefix(line, "SIP/2.0 "); isStatus && len(code) >= 3 {
		m.status, _ = strconv.Atoi(code[:3])
	} else {
		parts := strings.Split(line, " ")
		if len(parts) != 3 {
			return m, fmt.Errorf("%w: %.80q", errMessage, line)
		}
		m.method, m.uri = parts[0], parts[1]
	}
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return m, fmt.Errorf("%w: %.80q", errMessage, line)
		}
		m.fields = append(m.fields, field{name, strings.TrimSpace(value)})
	}
	if m.status != 0 {
		_, m.method, _ = strings.Cut(m.get("CSeq"), " ")
	}
	if m.method == "" || m.get("Call-ID") == "" {
		return m, fmt.Errorf("%w: %.80q", errMessage, raw)
	}
	return m, nil
}

func (m *message) get(name string) string {
	for i := range m.fields {
		if strings.EqualFold(m.fields[i].name, name) {
			return m.fields[i].value
		}
	}
	return ""
}

// list returns the elements of a field whose values hold no comma inside angle brackets or quotes.
func (m *message) list(name string) []string {
	var out []string
	for i := range m.fields {
		if strings.EqualFold(m.fields[i].name, name) {
			for _, v := range strings.Split(m.fields[i].value, ",") {
				out = append(out, strings.TrimSpace(v))
			}
		}
	}
	return out
}

func (m *message) toTag() string { return param(m.get("To"), "tag") }

// param returns a parameter of a header field value after its angle brackets.
func param(value, name string) string {
	if i := strings.LastIndexByte(value, '>'); i >= 0 {
		value = value[i+1:]
	}
	for _, p := range strings.Split(value, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// address returns what stands in the angle brackets.
func address(value string) string {
	if _, rest, ok := strings.Cut(value, "<"); ok {
		uri, _, _ := strings.Cut(rest, ">")
		return uri
	}
	uri, _, _ := strings.Cut(value, ";")
	return uri
}

// user returns the user part of a URI.
func user(uri string) string {
	_, rest, _ := strings.Cut(uri, ":")
	u, _, _ := strings.Cut(rest, "@")
	return u
}

// writer builds a message.
type writer struct{ b bytes.Buffer }

func request(method, uri string) *writer {
	w := &writer{}
	w.b.Grow(1500)
	w.b.WriteString(method + " " + uri + " SIP/2.0\r\n")
	return w
}

// response begins a response with what it copies from the request; tag is added to To when that has none.
func response(req *message, status int, reason, tag string) *writer {
	w := &writer{}
	w.b.Grow(1500)
	w.b.WriteString("SIP/2.0 " + strconv.Itoa(status) + " " + reason + "\r\n")
	for i := range req.fields {
		f := &req.fields[i]
		switch {
		case strings.EqualFold(f.name, "To") && status > 100 && !strings.Contains(f.value, ";tag="):
			w.add("To", f.value+";tag="+tag)
		case strings.EqualFold(f.name, "Via"), strings.EqualFold(f.name, "From"), strings.EqualFold(f.name, "To"),
			strings.EqualFold(f.name, "Call-ID"), strings.EqualFold(f.name, "CSeq"),
			strings.EqualFold(f.name, "Record-Route") && req.method == "INVITE":
			w.add(f.name, f.value)
		}
	}
	return w
}

func (w *writer) add(name, value string) *writer {
	w.b.WriteString(name)
	w.b.WriteString(": ")
	w.b.WriteString(value)
	w.b.WriteString("\r\n")
	return w
}

// end adds Content-Length and, when there is one, the SDP body.
func (w *writer) end(sdp string) []byte {
	if sdp != "" {
		w.add("Content-Type", "application/sdp")
	}
	w.add("Content-Length", strconv.Itoa(len(sdp)))
	w.b.WriteString("\r\n")
	w.b.WriteString(sdp)
	return w.b.Bytes()
}

// dialog is one side's view of a dialog, enough for ACK and BYE.
type dialog struct {
	callID, local, remote, target string
	route                         []string
	seq                           int // of our last request
}

// asCaller is the dialog of our INVITE after its 2xx (RFC 3261 §12.1.2).
func asCaller(ok *message, seq int) dialog {
	d := dialog{callID: ok.get("Call-ID"), local: ok.get("From"), remote: ok.get("To"), target: address(ok.get("Contact")), seq: seq}
	rr := ok.list("Record-Route")
	for i := len(rr) - 1; i >= 0; i-- {
		d.route = append(d.route, rr[i])
	}
	return d
}

// asCalled is the dialog of an INVITE that we accept with the tag (RFC 3261 §12.1.1).
func asCalled(inv *message, tag string) dialog {
	return dialog{callID: inv.get("Call-ID"), local: inv.get("To") + ";tag=" + tag, remote: inv.get("From"),
		target: address(inv.get("Contact")), route: inv.list("Record-Route"), seq: 100}
}

// request builds a request inside the dialog; ACK keeps the sequence number of the INVITE.
func (d *dialog) request(method, via string) []byte {
	if method != "ACK" {
		d.seq++
	}
	w := request(method, d.target).add("Via", via).add("Max-Forwards", "70")
	for _, r := range d.route {
		w.add("Route", r)
	}
	return w.add("From", d.local).add("To", d.remote).add("Call-ID", d.callID).add("CSeq", strconv.Itoa(d.seq)+" "+method).end("")
}
