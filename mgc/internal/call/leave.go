package call

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
)

// handover tells an owner that its call shall go on at another instance, as this one stops; it never reaches the core.
type handover struct {
	callcore.Event
	to  string
	now bool // also when it is not at rest, as long as it is answered: then it goes on there as after a crash of this instance
}

const (
	leaveTick  = 50 * time.Millisecond
	leaveBatch = 500 // calls that are told to go at a tick: none of the others is to get more of them at once than its lane holds
)

// Leave hands the calls over to other instances of the pool, before an ordered stop. No new ones are taken. Those that are being set up cannot go: in the
// first half of the time they are waited for. The others go when they are at rest, which nearly all are at once, and in the last fifth anyhow if
// they are answered. others lists the instances that are alive; of those, the ones that leave too get none.
//
// What is left when the time is over, or ctx ends, is released with the reason, but for answered calls as long as there is somebody to adopt them, as after
// a crash: their number is returned. Where nobody is there, or can be as the store ends with this process, all are released.
func (m *Manager) Leave(ctx context.Context, longest time.Duration, others func() []string, reason string) (kept int) {
	m.mu.Lock()
	m.draining = true
	m.mu.Unlock()
	if m.cfg.Alone || m.courier == nil {
		m.Release(reason)
		return 0
	}
	began := time.Now()
	tick := time.NewTicker(leaveTick)
	defer tick.Stop()
	told := map[string]*owner{} // by call: one that comes back, from an instance that thinks its browser is here, is not told again
	calls, to := m.snapshot(), m.staying(others())
	for len(calls) > 0 && len(to) > 0 && ctx.Err() == nil && time.Since(began) < longest {
		spent := time.Since(began)
		if spent >= longest/2 || !slices.ContainsFunc(calls, (*owner).early) {
			m.send(calls, told, to, spent >= longest*4/5)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		calls, to = m.snapshot(), m.staying(others())
	}
	m.courier.flush(ctx, tick.C)
	for _, o := range calls {
		if len(to) > 0 && !o.early() {
			kept++
			continue
		}
		o.post(callcore.Release{Status: 503, Reason: reason})
	}
	m.deps.Log.Info("calls handed over", zap.Int("told", len(told)), zap.Int("released", len(calls)-kept), zap.Int("kept", kept))
	return kept
}

// send tells up to a batch of the calls where to go on.
func (m *Manager) send(calls []*owner, told map[string]*owner, to []string, now bool) {
	n := 0
	for _, o := range calls {
		first := told[o.key] == nil
		if first && n == leaveBatch || !first && (!now || told[o.key] != o) {
			continue
		}
		if first {
			n, told[o.key] = n+1, o
		}
		o.post(handover{to: to[rand.IntN(len(to))], now: now})
	}
}

// staying are those of the instances that are others and do not leave, as far as is known.
func (m *Manager) staying(instances []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(instances, func(i string) bool { return i == m.cfg.Instance || m.leaving[i] })
}

// isLeaving reports whether the instance has handed a call over because it stops.
func (m *Manager) isLeaving(instance string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leaving[instance]
}

// early reports whether the call is not answered yet.
func (o *owner) early() bool {
	r := o.shown.Load()
	return r == nil || r.Answer.IsZero()
}

// goesAnyhow reports whether an answered call has to go although it is not at rest.
func (o *owner) goesAnyhow() bool { return o.hurry && !o.ended && !o.lost && !o.early() }
