package headers

import "strings"

// CanonicalName returns the long form of a header field name in the spelling of its RFC: compact forms are expanded
// (RFC 3261 §7.3.3) and the case is normalised for the names this gateway knows. An unknown name is returned as it is.
func CanonicalName(name string) string {
	if c := canonicalNames[strings.ToLower(name)]; c != "" {
		return c
	}
	return name
}

// canonicalNames maps lower-case names and compact forms to their spelling. Never changed.
var canonicalNames = func() map[string]string {
	m := map[string]string{
		// One-letter names of RFC 3261 §20 and of extensions registered with IANA.
		"a": "Accept-Contact", // RFC 3841 §9
		"b": "Referred-By",    // RFC 3892 §3
		"c": "Content-Type",
		"d": "Request-Disposition", // RFC 3841 §9
		"e": "Content-Encoding",
		"f": "From",
		"i": "Call-ID",
		"j": "Reject-Contact", // RFC 3841 §9
		"k": "Supported",
		"l": "Content-Length",
		"m": "Contact",
		"n": "Identity-Info", // RFC 4474
		"o": "Event",         // RFC 6665 §8.2
		"r": "Refer-To",      // RFC 3515 §2
		"s": "Subject",
		"t": "To",
		"u": "Allow-Events", // RFC 6665 §8.2
		"v": "Via",
		"x": "Session-Expires", // RFC 4028 §4
		"y": "Identity",        // RFC 8224 §4
	}
	for _, n := range strings.Fields(longNames) {
		m[strings.ToLower(n)] = n
	}
	return m
}()

const longNames = `
	Accept Accept-Contact Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authentication-Info
	Authorization Call-ID Call-Info Contact Content-Disposition Content-Encoding Content-Language Content-Length
	Content-Type CSeq Date Error-Info Event Expires Feature-Caps Flow-Timer From Geolocation Geolocation-Error Geolocation-Routing History-Info Identity
	Identity-Info In-Reply-To Info-Package Join Max-Breadth Max-Forwards MIME-Version Min-Expires Min-SE Organization
	P-Access-Network-Info P-Asserted-Identity P-Asserted-Service P-Associated-URI P-Called-Party-ID
	P-Charging-Function-Addresses P-Charging-Vector P-Early-Media P-Preferred-Identity P-Preferred-Service
	P-Private-Network-Indication P-Profile-Key P-Served-User P-Visited-Network-ID Path Priority Privacy
	Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Recv-Info Refer-To Referred-By
	Reject-Contact Replaces Reply-To Request-Disposition Require Resource-Priority Retry-After Route RSeq
	Security-Client Security-Server Security-Verify Server Service-Route Session-Expires SIP-ETag SIP-If-Match Subject
	Subscription-State Supported Timestamp To Unsupported User-Agent Via Warning WWW-Authenticate`
