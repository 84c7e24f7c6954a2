package registrar

import (
	"crypto/rand"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/turncred"
)

// fromBrowser are header fields of a browser's REGISTER that do not reach the core: it may not assert them, or they end here.
var fromBrowser = []string{
	"Via", "Route", "Path", "P-Visited-Network-ID", "P-Charging-Vector", "P-Charging-Function-Addresses", "P-Asserted-Identity",
	"P-Preferred-Identity", "P-Access-Network-Info", "Security-Client", "Security-Verify", "Feature-Caps",
}

// fromCore are those of the core that browsers have no use for (REG-22), most of them for they name its hosts. Service-Route is
// among them: the gateway itself routes what a browser sends (TS 24.229 §5.2.6.3.3), and puts the stored one in the place of any
// that a browser would write.
var fromCore = []string{
	"Via", "Path", "Service-Route", "Record-Route", "Server", "User-Agent", "P-Charging-Vector", "P-Charging-Function-Addresses",
	"P-Visited-Network-ID", "P-Access-Network-Info", "Security-Server", turncred.Header,
}

// cross turns a browser's REGISTER into the one that the core gets (TS 24.229 §5.2.2.1).
func (r *Registrar) cross(a *attempt) {
	out := &a.out
	for _, name := range fromBrowser {
		out.Del(name)
	}
	for _, name := range []string{"Require", "Proxy-Require"} { // no security agreement within TLS (RFC 3329; REG-19)
		headers.RemoveToken(out, name, "sec-agree")
	}
	r.deps.Auth.Apply(out, a.d)
	if a.d.Action != auth.Trust { // what Apply says of the credentials is all that is to be said
		r.protect(out, a.b, a.flow)
	}
	r.addPath(out, a.b.ID, a.b.RegID != "" && firstHop(a.req))
	r.assert(out)
}

// assert adds what the core of an IMS expects of a P-CSCF.
func (r *Registrar) assert(out *headers.Msg) {
	if !r.cfg.Trust.Asserts {
		return
	}
	out.Fields = append(out.Fields, r.cfg.Trust.Charge(strings.ToLower(rand.Text()))...) // a new ICID each (REG-17)
	if n := r.cfg.VisitedNetwork; n != "" {
		out.Add("P-Visited-Network-ID", headers.Quote(n)) // REG-16
	}
}

// protect tells an IMS core how the digest credentials came (TS 24.229 §5.2.2.4, REG-02): "tls-pending" when they answer a challenge
// over a TLS connection that has not registered the user yet, "tls-yes" when it has; "tls-connected" for IMS AKA over TLS, which is
// AKAv2-SHA-256 (TS 24.229 §5.4.1.1, TS 33.203 annex X, REG-04), the first request included. Over a plain WebSocket nothing is said,
// nor for AKAv1-MD5, which goes with IPsec.
func (r *Registrar) protect(out *headers.Msg, b Binding, flow siptransport.Flow) {
	if !r.cfg.Trust.Asserts || flow.Transport != "WSS" {
		return
	}
	for i := range out.Fields {
		f := &out.Fields[i]
		if !strings.EqualFold(f.Name, "Authorization") {
			continue
		}
		response, algorithm := digestOf(f.Value)
		aka := strings.HasPrefix(strings.ToUpper(algorithm), "AKAV")
		state := "tls-pending"
		switch {
		case strings.EqualFold(algorithm, akaOverTLS):
			state = "tls-connected"
		case response == "" || aka:
			continue
		case r.registered(b, flow.ID):
			state = "tls-yes"
		}
		f.Value += `, integrity-protected="` + state + `"`
	}
}

// akaOverTLS is the algorithm of IMS AKA over TLS.
const akaOverTLS = "AKAv2-SHA-256"

// digestOf returns response and algorithm of digest credentials.
func digestOf(value string) (response, algorithm string) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(value), " ")
	if !ok || !strings.EqualFold(scheme, "Digest") {
		return "", ""
	}
	for _, p := range headers.SplitList(rest) {
		name, v, _ := strings.Cut(p, "=")
		switch v = headers.Unquote(strings.TrimSpace(v)); strings.ToLower(strings.TrimSpace(name)) {
		case "response":
			response = v
		case "algorithm":
			algorithm = v
		}
	}
	return response, algorithm
}

// registered reports whether the core has accepted the user over the connection.
func (r *Registrar) registered(b Binding, flow string) bool {
	for _, other := range r.OfFlow(flow) {
		if other.AOR == b.AOR {
			return true
		}
	}
	return false
}
