package policy

import (
	"fmt"
	"time"
)

// Verdict is a kind of refusal, a word fit for a metric label.
type Verdict string

// The verdicts that are no grant.
const (
	NotAcceptable Verdict = "not_acceptable" // these media are not authorised; other or narrower ones may be
	Forbidden     Verdict = "forbidden"      // the service is not authorised for this user
	Overload      Verdict = "overload"       // the policy function, or our share of it, is overloaded
	Unreachable   Verdict = "unreachable"    // no usable answer, and the configuration says to refuse then
)

// Refusal is the error of a call, or of a change of it, that may not go on.
type Refusal struct {
	Verdict    Verdict
	Status     int           // SIP status to answer with
	RetryAfter time.Duration // for the Retry-After header field; 0: none
	Acceptable *Acceptable   // what would be authorised; nil: not told
	Cause      string        // application error of the policy function (TS 29.514 §5.7.3), e.g. "REQUESTED_SERVICE_NOT_AUTHORIZED"
	Err        error         // what went wrong below; nil when the policy function answered
}

// Error says verdict and cause; it holds no identity and no token.
func (r *Refusal) Error() string {
	s := "policy: " + string(r.Verdict)
	if r.Cause != "" {
		s += ": " + r.Cause
	}
	if r.RetryAfter > 0 {
		s += fmt.Sprintf(": retry after %s", r.RetryAfter)
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

// Acceptable is the most that the policy function would authorise (TS 29.514 §5.6.2.30), bit/s; the description in a 488 carries it
// (TS 24.229 §5.2.7.2, b=AS).
type Acceptable struct {
	Up, Down uint64            // of the whole call; 0: no limit told
	Media    map[int]Bandwidth // by number of the media line
}

// Bandwidth is a pair of rates in bit/s; 0: no limit told.
type Bandwidth struct{ Up, Down uint64 }
