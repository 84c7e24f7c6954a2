package call

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/isthmus-gateway/isthmus/mgc/internal/bus"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	// lingerAnswered is how long a forwarded INVITE is remembered after its 2xx, which its owner may repeat (64*T1 and a reserve).
	lingerAnswered = 40 * time.Second
	// lingerOpen bounds a forwarded request that is never answered; the transaction layer gives up before.
	lingerOpen = 25 * time.Minute
)

// away is a request that another instance works on.
type away struct {
	tx       ServerTx
	req      headers.Msg
	owner    string
	answered bool        // an INVITE that has its 2xx
	timer    *time.Timer // forgets it
}

// Join lets the instances of the pool bring this one what is for its calls and browsers. Called once, after everything that calls
// use is there. Errors: those of bus.Serve.
func (m *Manager) Join() error {
	if m.courier == nil {
		return nil
	}
	if err := m.deps.Bus.Serve(subjectSIP, m.onParcel); err != nil {
		return err
	}
	return m.deps.Bus.Serve(subjectNotify, m.onForwardedNotify)
}

// canForward reports whether a request may go on to the instance: there is a bus, and it has not been forwarded before.
func (m *Manager) canForward(tx ServerTx, owner string) bool {
	_, guest := tx.(*guest)
	return m.courier != nil && !guest && owner != "" && owner != m.cfg.Instance && m.cfg.Alive(owner)
}

// forward brings a request to the instance that owns its call or browser; the answer comes back over tx.
func (m *Manager) forward(owner string, leg callcore.Leg, tx ServerTx, req *headers.Msg) {
	m.deps.Metrics.forwarded.WithLabelValues(kindRequest).Inc()
	a := &away{tx: tx, req: *req, owner: owner}
	m.mu.Lock()
	a.timer = time.AfterFunc(lingerOpen, func() { m.giveUp(tx.ID(), nil) })
	m.away[tx.ID()] = a
	inv := m.invites[tx.ID()]
	delete(m.invites, tx.ID())
	m.mu.Unlock()
	m.dispatch(owner, envelope{Kind: kindRequest, Tx: tx.ID(), Leg: leg, msg: *req}, func(err error) { m.giveUp(tx.ID(), err) })
	if inv != nil && inv.cancel != nil { // it came while the owner was being looked for
		m.dispatch(owner, envelope{Kind: kindCancel, Tx: tx.ID(), Leg: leg, msg: *inv.cancel}, nil)
	}
}

// dispatch sends an envelope; failed (may be nil) is told when it was not taken.
func (m *Manager) dispatch(to string, e envelope, failed func(error)) {
	e.From = m.cfg.Instance
	data, err := e.encode()
	if err == nil && len(data) > bus.MaxMessage {
		err = bus.ErrTooLarge
	}
	if err == nil && !m.courier.send(to, parcel{data, failed}) {
		err = errClosing
	}
	if err != nil {
		m.deps.Log.Info("message for another instance not sent", zap.String("instance", to), zap.String("kind", e.Kind), zap.Error(err))
		if failed != nil {
			failed(err)
		}
	}
}

// giveUp answers a forwarded request that its owner will not answer. After a time-out of the bus the owner may have it all the same.
func (m *Manager) giveUp(id string, why error) {
	if errors.Is(why, bus.ErrTimeout) {
		return
	}
	m.mu.Lock()
	a := m.away[id]
	delete(m.away, id)
	m.mu.Unlock()
	if a == nil {
		return
	}
	a.timer.Stop()
	if !a.answered {
		m.refuse(a.tx, &a.req, 503, "", "forward_failed")
	}
}

// InstanceGone tells that an instance has left the pool: what it was working on for browsers and core of this one is answered here.
func (m *Manager) InstanceGone(instance string) {
	m.mu.Lock()
	delete(m.leaving, instance)
	var ids []string
	for id, a := range m.away {
		if a.owner == instance {
			ids = append(ids, id)
		}
	}
	m.mu.Unlock()
	for _, id := range ids {
		m.giveUp(id, bus.ErrNoInstance)
	}
}

// onResponse passes on what the owner of a forwarded request answers.
func (m *Manager) onResponse(e *envelope) {
	m.mu.Lock()
	a := m.away[e.Tx]
	if a == nil || a.owner != e.From {
		m.mu.Unlock()
		return
	}
	switch {
	case isInvite2xx(&e.msg):
		a.answered = true
		a.timer.Reset(lingerAnswered)
	case e.msg.Status >= 200:
		delete(m.away, e.Tx)
		a.timer.Stop()
	}
	m.mu.Unlock()
	m.respond(a.tx, e.msg)
}

// forwardNotify asks the owner of the call to take the events.
func (m *Manager) forwardNotify(owner string, req *iqv1.NotifyRequest) iqv1.NotifyReply_Verdict {
	if m.courier == nil {
		return iqv1.NotifyReply_VERDICT_RETRY_LATER
	}
	m.deps.Metrics.forwarded.WithLabelValues(subjectNotify).Inc()
	raw, err := proto.Marshal(req)
	if err != nil {
		return iqv1.NotifyReply_VERDICT_RETRY_LATER
	}
	ctx, cancel := context.WithTimeout(m.ctx, parcelTimeout)
	defer cancel()
	out, err := m.deps.Bus.Request(ctx, owner, subjectNotify, raw)
	if err != nil || len(out) != 1 {
		m.deps.Log.Info("events for another instance not delivered", zap.String("instance", owner), zap.Error(err))
		return iqv1.NotifyReply_VERDICT_RETRY_LATER
	}
	return iqv1.NotifyReply_Verdict(out[0])
}

// onForwardedNotify takes events that reached another instance. What is not this instance's call is not sent on.
func (m *Manager) onForwardedNotify(_ context.Context, raw []byte) ([]byte, error) {
	req := &iqv1.NotifyRequest{}
	if err := proto.Unmarshal(raw, req); err != nil {
		return nil, fmt.Errorf("%w: %w", errEnvelope, err)
	}
	return []byte{byte(m.notifyHere(req, false))}, nil
}
