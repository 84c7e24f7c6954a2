package call

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// The policy function is asked beside the owner, one request of a call at a time. The initial INVITE waits for its first verdict, so that
// nobody is alerted for a call that may not be; later ones are asked while the call goes on:
//
//	effect INVITE   held back; Update(Preliminary) -> verdict: sent, or the caller is refused
//	forks           Update(Preliminary, Forks)
//	answer, changes Update(Final); a refusal of the media themselves releases the call, one for lack of an answer does not
//	over            Delete
//
// What is told is derived from the state after each event and told when it differs from what was told last: a successor, which
// has that in its record, tells only what is new.

// policing is the owner's view of the policy function. Owned by run.
type policing struct {
	passed bool                   // the initial INVITE waits no longer
	held   []callcore.SendRequest // at most one: the initial INVITE
	busy   bool                   // a request is under way
	cancel context.CancelFunc     // ends it; nil before the first
	done   bool                   // the application session is given up
}

// verdict is the outcome of a request to the policy function; it never reaches the core.
type verdict struct {
	callcore.Event
	session policy.Session
	told    string
	err     error
}

// reported is an event of the policy function; it never reaches the core.
type reported struct {
	callcore.Event
	what policy.Event
}

// withhold takes the initial INVITE out of the effects until the policy function has spoken, and what cancels one that it holds.
func (o *owner) withhold(effects []callcore.Effect) []callcore.Effect {
	p := &o.pol
	if o.m.deps.Policy == nil || p.passed {
		return effects
	}
	return slices.DeleteFunc(effects, func(e callcore.Effect) bool {
		switch e := e.(type) {
		case callcore.SendRequest:
			if e.Msg.Method == "INVITE" && e.Tx != "" && headers.ToTag(&e.Msg) == "" {
				p.held = append(p.held, e)
				return true
			}
		case callcore.SendCancel:
			if i := slices.IndexFunc(p.held, func(h callcore.SendRequest) bool { return h.Tx == e.Tx }); i >= 0 {
				p.held = nil
				o.post(callcore.TxFailed{Leg: e.Leg, Tx: e.Tx}) // never sent
				return true
			}
		}
		return false
	})
}

// letGo sends what was held back.
func (o *owner) letGo() {
	held := o.pol.held
	o.pol.held, o.pol.passed = nil, true
	for _, e := range held {
		o.perform(e)
	}
}

// authorise asks the policy function when there is something new to tell, and gives the application session up when the call is over.
func (o *owner) authorise() {
	p := &o.pol
	if o.m.deps.Policy == nil || o.lost {
		return
	}
	f := o.state.Facts()
	switch {
	case f.Over || o.ended:
		o.dismiss()
	case p.busy:
	case len(p.held) > 0, f.Settled, len(f.Forks) > 0 && o.side.Session.Open():
		o.tell(&f)
	}
}

// tell has the facts told unless they are known.
func (o *owner) tell(f *callcore.Facts) {
	facts := o.policyFacts(f)
	if !facts.UE.IsValid() {
		if len(o.pol.held) > 0 {
			o.log.Info("call goes on without the policy function: the browser's address is not known")
		}
		o.letGo()
		return
	}
	told := digest(facts)
	if told == o.side.Told && len(o.pol.held) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(o.m.ctx)
	o.pol.busy, o.pol.cancel = true, cancel
	session := o.side.Session
	o.calls.Add(1)
	go func() {
		defer o.calls.Done()
		defer cancel()
		next, err := o.m.deps.Policy.Update(ctx, session, facts) // creates when there is no session
		if v := (verdict{session: next, told: told, err: err}); o.post(v) != taken {
			o.stray(v)
		}
	}()
}

// stray gives up the application session of a verdict that came too late: nobody knows of it but we.
func (o *owner) stray(v verdict) {
	if o.ended || v.session.URI != o.side.Session.URI {
		o.m.deps.Policy.Delete(v.session)
	}
}

// judge takes a verdict. It returns the event that follows for the core, nil for none.
func (o *owner) judge(v verdict) callcore.Event {
	o.pol.busy = false
	o.side.Session = v.session
	var no *policy.Refusal
	switch {
	case o.state.Facts().Over: // authorise gives it up
		return nil
	case v.err == nil:
	case errors.As(v.err, &no):
		return o.refused(no, v.told)
	case errors.Is(v.err, context.Canceled): // the manager closes; the successor asks again
		return nil
	default: // our own mistake must not be the caller's
		o.log.Error("policy function cannot be asked", zap.Error(v.err))
	}
	o.side.Told = v.told
	o.letGo()
	return nil
}

// refused takes a refusal. Before anybody is alerted it is the caller's answer. Of an answered call only a verdict on the media or the
// user is one: that the policy function is overloaded, or down, ends no conversation.
func (o *owner) refused(no *policy.Refusal, told string) callcore.Event {
	o.log.Info("policy function refuses", zap.Error(no))
	o.side.Told = told
	f := o.state.Facts()
	final := no.Verdict == policy.NotAcceptable || no.Verdict == policy.Forbidden
	if len(o.pol.held) == 0 && (!final || !f.Answered) {
		return nil
	}
	out := callcore.Release{Status: no.Status, Reason: "Media not authorised"}
	if no.RetryAfter > 0 {
		out.Fields = []headers.Field{{Name: "Retry-After", Value: strconv.FormatInt(int64((no.RetryAfter+time.Second-1)/time.Second), 10)}}
	}
	if no.Status == 488 {
		out.Body = acceptable(&f, no.Acceptable)
	}
	return out
}

// dismiss gives the application session up; what is under way is ended first.
func (o *owner) dismiss() {
	switch p := &o.pol; {
	case p.busy:
		p.cancel()
	case !p.done:
		p.done = true
		o.m.deps.Policy.Delete(o.side.Session)
	}
}

// finishPolicy gives up what an owner that stops leaves behind: verdicts that it has not read, and the application session of a call that
// has ended. That of any other call is its successor's.
func (o *owner) finishPolicy(left []callcore.Event) {
	if o.m.deps.Policy == nil {
		return
	}
	for _, ev := range left {
		if v, ok := ev.(verdict); ok {
			o.stray(v)
		}
	}
	if o.ended {
		o.m.deps.Policy.Delete(o.side.Session)
	}
}

// hearsay takes an event of the policy function. It returns the event that follows for the core, nil for none.
func (o *owner) hearsay(r policy.Event) callcore.Event {
	if !sameResource(r.Resource, o.side.Session.URI) {
		if !o.pol.busy { // else it may be about what is being made
			o.m.deps.Policy.Delete(policy.Session{Call: o.key, URI: r.Resource})
		}
		return nil
	}
	if ani := r.Access.ANI(); ani != "" {
		o.side.ANI = ani
	}
	why := ""
	switch number := o.state.Facts().Sides[callcore.LegAccess].Audio + 1; {
	case r.Kind == policy.Terminated:
		why = "Policy function ended the session"
	case r.Kind == policy.ResourcesFailed && (len(r.Media) == 0 || slices.Contains(r.Media, number)):
		why = "Media bearer lost"
	case r.Kind == policy.OutOfCredit && r.Cause == "TERMINATE":
		why = "Out of credit"
	default:
		return nil
	}
	o.log.Info("policy function releases the call", zap.String("kind", string(r.Kind)), zap.String("cause", headers.ForLog(r.Cause, 60)))
	return callcore.Release{Status: 503, Reason: why}
}

// sameResource compares by path: the PCF may name itself in another way than it is reached.
func sameResource(a, b string) bool {
	x, err1 := url.Parse(a)
	y, err2 := url.Parse(b)
	return a != "" && err1 == nil && err2 == nil && x.Path == y.Path
}

// hear brings the events of the policy function to their calls until the manager closes.
func (m *Manager) hear(events <-chan policy.Event) {
	defer m.wg.Done()
	for {
		select {
		case ev := <-events:
			m.report(ev)
		case <-m.ctx.Done():
			return
		}
	}
}

// report brings an event to the owner of its call. One that no call of the pool has is of an application session that nobody needs.
func (m *Manager) report(ev policy.Event) {
	m.find(ev.Call, func(o *owner, err error) {
		switch {
		case err == nil && o.post(reported{what: ev}) == taken:
		case errors.Is(err, store.ErrNotFound):
			m.deps.Policy.Delete(policy.Session{Call: ev.Call, URI: ev.Resource})
		case err == nil, errors.Is(err, errEnded): // it is being given up
		default:
			m.deps.Metrics.dropped.Inc()
			m.deps.Log.Warn("event of the policy function is lost", zap.String("call", ev.Call), zap.String("kind", string(ev.Kind)), zap.Error(err))
		}
	})
}
