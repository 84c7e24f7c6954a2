package auth

import (
	"errors"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Reason says why a token, or a request with it, was not accepted. It is an error, so errors.Is(err, Expired) works on what
// wraps it. Its text never holds anything of the token.
type Reason uint8

// Reasons. The zero value is no error: the token was accepted.
const (
	Accepted      Reason = iota
	Missing              // no token where one is needed
	BadSyntax            // the header field or the upgrade is malformed, or holds several tokens
	Malformed            // the token itself is: no JWT, too long, claims of the wrong type
	Algorithm            // signed with an algorithm that is not allowed
	UnknownKey           // its key is not in the issuer's set, which is fresh
	BadSignature         // the signature does not match
	Expired              // exp has passed
	NotYetValid          // nbf or iat lies ahead
	WrongIssuer          // iss is not configured
	WrongAudience        // aud is not ours
	ScopeMissing         // a needed scope was not granted
	Inactive             // introspection says so
	NoIdentity           // the claims give no IMPI or no IMPU of our domains
	OtherIdentity        // the token is for somebody else than To, From or the connection
	InUse                // the pooled identity is another client's
	PoolEmpty            // no pooled identity is free
	Unavailable          // keys or introspection cannot be had: nothing is known about the token
	Overloaded           // too many verifications at once
	reasons              // number of reasons
)

// row is what a reason means towards the browser.
type row struct {
	name   string // metric label and log word
	status int    // SIP status
	phrase string // "": that of the status
	oauth  string // error parameter of the challenge of a 401 (RFC 8898 §4); "": none
}

// retryAfter is the Retry-After of a 503, in seconds.
const retryAfter = "5"

// table maps each reason to the answer: 401 invites to come again with another token, 403 says that no token of this kind
// will do, 503 that the token is not to blame (RFC 8898 §2.2, TS 24.371 §A.3.2).
var table = [reasons]row{
	Accepted:      {"accepted", 200, "", ""},
	Missing:       {"missing", 401, "", ""},
	BadSyntax:     {"bad_syntax", 400, "Malformed Credentials", ""},
	Malformed:     {"malformed", 401, "", "invalid_token"},
	Algorithm:     {"algorithm", 401, "", "invalid_token"},
	UnknownKey:    {"unknown_key", 401, "", "invalid_token"},
	BadSignature:  {"bad_signature", 401, "", "invalid_token"},
	Expired:       {"expired", 401, "", "invalid_token"},
	NotYetValid:   {"not_yet_valid", 401, "", "invalid_token"},
	WrongIssuer:   {"wrong_issuer", 401, "", "invalid_token"},
	WrongAudience: {"wrong_audience", 401, "", "invalid_token"},
	ScopeMissing:  {"scope_missing", 401, "", "invalid_scope"},
	Inactive:      {"inactive", 401, "", "invalid_token"},
	NoIdentity:    {"no_identity", 403, "No Identity For This Token", ""},
	OtherIdentity: {"other_identity", 403, "Not Your Identity", ""},
	InUse:         {"in_use", 403, "Identity In Use", ""},
	PoolEmpty:     {"pool_empty", 503, "No Identity Free", ""},
	Unavailable:   {"unavailable", 503, "Token Cannot Be Verified", ""},
	Overloaded:    {"overloaded", 503, "Too Many Verifications", ""},
}

// Error is "auth: " and the reason's name.
func (r Reason) Error() string { return "auth: " + r.String() }

// String is the reason's name: the label in metrics.
func (r Reason) String() string {
	if r >= reasons {
		return "unknown"
	}
	return table[r].name
}

// Status is the SIP status of the answer.
func (r Reason) Status() int {
	if r >= reasons {
		return 503
	}
	return table[r].status
}

// ReasonOf returns the reason in err's chain: Accepted for nil, Unavailable for an error that has none, so that what is not
// understood never lets anybody in.
func ReasonOf(err error) Reason {
	var r Reason
	switch {
	case err == nil:
		return Accepted
	case errors.As(err, &r) && r != Accepted && r < reasons:
		return r
	}
	return Unavailable
}

// Answer returns the response that refuses req for err: the status and, by status, the challenge or Retry-After. The tag of To
// is the caller's business. err must not be nil.
func (c Challenge) Answer(req *headers.Msg, err error) headers.Msg {
	r := ReasonOf(err)
	resp := headers.NewResponse(req, r.Status(), table[r].phrase)
	switch r.Status() {
	case 401:
		resp.Add("WWW-Authenticate", c.Value(r))
	case 503:
		resp.Add("Retry-After", retryAfter)
	}
	return resp
}
