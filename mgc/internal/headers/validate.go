package headers

import (
	"strconv"
	"strings"
)

// Validate checks m beyond its line syntax: the mandatory fields, the fields that may stand once only, and the grammar of
// every field that this gateway or a transaction acts on. It returns nil or a *BadMessage.
func Validate(m *Msg) error {
	for _, step := range [...]func(*Msg) error{
		validateSingles, validateMandatory, validateCSeq, validateMaxForwards, validateVia,
		validateAddresses, validateContacts, validateNumbers, validateDate, validateBody,
	} {
		if err := step(m); err != nil {
			return err
		}
	}
	return nil
}

// mandatory lists what every message must carry (RFC 3261 §8.1.1). Max-Forwards is not among them: its absence passes the
// check of §16.3 step 3, and older elements leave it out (RFC 4475 §3.3.13).
var mandatory = [...]string{"Via", "From", "To", "Call-ID", "CSeq"}

func validateMandatory(m *Msg) error {
	for _, name := range mandatory {
		if m.Get(name) == "" {
			return bad("Missing "+name+" Header Field", nil)
		}
	}
	if strings.ContainsAny(m.Get("Call-ID"), " \t\"<>,;") && !validCallID(m.Get("Call-ID")) {
		return bad("Malformed Call-ID", syntax("Call-ID", m.Get("Call-ID")))
	}
	return nil
}

// validCallID checks word ["@" word] (RFC 3261 §25.1), where word allows <>:\"/[]?{} beside token.
func validCallID(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isTokenChar(c) && strings.IndexByte("()<>:\\\"/[]?{}@", c) < 0 {
			return false
		}
	}
	return true
}

// isSingle lists the fields that may stand once only (RFC 3261 §7.3.1 and the documents of each).
func isSingle(name string) bool {
	switch name {
	case "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type", "Content-Disposition", "Date", "Event", "Expires",
		"Min-Expires", "Min-SE", "MIME-Version", "Organization", "Priority", "RAck", "RSeq", "Refer-To", "Referred-By",
		"Replaces", "Join", "Reply-To", "Retry-After", "Session-Expires", "SIP-ETag", "SIP-If-Match", "Subject",
		"Subscription-State", "Timestamp", "Flow-Timer", "Max-Breadth", "P-Called-Party-ID", "P-Charging-Vector":
		return true
	}
	return false
}

func validateSingles(m *Msg) error {
	for i := range m.Fields {
		name := m.Fields[i].Name
		if !isSingle(name) {
			continue
		}
		for j := range i {
			if m.Fields[j].Name == name {
				return bad("Multiple "+name+" Header Fields", nil)
			}
		}
	}
	return nil
}

func validateCSeq(m *Msg) error {
	c, err := ParseCSeq(m.Get("CSeq"))
	if err != nil {
		return bad("Malformed CSeq", err)
	}
	if !m.IsRequest() {
		m.Method = c.Method
	} else if c.Method != m.Method {
		return bad("CSeq Method Does Not Match", nil)
	}
	return nil
}

func validateMaxForwards(m *Msg) error {
	if _, ok := MaxForwards(m); m.Has("Max-Forwards") && !ok {
		return bad("Malformed Max-Forwards", syntax("Max-Forwards", m.Get("Max-Forwards")))
	}
	return nil
}

func validateVia(m *Msg) error {
	for _, line := range m.Values("Via") {
		if hasEmptyElement(line) {
			return bad("Malformed Via", syntax("list", line))
		}
		for _, e := range SplitList(line) {
			v, err := ParseVia(e)
			if err != nil {
				return bad("Malformed Via", err)
			}
			if v.version != "" {
				return bad("Malformed Via", syntax("Via version", v.version))
			}
			if v.Branch() == BranchCookie {
				return bad("Empty Via Branch", nil) // RFC 4475 §3.2.1
			}
		}
	}
	return nil
}

func validateAddresses(m *Msg) error {
	for _, name := range [...]string{"From", "To", "Refer-To", "Referred-By", "Reply-To", "P-Called-Party-ID"} {
		v := m.Get(name)
		if v == "" {
			continue
		}
		if _, err := ParseAddress(v); err != nil {
			return bad("Malformed "+name, err)
		}
	}
	for _, name := range [...]string{"Route", "Record-Route", "Path", "Service-Route"} {
		for _, line := range m.Values(name) {
			list, err := ParseAddresses([]string{line})
			if err != nil || strings.Count(line, "<") < len(list) { // RFC 3261 §20.30: name-addr only
				return bad("Malformed "+name, err)
			}
		}
	}
	for _, name := range [...]string{"P-Asserted-Identity", "P-Preferred-Identity", "P-Associated-URI"} {
		if v := m.Values(name); v != nil && !(len(v) == 1 && v[0] == "") { // P-Associated-URI may be empty (RFC 7315 §4.1)
			if _, err := ParseAddresses(v); err != nil {
				return bad("Malformed "+name, err)
			}
		}
	}
	return nil
}

// validateContacts checks Contact: "*" alone and only to remove bindings (RFC 3261 §10.2.2), else addresses.
func validateContacts(m *Msg) error {
	values := m.Values("Contact")
	if len(values) == 1 && values[0] == "*" {
		if n, ok := Expires(m); m.Method != "REGISTER" || !ok || n != 0 {
			return bad("Contact Wildcard Without Expires 0", nil)
		}
		return nil
	}
	if len(values) == 0 {
		return nil
	}
	contacts, err := ParseAddresses(values)
	if err != nil {
		return bad("Malformed Contact", err)
	}
	for _, c := range contacts {
		if v, ok := c.Params.Get("expires"); ok && !inUint32(v) {
			return bad("Malformed Contact Expires", syntax("expires", v))
		}
	}
	return nil
}

func inUint32(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil && isDigits(s)
}

func validateNumbers(m *Msg) error {
	for _, name := range [...]string{"Expires", "Min-Expires", "RSeq", "Flow-Timer"} {
		if v := m.Get(name); m.Has(name) && !inUint32(v) {
			return bad("Malformed "+name, syntax(name, v))
		}
	}
	for _, name := range [...]string{"Session-Expires", "Min-SE"} {
		v, _, _ := strings.Cut(m.Get(name), ";")
		if m.Has(name) && !inUint32(trim(v)) {
			return bad("Malformed "+name, syntax(name, v))
		}
	}
	return nil
}

// validateDate wants GMT, the only zone SIP knows (RFC 3261 §20.17, RFC 4475 §3.1.2.12).
func validateDate(m *Msg) error {
	if v := m.Get("Date"); m.IsRequest() && v != "" && !strings.HasSuffix(v, " GMT") {
		return bad("Malformed Date", syntax("Date", v))
	}
	return nil
}

func validateBody(m *Msg) error {
	if m.IsRequest() && len(m.Body) > 0 && MediaType(m) == "" {
		return bad("Missing Content-Type Header Field", nil) // RFC 3261 §20.15
	}
	return nil
}

// Reject returns the response to a request that Read refused, and whether there is enough of it for one: it is a request, no
// ACK, and carries Via, From, To, Call-ID and CSeq. The To tag is tag unless To has one.
func Reject(m *Msg, err *BadMessage, tag string) (Msg, bool) {
	if m.Method == "" || !m.IsRequest() || m.Method == "ACK" {
		return Msg{}, false
	}
	for _, name := range mandatory {
		if m.Get(name) == "" || hasBareControl(m.Get(name)) {
			return Msg{}, false
		}
	}
	if _, verr := TopVia(m); verr != nil {
		return Msg{}, false
	}
	// Of fields that stand more than once the first is answered; a tag is set only where To can be understood.
	resp := Msg{Status: err.Status, Reason: err.Reason, Method: m.Method}
	for _, v := range m.Values("Via") {
		resp.Add("Via", v)
	}
	for _, name := range [...]string{"From", "To", "Call-ID", "CSeq"} {
		resp.Add(name, m.Get(name))
	}
	if ToTag(&resp) == "" {
		_ = SetTag(&resp, "To", tag) // a To that cannot be parsed is echoed as it came
	}
	return resp, true
}
