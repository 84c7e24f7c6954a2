package call

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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

	courier *courier // nil: this instance is alone

	wg  sync.WaitGroup     // owners, adoptions, the reader of policy events
	ctx context.Context    // ends with Close
	end context.CancelFunc // ends ctx

	mu       sync.Mutex                      // guards below
	calls    map[string]*owner               // by call key
	plays    uint64                          // orders of operators so far
	playing  map[string]chan callcore.Played // those that wait for their outcome
	ending   map[string]*owner               // ended, the record is being deleted
	adopting map[string]*adoption            // being looked up in the store
	invites  map[string]*invite              // by server transaction of a pending INVITE, for CANCEL
	away     map[string]*away                // requests that other instances work on, by server transaction
	leaving  map[string]bool                 // other instances that have handed calls over because they stop
	draining bool                            // no new calls
	closed   bool                            // no calls at all
}

// NewManager returns a manager without calls.
func NewManager(cfg Config, deps Deps) *Manager {
	m := &Manager{cfg: cfg, deps: deps, table: store.Calls(deps.Store), calls: map[string]*owner{}, ending: map[string]*owner{}, playing: map[string]chan callcore.Played{},
		adopting: map[string]*adoption{}, invites: map[string]*invite{}, away: map[string]*away{}, leaving: map[string]bool{}}
	m.ctx, m.end = context.WithCancel(context.Background())
	if deps.Bus != nil {
		m.courier = newCourier(m.ctx, deps.Bus)
	}
	if deps.Policy != nil {
		m.wg.Add(1)
		go m.hear(deps.Policy.Events())
	}
	return m
}

// OnRequest takes a request inside a dialog, or an initial INVITE. leg says which edge it came from, flow which connection
// ("" for the core).
func (m *Manager) OnRequest(leg callcore.Leg, tx ServerTx, req headers.Msg, flow string) {
	m.expect(tx, &req)
	if headers.ToTag(&req) == "" {
		if req.Method != "INVITE" {
			m.refuse(tx, &req, 481, "", "unknown_dialog")
			return
		}
		m.begin(leg, tx, req, flow)
		return
	}
	if p, ok := m.openPeer(req.RequestURI, leg); ok {
		m.relayInDialog(leg, tx, req, flow, p)
		return
	}
	key, status := m.locate(&req, leg)
	if status != 0 {
		m.refuse(tx, &req, status, "", map[int]string{403: "forged_token", 481: "unknown_dialog"}[status])
		return
	}
	m.seek(key, tx, callcore.RequestIn{Leg: leg, Tx: tx.ID(), Msg: req}, flow)
}

// seek brings an in-dialog request to the owner of its call.
func (m *Manager) seek(key string, tx ServerTx, ev callcore.RequestIn, flow string) {
	m.find(key, func(o *owner, err error) {
		if err == nil {
			m.deliver(o, tx, ev, flow)
			return
		}
		if other := (*elsewhere)(nil); errors.As(err, &other) && m.canForward(tx, other.owner) {
			if m.mayUse(ev.Leg, tx, flow, other.binding) {
				m.forward(other.owner, ev.Leg, tx, &ev.Msg)
				return
			}
			m.refuse(tx, &ev.Msg, 403, "Dialog of Another User", "foreign_flow")
			return
		}
		status, label := statusOf(err)
		m.refuse(tx, &ev.Msg, status, "", label)
	})
}

// deliver hands a request to its owner after checking that it came over the browser's own connection.
func (m *Manager) deliver(o *owner, tx ServerTx, ev callcore.RequestIn, flow string) {
	if !m.mayUse(ev.Leg, tx, flow, o.binding) {
		m.refuse(tx, &ev.Msg, 403, "Dialog of Another User", "foreign_flow")
		return
	}
	if ev.Msg.Method == "REFER" {
		m.translateReferTo(ev.Leg, &ev.Msg)
	}
	switch o.request(tx, ev, flow) {
	case taken:
		m.bind(tx, o, ev.Leg)
	case full:
		m.refuse(tx, &ev.Msg, 500, "Call Overloaded", "inbox_full")
	case over: // it has stopped meanwhile: a successor, or the reason why there is none
		m.seek(o.key, tx, ev, flow)
	}
}

// owns reports whether the binding was made over the flow.
func (m *Manager) owns(flow, binding string) bool {
	if binding == anonymousPrefix+flow {
		return flow != ""
	}
	return slices.ContainsFunc(m.deps.Bindings.OfFlow(flow), func(b Binding) bool { return b.ID == binding })
}

// OnCancel takes a CANCEL of the INVITE of tx; it is answered already.
func (m *Manager) OnCancel(leg callcore.Leg, tx ServerTx, cancel headers.Msg) {
	m.mu.Lock()
	inv, forwarded := m.invites[tx.ID()], m.away[tx.ID()]
	var o *owner
	if inv != nil {
		if o = inv.o; o == nil {
			inv.cancel = &cancel
		}
	}
	m.mu.Unlock()
	switch {
	case o != nil:
		o.post(callcore.CancelIn{Leg: leg, Tx: tx.ID(), Msg: &cancel})
	case inv == nil && forwarded != nil:
		m.dispatch(forwarded.owner, envelope{Kind: kindCancel, Tx: tx.ID(), Leg: leg, msg: cancel}, nil)
	}
}

// OnAck takes an ACK for a 2xx. One that names no call is dropped: there is nobody to answer to (RFC 3261 §17).
func (m *Manager) OnAck(leg callcore.Leg, ack headers.Msg, flow string) {
	m.ack(leg, ack, func(binding, owner string) bool {
		if leg == callcore.LegAccess && !m.owns(flow, binding) {
			return false
		}
		if owner != "" && m.courier != nil {
			m.dispatch(owner, envelope{Kind: kindAck, Leg: leg, msg: ack}, nil)
		}
		return true
	})
}

// ackHere takes an ACK that another instance has forwarded, and has looked at.
func (m *Manager) ackHere(leg callcore.Leg, ack headers.Msg) {
	m.ack(leg, ack, func(_, owner string) bool { return owner == "" })
}

// ack brings an ACK to its call. allow is asked with the binding of the call and the other instance that owns it, "" when it is here.
func (m *Manager) ack(leg callcore.Leg, ack headers.Msg, allow func(binding, owner string) bool) {
	stray := func() { m.deps.Metrics.refused.WithLabelValues("stray_ack").Inc() }
	key, status := m.locate(&ack, leg)
	if status != 0 {
		stray()
		return
	}
	m.find(key, func(o *owner, err error) {
		other := (*elsewhere)(nil)
		switch {
		case errors.As(err, &other):
			if !allow(other.binding, other.owner) {
				stray()
			}
		case err != nil || !allow(o.binding, ""):
			stray()
		default:
			o.post(callcore.AckIn{Leg: leg, Msg: ack})
		}
	})
}

// Notify takes events that an MGW observed; the verdict is for its NotifyReply. It blocks while the call is looked up in the
// store or its owner is asked, at most four seconds.
func (m *Manager) Notify(req *iqv1.NotifyRequest) iqv1.NotifyReply_Verdict {
	return m.notifyHere(req, true)
}

// notifyHere is Notify; forward tells whether the owner of another instance's call is asked.
func (m *Manager) notifyHere(req *iqv1.NotifyRequest, forward bool) iqv1.NotifyReply_Verdict {
	key := req.GetCorrelationId()
	if !isKey(key) {
		return iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT // not one of ours
	}
	type found struct {
		verdict iqv1.NotifyReply_Verdict
		owner   string // instance to ask
	}
	done := make(chan found, 1) // one writer, once
	m.find(key, func(o *owner, err error) {
		if other := (*elsewhere)(nil); forward && errors.As(err, &other) {
			done <- found{owner: other.owner}
			return
		}
		done <- found{verdict: m.notify(o, err, req)}
	})
	f := <-done
	if f.owner != "" {
		return m.forwardNotify(f.owner, req)
	}
	return f.verdict
}

func (m *Manager) notify(o *owner, err error, req *iqv1.NotifyRequest) iqv1.NotifyReply_Verdict {
	switch {
	case errors.Is(err, errEnded):
		return iqv1.NotifyReply_VERDICT_ACK // its Subtract is on the way or done
	case errors.Is(err, store.ErrNotFound):
		return iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT
	case err != nil:
		return iqv1.NotifyReply_VERDICT_RETRY_LATER
	case o.post(callcore.IqNotify{Req: req}) == taken:
		return iqv1.NotifyReply_VERDICT_ACK
	}
	return iqv1.NotifyReply_VERDICT_RETRY_LATER
}

// FlowLost tells the calls of a binding that its WebSocket is gone, FlowBack that it registered again.
func (m *Manager) FlowLost(binding string) { m.tell(binding, callcore.FlowLost{}) }

// FlowBack is the opposite of FlowLost.
func (m *Manager) FlowBack(binding string) { m.tell(binding, callcore.FlowBack{}) }

// Moved tells that a binding has registered over another instance: its calls go there as soon as they are at rest.
func (m *Manager) Moved(binding, instance string) { m.tell(binding, moved{to: instance}) }

// Deregistered ends the calls of a binding (TS 24.229 §5.2.8.1.4).
func (m *Manager) Deregistered(binding string) {
	m.tell(binding, callcore.Release{Status: 480, Reason: "Registration ended"})
}

func (m *Manager) tell(binding string, ev callcore.Event) {
	for _, o := range m.snapshot() {
		if o.binding == binding {
			o.flow(callcore.LegAccess) // a flow that is back is noted
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

// RealmsLost ends the calls that have a termination in one of the realms on that boot of the MGW: its interface has failed there (TS 23.334
// §6.1.15). Their contexts are subtracted.
func (m *Manager) RealmsLost(node Node, realms []string) {
	for _, o := range m.snapshot() {
		if n := o.node(); n.MGW == node.MGW && n.Boot == node.Boot {
			o.post(callcore.RealmsLost{Realms: realms})
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

// Drain refuses new calls and waits until the present ones but so many have ended, or ctx ends.
func (m *Manager) Drain(ctx context.Context, but int) error {
	m.mu.Lock()
	m.draining = true
	m.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if len(m.snapshot()) <= but {
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
	m.closed = true
	for _, a := range m.away {
		a.timer.Stop()
	}
	m.mu.Unlock()
	m.end()
	m.wg.Wait()
	if m.courier != nil {
		m.courier.close()
	}
}

// refuse answers a request that reaches no call, and counts it.
func (m *Manager) refuse(tx ServerTx, req *headers.Msg, status int, reason, why string) {
	if req.Method == "INVITE" {
		m.answered(tx.ID())
	}
	m.deps.Metrics.refused.WithLabelValues(why).Inc()
	if reason == "" {
		reason = headers.ReasonPhrase(status)
	}
	resp := headers.NewResponse(req, status, reason)
	if status == 503 {
		resp.Add("Retry-After", "5")
	}
	m.respond(tx, resp)
}
