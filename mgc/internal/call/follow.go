package call

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
)

// moved tells an owner that its browser is at another instance; it never reaches the core.
type moved struct {
	callcore.Event
	to string
}

// whereabouts is what an adopted call is told of its browser: it is here, at another instance, or nowhere for the time being.
func (m *Manager) whereabouts(binding string) callcore.Event {
	b, ok := m.deps.Bindings.ByID(binding)
	switch {
	case ok && b.FlowID != "":
		return callcore.FlowBack{}
	case ok && b.Elsewhere != "" && m.cfg.Alive(b.Elsewhere) && !m.isLeaving(b.Elsewhere):
		return moved{to: b.Elsewhere}
	}
	return callcore.FlowLost{}
}

// follow hands a call at rest over to the instance that its browser is at: the record names the new owner, and this instance lets go.
// The new one adopts the call when it is told, or with the first message for it. While the store is away the call stays.
func (o *owner) follow() {
	if o.moveTo == "" || !o.atRest() && !o.goesAnyhow() {
		return
	}
	o.record.Owner = o.moveTo
	o.save()
	ctx, cancel := context.WithTimeout(o.m.ctx, 2*time.Second)
	defer cancel()
	if err := o.journal.Sync(ctx); err != nil {
		o.log.Warn("call cannot follow its browser yet", zap.String("to", o.moveTo), zap.Error(err))
		o.record.Owner = o.m.cfg.Instance
		o.save()
		return
	}
	o.lost = true
	o.m.deps.Metrics.yielded.Inc()
	if o.m.courier != nil {
		o.m.dispatch(o.moveTo, envelope{Kind: kindAdopt, Key: o.key, Leaving: o.leaving}, nil)
	}
}

// atRest reports whether nothing of the call depends on this process: it is answered and acknowledged, its media is connected, and no
// transaction is open and no timer runs but those of the session, which go on with its successor.
func (o *owner) atRest() bool {
	if o.ended || o.lost || o.pol.busy || len(o.client) > 0 || len(o.state.Pending()) > 0 {
		return false
	}
	for name := range o.state.Timers() {
		if !callcore.SessionTimer(name) {
			return false
		}
	}
	r := o.state.Record()
	if r.Answer.IsZero() || r.Cause != "" {
		return false
	}
	o.txMu.Lock()
	defer o.txMu.Unlock()
	for id := range o.server {
		if id != o.accepted[callcore.LegAccess] && id != o.accepted[callcore.LegCore] {
			return false
		}
	}
	return true
}
