package headers

import "strings"

// CanonicalName returns the long form of a header field name in the spelling of its RFC: compact forms are expanded
// (RFC 3261 §7.3.3) and the case is normalised for the names this gateway knows. An unknown name is returned as it is.
func CanonicalName(name string) string {
	if c := canonical(strings.ToLower(name)); c != "" {
		return c
	}
	return name
}

// canonical maps a lower-case name or compact form to its canonical spelling, or "" when it is unknown.
func canonical(lower string) string {
	if len(lower) == 1 {
		return compactForm(lower[0])
	}
	switch lower {
	case "accept":
		return "Accept"
	case "accept-contact":
		return "Accept-Contact"
	case "accept-encoding":
		return "Accept-Encoding"
	case "accept-language":
		return "Accept-Language"
	case "alert-info":
		return "Alert-Info"
	case "allow":
		return "Allow"
	case "allow-events":
		return "Allow-Events"
	case "authentication-info":
		return "Authentication-Info"
	case "authorization":
		return "Authorization"
	case "call-id":
		return "Call-ID"
	case "call-info":
		return "Call-Info"
	case "contact":
		return "Contact"
	case "content-disposition":
		return "Content-Disposition"
	case "content-encoding":
		return "Content-Encoding"
	case "content-language":
		return "Content-Language"
	case "content-length":
		return "Content-Length"
	case "content-type":
		return "Content-Type"
	case "cseq":
		return "CSeq"
	case "date":
		return "Date"
	case "error-info":
		return "Error-Info"
	case "event":
		return "Event"
	case "expires":
		return "Expires"
	case "feature-caps":
		return "Feature-Caps"
	case "flow-timer":
		return "Flow-Timer"
	case "from":
		return "From"
	case "geolocation":
		return "Geolocation"
	case "history-info":
		return "History-Info"
	case "identity":
		return "Identity"
	case "identity-info":
		return "Identity-Info"
	case "in-reply-to":
		return "In-Reply-To"
	case "info-package":
		return "Info-Package"
	case "join":
		return "Join"
	case "max-breadth":
		return "Max-Breadth"
	case "max-forwards":
		return "Max-Forwards"
	case "mime-version":
		return "MIME-Version"
	case "min-expires":
		return "Min-Expires"
	case "min-se":
		return "Min-SE"
	case "organization":
		return "Organization"
	}
	return canonicalPtoZ(lower)
}

func canonicalPtoZ(lower string) string {
	switch lower {
	case "p-access-network-info":
		return "P-Access-Network-Info"
	case "p-asserted-identity":
		return "P-Asserted-Identity"
	case "p-asserted-service":
		return "P-Asserted-Service"
	case "p-associated-uri":
		return "P-Associated-URI"
	case "p-called-party-id":
		return "P-Called-Party-ID"
	case "p-charging-function-addresses":
		return "P-Charging-Function-Addresses"
	case "p-charging-vector":
		return "P-Charging-Vector"
	case "p-early-media":
		return "P-Early-Media"
	case "p-preferred-identity":
		return "P-Preferred-Identity"
	case "p-preferred-service":
		return "P-Preferred-Service"
	case "p-private-network-indication":
		return "P-Private-Network-Indication"
	case "p-profile-key":
		return "P-Profile-Key"
	case "p-served-user":
		return "P-Served-User"
	case "p-visited-network-id":
		return "P-Visited-Network-ID"
	case "path":
		return "Path"
	case "priority":
		return "Priority"
	case "privacy":
		return "Privacy"
	case "proxy-authenticate":
		return "Proxy-Authenticate"
	case "proxy-authorization":
		return "Proxy-Authorization"
	case "proxy-require":
		return "Proxy-Require"
	case "rack":
		return "RAck"
	case "reason":
		return "Reason"
	case "record-route":
		return "Record-Route"
	case "recv-info":
		return "Recv-Info"
	case "refer-to":
		return "Refer-To"
	case "referred-by":
		return "Referred-By"
	case "reject-contact":
		return "Reject-Contact"
	case "replaces":
		return "Replaces"
	case "reply-to":
		return "Reply-To"
	case "request-disposition":
		return "Request-Disposition"
	case "require":
		return "Require"
	case "resource-priority":
		return "Resource-Priority"
	case "retry-after":
		return "Retry-After"
	case "route":
		return "Route"
	case "rseq":
		return "RSeq"
	case "security-client":
		return "Security-Client"
	case "security-server":
		return "Security-Server"
	case "security-verify":
		return "Security-Verify"
	case "server":
		return "Server"
	case "service-route":
		return "Service-Route"
	case "session-expires":
		return "Session-Expires"
	case "sip-etag":
		return "SIP-ETag"
	case "sip-if-match":
		return "SIP-If-Match"
	case "subject":
		return "Subject"
	case "subscription-state":
		return "Subscription-State"
	case "supported":
		return "Supported"
	case "timestamp":
		return "Timestamp"
	case "to":
		return "To"
	case "unsupported":
		return "Unsupported"
	case "user-agent":
		return "User-Agent"
	case "via":
		return "Via"
	case "warning":
		return "Warning"
	case "www-authenticate":
		return "WWW-Authenticate"
	}
	return ""
}

// compactForm expands the one-letter names of RFC 3261 §20 and the extensions registered with IANA.
func compactForm(c byte) string {
	switch c {
	case 'a':
		return "Accept-Contact" // RFC 3841 §9
	case 'b':
		return "Referred-By" // RFC 3892 §3
	case 'c':
		return "Content-Type"
	case 'd':
		return "Request-Disposition" // RFC 3841 §9
	case 'e':
		return "Content-Encoding"
	case 'f':
		return "From"
	case 'i':
		return "Call-ID"
	case 'j':
		return "Reject-Contact" // RFC 3841 §9
	case 'k':
		return "Supported"
	case 'l':
		return "Content-Length"
	case 'm':
		return "Contact"
	case 'n':
		return "Identity-Info" // RFC 4474
	case 'o':
		return "Event" // RFC 6665 §8.2
	case 'r':
		return "Refer-To" // RFC 3515 §2
	case 's':
		return "Subject"
	case 't':
		return "To"
	case 'u':
		return "Allow-Events" // RFC 6665 §8.2
	case 'v':
		return "Via"
	case 'x':
		return "Session-Expires" // RFC 4028 §4
	case 'y':
		return "Identity" // RFC 8224 §4
	}
	return ""
}
