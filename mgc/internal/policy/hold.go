package policy

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// maxHold is the longest that a policy function can make us leave it alone.
const maxHold = 5 * time.Minute

// silences is how many requests in a row without an answer mean that a policy function is down; a refused connection means it at once.
const silences = 3

// hold is what is known of one host of the policy function.
type hold struct {
	until    time.Time // leave it alone until then
	overload bool      // because it asked to; else because it is down
	silent   int       // requests in a row without an answer
}

// note learns from the outcome of a request to host. A caller that went away teaches nothing.
func (a *N5) note(host string, rep reply, err error) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.holds[host]
	was := h.until.After(now) && !h.overload
	var te *transportError
	switch {
	case err == nil && (rep.status == 429 || rep.status == 503):
		h = hold{}
		if d := retryAfter(rep.header, now); d > 0 {
			h = hold{until: now.Add(d), overload: true}
		}
	case err == nil:
		h = hold{}
	case errors.Is(err, context.Canceled), errors.Is(err, errToken), errors.Is(err, errForeign), !errors.As(err, &te):
		return
	case te.sent:
		if h.silent++; h.silent >= silences {
			h.until, h.overload = now.Add(a.cfg.Limits.Hold), false
		}
	default:
		h.until, h.overload = now.Add(a.cfg.Limits.Hold), false
	}
	a.holds[host] = h
	if is := h.until.After(now) && !h.overload; is != was {
		if is {
			a.deps.Log.Error("policy function is down", zap.String("host", host), zap.Error(err))
		} else {
			a.deps.Log.Info("policy function is back", zap.String("host", host))
		}
	}
}

// silent notes that host did not answer a call in time; the request itself may still be waited for.
func (a *N5) silent(host string) {
	a.note(host, reply{}, &transportError{err: context.DeadlineExceeded, sent: true})
}

// held returns why host is to be left alone; nil when it is not.
func (a *N5) held(host string) *Refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.holds[host]
	left := time.Until(h.until)
	switch {
	case left <= 0:
		return nil
	case h.overload:
		return &Refusal{Verdict: Overload, Status: 503, RetryAfter: left.Round(time.Second) + time.Second}
	}
	return &Refusal{Verdict: Unreachable, Status: 503, Err: errDown}
}

// errDown is the reason while a policy function that did not answer is left alone.
var errDown = errors.New("the policy function is down")
