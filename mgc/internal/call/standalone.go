package call

import (
	"slices"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// relayed are the methods that pass between browser and core outside a dialog.
var relayed = []string{"MESSAGE", "OPTIONS", "INFO", "PUBLISH", "SUBSCRIBE", "NOTIFY", "REFER"}

// dialogOnly are methods that make no sense outside a dialog.
var dialogOnly = []string{"BYE", "PRACK", "UPDATE"}

// OnStandalone takes a request outside a dialog that is neither INVITE nor REGISTER, and relays it with the identity rules
// of calls (TS 24.229 §5.2.6.3, RFC 3428). OPTIONS for the gateway itself is answered here (RFC 3261 §11).
func (m *Manager) OnStandalone(leg callcore.Leg, tx ServerTx, req headers.Msg, flow string) {
	if req.Method == "OPTIONS" && m.isForUs(&req) {
		resp := headers.NewResponse(&req, 200, "OK")
		resp.Add("Allow", Allow)
		resp.Add("Accept", "application/sdp")
		m.respond(tx, resp)
		return
	}
	if leg == callcore.LegAccess {
		if _, done := m.screen(tx, &req); done {
			return
		}
	}
	if slices.Contains(dialogOnly, req.Method) { // RFC 3261 §15.1.2, RFC 3311 §5.2, RFC 3262 §3
		m.refuse(tx, &req, 481, "", "unknown_dialog")
		return
	}
	if !slices.Contains(relayed, req.Method) {
		resp := headers.NewResponse(&req, 405, "Method Not Allowed")
		resp.Add("Allow", Allow)
		m.deps.Metrics.refused.WithLabelValues("method").Inc()
		m.respond(tx, resp)
		return
	}
	if tags := headers.List(&req, "Require"); len(tags) > 0 {
		resp := headers.NewResponse(&req, 420, "Bad Extension")
		headers.SetList(&resp, "Unsupported", tags)
		m.deps.Metrics.refused.WithLabelValues("extension").Inc()
		m.respond(tx, resp)
		return
	}
	m.relay(leg, tx, req, flow)
}

// Allow lists the methods that the gateway takes.
const Allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, PRACK, SUBSCRIBE, NOTIFY, REFER, REGISTER, PUBLISH"

// isForUs reports whether the Request-URI names this gateway and no user behind it.
func (m *Manager) isForUs(req *headers.Msg) bool {
	u, err := headers.ParseURI(req.RequestURI)
	return err == nil && u.User == "" && m.isOurs(u.Host, u.Port)
}

func (m *Manager) respond(tx ServerTx, resp headers.Msg) {
	if headers.ToTag(&resp) == "" {
		_ = headers.SetTag(&resp, "To", newKey()) // To was validated
	}
	if err := tx.Respond(resp); err != nil {
		m.deps.Log.Debug("response not sent", zap.Int("status", resp.Status), zap.Error(err))
	}
}
