package call

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// ErrNoBinding: no browser is registered under the name.
var ErrNoBinding = errors.New("call: no such binding")

// Manager owns the calls of this instance. All methods are safe for concurrent use and do not block on the network, except
// where said.
type Manager struct {
	cfg   Config
	deps  Deps
	table store.Table[store.Call]

	wg  sync.WaitGroup     // owners, adoptions
	ctx context.Context    // ends with Close
	end context.CancelFunc // ends ctx

	mu      sync.Mutex        // guards below
	calls   map[string]*owner // by call key
	invites map[string]*owner // by server transaction of a pending INVITE, for CANCEL
	closing bool              // no new calls
}

// NewManager returns a manager without calls.
func NewManager(cfg Config, deps Deps) *Manager {
	m := &Manager{cfg: cfg, deps: deps, table: store.Calls(deps.Store), calls: map[string]*owner{}, invites: map[string]*owner{}}
	m.ctx, m.end = context.WithCancel(context.Background())
	return m
}

// OnRequest takes a request inside a dialog, or an initial INVITE. leg says which edge it came from, flow which connection
// ("" for the core).
func (m *Manager) OnRequest(leg callcore.Leg, tx ServerTx, req headers.Msg, flow string) {
	if headers.ToTag(&req) == "" {
		if req.Method != "INVITE" {
			m.refuse(tx, &req, 481, "", "unknown_dialog")
			return
		}
		m.begin(leg, tx, req, flow)
		return
	}
	key, status := m.locate(&req, leg)
	if status != 0 {
		m.refuse(tx, &req, status, "", "unknown_dialog")
		return
	}
	ev := callcore.RequestIn{Leg: leg, Tx: tx.ID(), Msg: req}
	if o := m.owned(key); o != nil {
		m.deliver(o, tx, ev, flow)
		return
	}
	m.adopt(key, func(o *owner) {
		if o == nil {
			m.refuse(tx, &req, 481, "", "unknown_dialog")
			return
		}
		m.deliver(o, tx, ev, flow)
	})
}

// deliver hands an in-dialog request to its owner after checking that it came over the browser's own connection.
func (m *Manager) deliver(o *owner, tx ServerTx, ev callcore.RequestIn, flow string) {
	if ev.Leg == callcore.LegAccess && !m.owns(flow, o.binding) {
		m.refuse(tx, &ev.Msg, 403, "Dialog of Another User", "foreign_flow")
		return
	}
	if !o.request(tx, ev) {
		m.refuse(tx, &ev.Msg, 500, "Call Overloaded", "inbox_full")
	}
}

// owns reports whether the binding was made over the flow.
func (m *Manager) owns(flow, binding string) bool {
	return slices.ContainsFunc(m.deps.Bindings.OfFlow(flow), func(b Binding) bool { return b.ID == binding })
}

// OnCancel takes a CANCEL of the INVITE of tx; it is answered already.
func (m *Manager) OnCancel(leg callcore.Leg, tx ServerTx, cancel headers.Msg) {
	m.mu.Lock()
	o := m.invites[tx.ID()]
	m.mu.Unlock()
	if o != nil {
		o.post(callcore.CancelIn{Leg: leg, Tx: tx.ID(), Msg: &cancel})
	}
}

// OnAck takes an ACK for a 2xx. One that names no call is dropped: there is nobody to answer to (RFC 3261 §17).
func (m *Manager) OnAck(leg callcore.Leg, ack headers.Msg, flow string) {
	key, status := m.locate(&ack, leg)
	if status != 0 {
		m.deps.Metrics.refused.WithLabelValues("stray_ack").Inc()
		return
	}
	post := func(o *owner) {
		if o != nil && (leg == callcore.LegCore || m.owns(flow, o.binding)) {
			o.post(callcore.AckIn{Leg: leg, Msg: ack})
		}
	}
	if o := m.owned(key); o != nil {
		post(o)
		return
	}
	m.adopt(key, post)
}

// Notify takes events that an MGW observed; the verdict is for its NotifyReply.
func (m *Manager) Notify(req *iqv1.NotifyRequest) iqv1.NotifyReply_Verdict {
	key := req.GetCorrelationId()
	if o := m.owned(key); o != nil {
		if o.post(callcore.IqNotify{Req: req}) {
			return iqv1.NotifyReply_VERDICT_ACK
		}
		return iqv1.NotifyReply_VERDICT_RETRY_LATER
	}
	ctx, cancel := context.WithTimeout(m.ctx, 2*time.Second)
	defer cancel()
	_, err := m.table.Get(ctx, store.Key(key))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT
	case err == nil:
		m.adopt(key, func(o *owner) {
			if o != nil {
				o.post(callcore.IqNotify{Req: req})
			}
		})
	}
	return iqv1.NotifyReply_VERDICT_RETRY_LATER
}

// FlowLost tells the calls of a binding that its WebSocket is gone, FlowBack that it registered again.
func (m *Manager) FlowLost(binding string) { m.tell(binding, callcore.FlowLost{}) }

// FlowBack is the opposite of FlowLost.
func (m *Manager) FlowBack(binding string) { m.tell(binding, callcore.FlowBack{}) }

// Deregistered ends the calls of a binding (TS 24.229 §5.2.8.1.4).
func (m *Manager) Deregistered(binding string) {
	m.tell(binding, callcore.Release{Status: 480, Reason: "Registration ended"})
}

func (m *Manager) tell(binding string, ev callcore.Event) {
	for _, o := range m.snapshot() {
		if o.binding == binding {
			o.post(ev)
		}
	}
}

// GatewayLost ends the calls whose context was on that boot of the MGW. boot "" means any.
func (m *Manager) GatewayLost(node Node) {
	for _, o := range m.snapshot() {
		if n := o.node(); n.MGW == node.MGW && (node.Boot == "" || n.Boot == node.Boot) {
			o.post(callcore.Release{Status: 503, Reason: "Media gateway lost", Dead: true})
		}
	}
}

// Keys returns the keys of the calls that this instance owns.
func (m *Manager) Keys() []string {
	var out []string
	for _, o := range m.snapshot() {
		out = append(out, o.key)
	}
	return out
}

// Info is a call for listings.
type Info struct {
	State  string // "early", "confirmed"
	Record callcore.Record
}

// List returns the calls that this instance owns.
func (m *Manager) List() []Info {
	var out []Info
	for _, o := range m.snapshot() {
		r := o.shown.Load()
		if r == nil {
			continue
		}
		i := Info{State: "early", Record: *r}
		if !r.Answer.IsZero() {
			i.State = "confirmed"
		}
		out = append(out, i)
	}
	return out
}

func (m *Manager) snapshot() []*owner {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*owner, 0, len(m.calls))
	for _, o := range m.calls {
		out = append(out, o)
	}
	return out
}

func (m *Manager) owned(key string) *owner {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[key]
}

// adopt takes over the call of an instance that is gone, and then calls use on a goroutine of its own; with nil when
// there is no such call, or its owner is alive.
func (m *Manager) adopt(key string, use func(*owner)) {
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		o, err := m.revive(key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			m.deps.Log.Warn("call not adopted", zap.String("call", key), zap.Error(err))
		}
		use(o)
	}()
}

// revive loads a call and makes this instance its owner by compare-and-set.
func (m *Manager) revive(key string) (*owner, error) {
	ctx, cancel := context.WithTimeout(m.ctx, 2*time.Second)
	defer cancel()
	e, err := m.table.Get(ctx, store.Key(key))
	if err != nil {
		return nil, err
	}
	if o := m.owned(key); o != nil {
		return o, nil
	}
	rec := e.Value
	if rec.Owner != m.cfg.Instance && m.cfg.Alive(rec.Owner) {
		return nil, fmt.Errorf("call %s is owned by %s, which is alive", key, rec.Owner)
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
	if !m.enter(o) {
		return nil, errClosing
	}
	o.resume()
	return o, nil
}

var errClosing = errors.New("call: manager is closing")

// enter makes o findable and starts it; false when the manager closes or is full.
func (m *Manager) enter(o *owner) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing || (m.cfg.MaxCalls > 0 && len(m.calls) >= m.cfg.MaxCalls) {
		return false
	}
	m.calls[o.key] = o
	m.deps.Metrics.active.Set(float64(len(m.calls)))
	m.wg.Add(1)
	go o.run()
	return true
}

// leave forgets o.
func (m *Manager) leave(o *owner) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.calls, o.key)
	for id, other := range m.invites {
		if other == o {
			delete(m.invites, id)
		}
	}
	m.deps.Metrics.active.Set(float64(len(m.calls)))
}

// Drain refuses new calls and waits until the present ones have ended or ctx ends.
func (m *Manager) Drain(ctx context.Context) error {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if len(m.snapshot()) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d calls left: %w", len(m.snapshot()), ctx.Err())
		}
	}
}

// Release ends every call with the reason, as an operator's stop does.
func (m *Manager) Release(reason string) {
	for _, o := range m.snapshot() {
		o.post(callcore.Release{Status: 503, Reason: reason})
	}
}

// Close stops the owners without ending their calls, whose records stay, and waits.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.end()
	m.wg.Wait()
}

// refuse answers a request that reaches no call, and counts it.
func (m *Manager) refuse(tx ServerTx, req *headers.Msg, status int, reason, why string) {
	m.deps.Metrics.refused.WithLabelValues(why).Inc()
	if reason == "" {
		reason = headers.ReasonPhrase(status)
	}
	resp := headers.NewResponse(req, status, reason)
	if status == 503 {
		resp.Add("Retry-After", "5")
	}
	if err := tx.Respond(resp); err != nil {
		m.deps.Log.Debug("refusal not sent", zap.Int("status", status), zap.Error(err))
	}
}
