package call

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// Why a call cannot be had.
var (
	errClosing = errors.New("call: manager is closing")
	errEnded   = errors.New("call: has just ended")
)

// elsewhere is the error of a call that a live instance owns.
type elsewhere struct{ key, owner, binding string }

func (e *elsewhere) Error() string {
	return fmt.Sprintf("call %s is owned by %s, which is alive", e.key, e.owner)
}

// statusOf maps the error of find to the answer for a request. What is only out of reach must not sound like an end: 481 would make
// the peer drop its dialog (RFC 5057 §5.1).
func statusOf(err error) (status int, label string) {
	var other *elsewhere
	switch {
	case errors.As(err, &other):
		return 480, "owned_elsewhere"
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed), errors.Is(err, errClosing):
		return 503, "store"
	}
	return 481, "unknown_dialog"
}

// adoption is a look-up in the store under way.
type adoption struct {
	waiting []func(*owner, error) // in the order of their messages; guarded by Manager.mu
}

// find hands the call's owner to use, or says why there is none. A call that this instance does not hold is looked up in the store
// and adopted when its owner is gone: use then runs on another goroutine, and messages for one call stay in order.
func (m *Manager) find(key string, use func(*owner, error)) {
	m.mu.Lock()
	if a := m.adopting[key]; a != nil {
		a.waiting = append(a.waiting, use)
		m.mu.Unlock()
		return
	}
	o, known, err := m.knownLocked(key)
	if !known {
		a := &adoption{waiting: []func(*owner, error){use}}
		m.adopting[key] = a
		m.wg.Add(1)
		m.mu.Unlock()
		go m.adopt(key, a)
		return
	}
	m.mu.Unlock()
	use(o, err)
}

// knownLocked answers what needs no look at the store. Callers hold mu.
func (m *Manager) knownLocked(key string) (o *owner, known bool, err error) {
	switch {
	case m.calls[key] != nil:
		return m.calls[key], true, nil
	case m.ending[key] != nil:
		return nil, true, errEnded
	case m.closed:
		return nil, true, errClosing
	}
	return nil, false, nil
}

// adopt looks the call up for those who wait, and again for those who came meanwhile, until nobody waits.
func (m *Manager) adopt(key string, a *adoption) {
	defer m.wg.Done()
	for {
		m.mu.Lock()
		waiting := a.waiting
		a.waiting = nil
		if len(waiting) == 0 {
			delete(m.adopting, key)
			m.mu.Unlock()
			return
		}
		o, known, err := m.knownLocked(key)
		m.mu.Unlock()
		if !known {
			o, err = m.revive(key)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			m.deps.Log.Warn("call not adopted", zap.String("call", key), zap.Error(err))
		}
		for _, use := range waiting {
			use(o, err)
		}
	}
}

// revive loads a call and makes this instance its owner by compare-and-set. Losing the race to another instance gives elsewhere.
func (m *Manager) revive(key string) (*owner, error) {
	ctx, cancel := context.WithTimeout(m.ctx, 2*time.Second)
	defer cancel()
	for {
		e, err := m.table.Get(ctx, store.Key(key))
		if err != nil {
			return nil, err
		}
		o, err := m.claim(ctx, key, e)
		if !errors.Is(err, store.ErrConflict) {
			return o, err
		}
	}
}

// claim makes this instance the owner of the record, as long as it is at the revision of e.
func (m *Manager) claim(ctx context.Context, key string, e store.Entry[store.Call]) (*owner, error) {
	rec := e.Value
	if rec.Owner != m.cfg.Instance && m.cfg.Alive(rec.Owner) {
		return nil, &elsewhere{key, rec.Owner, rec.Flow}
	}
	state := &callcore.State{}
	if err := json.Unmarshal(rec.State, state); err != nil {
		return nil, fmt.Errorf("call %s: stored state: %w", key, err)
	}
	rec.Owner = m.cfg.Instance
	rev, err := m.table.Update(ctx, e.ID, rec, e.Revision, store.Forever)
	if err != nil {
		return nil, fmt.Errorf("call %s: claim: %w", key, err)
	}
	m.deps.Metrics.adopted.Inc()
	o := newOwner(m, key, state, rec, rev)
	o.post(resumed{})
	o.post(callcore.Rehomed{AccessHost: m.cfg.AccessHost, CoreHost: m.cfg.CoreHost})
	o.post(m.whereabouts(rec.Flow))
	if !m.enter(o, 0, false) {
		o.journal.Close()
		return nil, errClosing // the record is found by the next instance of this name
	}
	if realms := m.deps.Gateways.Down(o.node()); len(realms) > 0 { // nobody told of it who owned the call; what fails from now on, RealmsLost tells
		o.post(callcore.RealmsLost{Realms: realms})
	}
	return o, nil
}

// enter makes o findable and starts it; false when the manager closes, or takes no new calls, or has as many as the limit, 0: none. A call that exists is
// taken over whatever the limit says.
func (m *Manager) enter(o *owner, limit int, fresh bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || fresh && (m.draining || limit > 0 && len(m.calls) >= limit) {
		return false
	}
	m.calls[o.key] = o
	m.deps.Metrics.active.Set(float64(len(m.calls)))
	m.wg.Add(1)
	go o.run()
	return true
}

// retire takes o out of the calls; an ended one is remembered until its record is gone.
func (m *Manager) retire(o *owner) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls, o.key)
	if o.ended {
		m.ending[o.key] = o
	}
	for id, inv := range m.invites {
		if inv.o == o {
			delete(m.invites, id)
		}
	}
	m.deps.Metrics.active.Set(float64(len(m.calls)))
}

// leave forgets o. Requests that it never read go to the next owner when there is one; all others without a final response get one.
func (m *Manager) leave(o *owner, left []callcore.Event) {
	m.mu.Lock()
	if m.ending[o.key] == o {
		delete(m.ending, o.key)
	}
	m.mu.Unlock()
	for _, ev := range left {
		if req, ok := ev.(callcore.RequestIn); ok && o.lost {
			if s, ok := o.forget(req.Tx); ok {
				m.OnRequest(req.Leg, s.tx, req.Msg, s.flow)
			}
		}
	}
	status, label := 503, "closing"
	if o.ended {
		status, label = 481, "unknown_dialog"
	}
	for _, s := range o.unanswered() {
		m.refuse(s.tx, &s.req, status, "", label)
	}
}

// invite is a pending INVITE, for its CANCEL.
type invite struct {
	o      *owner       // nil: its owner is still being looked for
	cancel *headers.Msg // came before the owner was found
}

// expect notes an INVITE whose owner is to be found.
func (m *Manager) expect(tx ServerTx, req *headers.Msg) {
	if req.Method != "INVITE" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.invites[tx.ID()] == nil {
		m.invites[tx.ID()] = &invite{}
	}
}

// bind gives the INVITE to its owner, and with it a CANCEL that was faster.
func (m *Manager) bind(tx ServerTx, o *owner, leg callcore.Leg) {
	m.mu.Lock()
	inv := m.invites[tx.ID()]
	var cancel *headers.Msg
	if inv != nil {
		inv.o, cancel = o, inv.cancel
	}
	m.mu.Unlock()
	if cancel != nil {
		o.post(callcore.CancelIn{Leg: leg, Tx: tx.ID(), Msg: cancel})
	}
}

// answered forgets an INVITE that has its final response.
func (m *Manager) answered(tx string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.invites, tx)
}
