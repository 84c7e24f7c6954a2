package call

import (
	"context"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// guest is the server transaction of a request that another instance has forwarded: its responses go back there.
type guest struct {
	m        *Manager
	id       string // of the transaction there
	instance string
	req      headers.Msg
}

// ID implements ServerTx.
func (g *guest) ID() string { return g.id }

// Respond implements ServerTx. It does not block; a response that is lost on the way is lost to the peer as in a network.
func (g *guest) Respond(resp headers.Msg) error {
	headers.CompleteResponse(&g.req, &resp)
	g.m.dispatch(g.instance, envelope{Kind: kindResponse, Tx: g.id, msg: resp}, func(err error) {
		g.m.deps.Log.Info("response to another instance lost", zap.String("instance", g.instance), zap.Int("status", resp.Status), zap.Error(err))
	})
	return nil
}

// onParcel takes an envelope from another instance. It does not wait; an error tells the sender that nothing was done.
func (m *Manager) onParcel(_ context.Context, data []byte) ([]byte, error) {
	e, err := decodeEnvelope(data)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		return nil, errClosing
	}
	switch e.Kind {
	case kindResponse:
		m.onResponse(&e)
	case kindAck:
		m.ackHere(e.Leg, e.msg)
	case kindAdopt:
		if e.Leaving {
			m.mu.Lock()
			m.leaving[e.From] = true
			m.mu.Unlock()
		}
		m.find(e.Key, func(_ *owner, err error) {
			if err != nil {
				m.deps.Log.Info("call that was handed over not adopted", zap.String("call", e.Key), zap.Error(err))
			}
		})
	case kindCancel:
		m.OnCancel(e.Leg, &guest{m: m, id: e.Tx, instance: e.From, req: e.msg}, e.msg)
	case kindRequest:
		g := &guest{m: m, id: e.Tx, instance: e.From, req: e.msg}
		if e.msg.Method == "INVITE" || headers.ToTag(&e.msg) != "" {
			m.OnRequest(e.Leg, g, e.msg.Clone(), "")
		} else {
			m.OnStandalone(e.Leg, g, e.msg.Clone(), "")
		}
	default:
		return nil, errEnvelope
	}
	return nil, nil
}

// mayUse reports whether a request of the leg may reach the calls of the binding: it must come over the browser's own connection. For one
// that another instance has forwarded that one has looked.
func (m *Manager) mayUse(leg callcore.Leg, tx ServerTx, flow, binding string) bool {
	_, forwarded := tx.(*guest)
	return leg == callcore.LegCore || forwarded || m.owns(flow, binding)
}
