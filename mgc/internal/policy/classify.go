package policy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// classify reads a response that is no success. absent: the PCF knows no PDU session of this user (TS 29.514 §5.7.3).
func classify(rep reply) (r *Refusal, absent bool) {
	var p problemDetails
	_ = json.Unmarshal(rep.body, &p) // without details the status speaks
	if len(p.Cause) > 100 {
		p.Cause = p.Cause[:100]
	}
	r = &Refusal{Verdict: Unreachable, Status: 503, Cause: p.Cause, RetryAfter: retryAfter(rep.header, time.Now()), Acceptable: p.acceptable()}
	switch {
	case p.Cause == "PDU_SESSION_NOT_AVAILABLE":
		r.Verdict, r.Status = Forbidden, 403
		return r, true
	case rep.status == http.StatusTooManyRequests || rep.status == http.StatusServiceUnavailable:
		r.Verdict = Overload
	case rep.status == http.StatusForbidden && r.Acceptable != nil:
		r.Verdict, r.Status = NotAcceptable, 488
	case p.Cause == "REQUESTED_SERVICE_TEMPORARILY_NOT_AUTHORIZED":
		r.Verdict = Overload
	case p.Cause == "INVALID_SERVICE_INFORMATION" || p.Cause == "FILTER_RESTRICTIONS":
		r.Verdict, r.Status = NotAcceptable, 488
	case rep.status == http.StatusForbidden:
		r.Verdict, r.Status = Forbidden, 403
	default: // our fault, its fault, or no PCF at all: no verdict about the call
		r.Err = fmt.Errorf("the policy function answers %d", rep.status)
	}
	return r, false
}
