// Package trust decides what crosses the border between browsers, who may assert nothing, and the core, which is inside the trust
// domain of RFC 3325 §2.4: which header fields pass, and which identity, charging and access information the gateway adds as
// the P-CSCF that it is (TS 24.229 §5.2.6, §5.2.7). Floor 1 of mgc; pure.
package trust

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Profile says what the core expects of us.
type Profile struct {
	// Asserts: the core is an IMS, or a PBX that believes what we assert: P-Asserted-Identity and P-Charging-Vector are added.
	Asserts bool
	// Host stands in icid-generated-at: our name towards the core.
	Host string
	// AccessInfo is the value of the network-provided P-Access-Network-Info, "" for none.
	AccessInfo string
	// OrigIOI is our operator's name in P-Charging-Vector, "" for none.
	OrigIOI string
	// History lets History-Info and Diversion of browsers through.
	History bool
}

// both are fields that cross in both directions, in requests and responses.
var both = []string{
	"Subject", "Alert-Info", "Call-Info", "Organization", "Priority", "Date", "Privacy", "Reason", "Accept-Contact", "Reject-Contact",
	"Request-Disposition", "User-to-User", "Referred-By", "Refer-To", "Refer-Sub", "Replaces", "Accept-Language", "In-Reply-To", "Geolocation",
	"Geolocation-Routing", "Geolocation-Error", "Max-Breadth", "Event", "Subscription-State", "Info-Package", "Content-Disposition", "Content-Encoding",
	"Content-Language", "Warning", "Retry-After", "Error-Info", "WWW-Authenticate", "Proxy-Authenticate", "Authorization",
	"Proxy-Authorization", "Allow-Events", "Accept", "Expires", "Min-Expires", "SIP-ETag", "SIP-If-Match", "MIME-Version",
}

// fromBrowser are those that a browser may say of itself, besides both.
var fromBrowser = []string{"P-Preferred-Service"}

// fromCore are those that only the trust domain may say, besides both; they are shown to the browser.
var fromCore = []string{"P-Called-Party-ID", "History-Info", "Diversion", "P-Asserted-Service", "Answer-Mode", "Resource-Priority"}

// credentials of the web identity end here (RFC 8898 §2: a token is for who verifies it).
func bearer(f headers.Field) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(f.Value), " ")
	return strings.EqualFold(scheme, "Bearer")
}

func in(list []string, name string) bool {
	return slices.ContainsFunc(list, func(n string) bool { return strings.EqualFold(n, name) })
}

// ToCore returns the fields of a browser's message that cross to the core (standards MO-04, MO-07).
func (p Profile) ToCore(m *headers.Msg) []headers.Field {
	var out []headers.Field
	for _, f := range m.Fields {
		switch {
		case strings.HasSuffix(f.Name, "uthorization") && bearer(f):
		case strings.EqualFold(f.Name, "Recv-Info"):
			out = append(out, recvInfo(f.Value)...)
		case in(both, f.Name), in(fromBrowser, f.Name), p.History && in([]string{"History-Info", "Diversion"}, f.Name):
			out = append(out, Masked(f))
		}
	}
	return out
}

// ToBrowser returns the fields of the core's message that cross to the browser. The asserted identity is withheld when its owner
// asked for that (RFC 3325 §7, RFC 3323 §4.2; standards MT-02, MT-03).
func (p Profile) ToBrowser(m *headers.Msg) []headers.Field {
	var out []headers.Field
	private := Private(m)
	for _, f := range m.Fields {
		switch {
		case strings.EqualFold(f.Name, "Recv-Info"):
			out = append(out, recvInfo(f.Value)...)
		case in(both, f.Name), in(fromCore, f.Name):
			out = append(out, Masked(f))
		case !private && strings.EqualFold(f.Name, "P-Asserted-Identity"):
			out = append(out, f)
		}
	}
	return out
}

// recvInfo lets the packages of Recv-Info pass but for trickle-ice: candidates are an affair of the browser and the gateway (RFC 8840,
// TS 23.228 §U.1.1). An empty list passes: it says that no package is taken (RFC 6086 §7.2).
func recvInfo(value string) []headers.Field {
	list := headers.SplitList(value)
	rest := slices.DeleteFunc(slices.Clone(list), func(e string) bool {
		name, _, _ := strings.Cut(e, ";")
		return strings.EqualFold(strings.TrimSpace(name), "trickle-ice")
	})
	if len(list) > 0 && len(rest) == 0 {
		return nil
	}
	return []headers.Field{{Name: "Recv-Info", Value: strings.Join(rest, ", ")}}
}

// Private reports whether the sender asks for privacy of its asserted identity: Privacy has id, or user or header as whole-message
// forms (RFC 3325 §9.3, RFC 3323 §4.2). "none" says the contrary.
func Private(m *headers.Msg) bool {
	for _, line := range m.Values("Privacy") {
		for v := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ';' || r == ',' || r == ' ' || r == '\t' }) {
			if strings.EqualFold(v, "id") {
				return true
			}
		}
	}
	return false
}

// Identity is who may act over a registered flow.
type Identity struct {
	Default string   // asserted when the browser prefers none: the first of P-Associated-URI
	All     []string // every AOR that it may use, the default among them
	Aliases []string // URIs that name the same user, e.g. the tel URI of P-Associated-URI
}

// Assert returns the asserted identity that a request of the browser gets towards the core: what the browser prefers among its
// identities, else its default one (RFC 3325 §6, standards MO-03). A profile that asserts nothing gives nothing.
func (p Profile) Assert(m *headers.Msg, id Identity) []headers.Field {
	if !p.Asserts {
		return nil
	}
	out := []headers.Field{{Name: "P-Asserted-Identity", Value: p.asserted(m, id)}}
	for _, alias := range id.Aliases {
		if headers.AOR(alias) != headers.AOR(uriOf(out[0].Value)) {
			out = append(out, headers.Field{Name: "P-Asserted-Identity", Value: "<" + alias + ">"})
			break // RFC 3325 §9.1: at most one sip and one tel
		}
	}
	return out
}

// asserted returns the identity that the browser prefers when it may use it, with its display name, else the default one.
func (p Profile) asserted(m *headers.Msg, id Identity) string {
	for _, v := range headers.List(m, "P-Preferred-Identity") {
		if a, err := headers.ParseAddress(v); err == nil && slices.Contains(id.All, a.AOR()) {
			return headers.Address{Display: a.Display, URI: a.URI}.String()
		}
	}
	return "<" + id.Default + ">"
}

// Answer returns the identity of the browser that answers a request of the core: what it prefers, else the identity that was
// called (TS 24.229 §5.2.6.4.4, standards MT-02). called is the value of the request's P-Called-Party-ID, "" for none.
func (p Profile) Answer(m *headers.Msg, id Identity, called string) []headers.Field {
	if !p.Asserts {
		return nil
	}
	if a, err := headers.ParseAddress(called); err == nil && slices.Contains(id.All, a.AOR()) {
		id.Default = a.URI
	}
	return []headers.Field{{Name: "P-Asserted-Identity", Value: p.asserted(m, id)}}
}

// Charge returns the charging vector with the unique ICID (standards MO-06) and the access network as we know it (REG-18). A profile that asserts nothing gives
// nothing.
func (p Profile) Charge(icid string) []headers.Field {
	if !p.Asserts {
		return nil
	}
	v := headers.ChargingVector{ICID: icid, GeneratedAt: p.Host, OrigIOI: p.OrigIOI}
	out := []headers.Field{{Name: "P-Charging-Vector", Value: v.String()}}
	if p.AccessInfo != "" {
		out = append(out, headers.Field{Name: "P-Access-Network-Info", Value: p.AccessInfo})
	}
	return out
}

func uriOf(value string) string {
	a, err := headers.ParseAddress(value)
	if err != nil {
		return ""
	}
	return a.URI
}
