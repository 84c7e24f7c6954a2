package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// Update implements Agent.
func (a *N5) Update(ctx context.Context, s Session, f Facts) (Session, error) {
	if !s.Open() {
		if s.Absent {
			return s, nil
		}
		return a.Create(ctx, f)
	}
	if err := f.check(); err != nil {
		return s, err
	}
	u, err := url.Parse(s.URI)
	if err != nil || s.Call != f.Call || !a.allowed(u) {
		return s, fmt.Errorf("%w: not the session of this call", ErrFacts)
	}
	if s.UE != f.UE && s.UE.IsValid() { // the address of an application session cannot be changed (TS 29.514 §5.6.2.5)
		a.Delete(s)
		return a.Create(ctx, f)
	}
	if held := a.held(u.Host); held != nil {
		return s, a.refuse(&f, held)
	}
	select {
	case a.slots <- struct{}{}:
	default:
		return s, a.refuse(&f, &Refusal{Verdict: Overload, Status: 503, RetryAfter: a.cfg.Limits.Hold, Err: errors.New("too many requests under way")})
	}
	next, rep, err := a.patch(ctx, u, s, &f)
	<-a.slots
	if err == nil && rep.status == http.StatusNotFound { // the PCF forgot the session, by a restart or by a notification that we missed
		a.unbind(s.Call, s.URI)
		return a.Create(ctx, f)
	}
	return a.patched(ctx, s, next, &f, rep, err)
}

// patch performs the PATCH; it says all anew, so that it may be repeated.
func (a *N5) patch(ctx context.Context, u *url.URL, s Session, f *Facts) (Session, reply, error) {
	body, next, err := a.cfg.patch(s, f)
	if err != nil {
		return s, reply{}, err
	}
	if err := a.enter(); err != nil {
		return s, reply{}, err
	}
	defer a.leave()
	a.bind(s) // a successor's first request for this call
	ctx, cancel := a.bounded(ctx, a.cfg.Limits.Timeout)
	defer cancel()
	req := request{"update", http.MethodPatch, u, body, "application/merge-patch+json"}
	rep, err := a.do(ctx, req)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errToken) && !errors.Is(err, errForeign) {
		rep, err = a.do(ctx, req)
	}
	return next, rep, err
}

// patched reads the outcome of a PATCH.
func (a *N5) patched(ctx context.Context, s, next Session, f *Facts, rep reply, err error) (Session, error) {
	switch {
	case errors.Is(err, ErrClosed):
		return s, err
	case err != nil:
		s.Sent, s.RTCP = union(s.Sent, next.Sent), union(s.RTCP, next.RTCP) // it may have been done
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
		return s, a.refuse(f, &Refusal{Verdict: Unreachable, Status: 503, Err: err})
	case rep.status == http.StatusOK || rep.status == http.StatusNoContent:
		next, events := readContext(next, rep.body)
		a.offer(events)
		return next, nil
	}
	r, _ := classify(rep)
	return s, a.refuse(f, r)
}

func union(a, b []int) []int {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}
