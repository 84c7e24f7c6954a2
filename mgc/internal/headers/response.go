package headers

import "slices"

// NewResponse returns a response to req with the fields that RFC 3261 §8.2.6.2 copies: all Via, From, To, Call-ID, CSeq
// (and Timestamp for a 100). reason "" is filled from ReasonPhrase. The To tag is the caller's business.
func NewResponse(req *Msg, status int, reason string) Msg {
	resp := Msg{Status: status, Reason: reason}
	if reason == "" {
		resp.Reason = ReasonPhrase(status)
	}
	CompleteResponse(req, &resp)
	return resp
}

// CompleteResponse adds to resp what it lacks of the fields a response copies from its request, and Method from the request. A
// response that may make a dialog carries the route of its request back, or the caller could not reach us through the proxies that
// want to stay on the path (RFC 3261 §12.1.1).
func CompleteResponse(req, resp *Msg) {
	resp.Method = req.Method
	var add []Field
	dialog := resp.Status > 100 && resp.Status < 300
	for _, name := range [...]string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
		if resp.Has(name) || name == "Record-Route" && !dialog {
			continue
		}
		for _, v := range req.Values(name) {
			add = append(add, Field{Name: name, Value: v})
		}
	}
	if resp.Status == 100 && !resp.Has("Timestamp") && req.Has("Timestamp") {
		add = append(add, Field{Name: "Timestamp", Value: req.Get("Timestamp")})
	}
	resp.Fields = slices.Concat(add, resp.Fields)
}

// ReasonPhrase returns the default reason phrase of a status code, or one for its class (RFC 3261 §21 and later).
func ReasonPhrase(status int) string {
	if r := reasonPhrases[status]; r != "" {
		return r
	}
	switch status / 100 {
	case 1:
		return "Progress"
	case 2:
		return "OK"
	case 3:
		return "Redirection"
	case 4:
		return "Client Error"
	case 5:
		return "Server Error"
	}
	return "Global Failure"
}

// reasonPhrases is never changed.
var reasonPhrases = map[int]string{
	100: "Trying",
	180: "Ringing",
	181: "Call Is Being Forwarded",
	182: "Queued",
	183: "Session Progress",
	199: "Early Dialog Terminated",
	200: "OK",
	202: "Accepted",
	204: "No Notification",
	300: "Multiple Choices",
	301: "Moved Permanently",
	302: "Moved Temporarily",
	305: "Use Proxy",
	380: "Alternative Service",
	400: "Bad Request",
	401: "Unauthorized",
	402: "Payment Required",
	403: "Forbidden",
	404: "Not Found",
	405: "Method Not Allowed",
	406: "Not Acceptable",
	407: "Proxy Authentication Required",
	408: "Request Timeout",
	410: "Gone",
	412: "Conditional Request Failed",
	413: "Request Entity Too Large",
	414: "Request-URI Too Long",
	415: "Unsupported Media Type",
	416: "Unsupported URI Scheme",
	420: "Bad Extension",
	421: "Extension Required",
	422: "Session Interval Too Small",
	423: "Interval Too Brief",
	430: "Flow Failed",
	433: "Anonymity Disallowed",
	439: "First Hop Lacks Outbound Support",
	440: "Max-Breadth Exceeded",
	469: "Bad Info Package",
	480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist",
	482: "Loop Detected",
	483: "Too Many Hops",
	484: "Address Incomplete",
	485: "Ambiguous",
	486: "Busy Here",
	487: "Request Terminated",
	488: "Not Acceptable Here",
	489: "Bad Event",
	491: "Request Pending",
	493: "Undecipherable",
	494: "Security Agreement Required",
	500: "Server Internal Error",
	501: "Not Implemented",
	502: "Bad Gateway",
	503: "Service Unavailable",
	504: "Server Time-out",
	505: "Version Not Supported",
	513: "Message Too Large",
	555: "Push Notification Service Not Supported",
	580: "Precondition Failure",
	600: "Busy Everywhere",
	603: "Decline",
	604: "Does Not Exist Anywhere",
	606: "Not Acceptable",
}
