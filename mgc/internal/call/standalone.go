package call

import (
	"slices"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// relayed are the methods that pass between browser and core outside a dialog.
var relayed = []string{"MESSAGE", "OPTIONS", "INFO", "PUBLISH"}

// dialogOnly are methods that make no sense outside a dialog.
var dialogOnly = []string{"BYE", "PRACK", "UPDATE"}

// perHop are header fields that do not cross: they belong to one leg, or only the other side's trust domain may assert them.
var perHop = []string{
	"Via", "Route", "Record-Route", "Contact", "Max-Forwards", "Proxy-Require", "Require", "Supported", "Path", "Service-Route",
	"P-Asserted-Identity", "P-Charging-Vector", "P-Charging-Function-Addresses", "P-Visited-Network-ID",
	"Security-Client", "Security-Verify", "Security-Server", "User-Agent", "Server", "Allow",
}

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
const Allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, NOTIFY, REFER, REGISTER, PUBLISH"

// isForUs reports whether the Request-URI names this gateway and no user behind it.
func (m *Manager) isForUs(req *headers.Msg) bool {
	u, err := headers.ParseURI(req.RequestURI)
	return err == nil && u.User == "" && m.isOurs(u.Host, u.Port)
}

// relay sends the request on the other leg and its responses back.
func (m *Manager) relay(leg callcore.Leg, tx ServerTx, req headers.Msg, flow string) {
	var b Binding
	var no *refusal
	if leg == callcore.LegAccess {
		b, no = m.Originator(&req, flow)
	} else {
		b, no = m.Terminator(&req)
	}
	if no != nil {
		m.refuse(tx, &req, no.Status, no.Reason, no.Label)
		return
	}
	out := req.Clone()
	if !headers.DecrementMaxForwards(&out) {
		m.refuse(tx, &req, 483, "", "max_forwards")
		return
	}
	hops := out.Get("Max-Forwards")
	for _, name := range perHop {
		out.Del(name)
	}
	out.Set("Max-Forwards", hops)
	to := ""
	if leg == callcore.LegAccess {
		for _, r := range b.ServiceRoute {
			out.Add("Route", r)
		}
	} else {
		out.RequestURI, to = b.Contact, b.FlowID
	}
	_, err := m.deps.Signalling.Request(leg.Other(), to, out, func(o Outcome) { m.relayBack(tx, &req, o) })
	if err != nil {
		m.deps.Log.Info("request not relayed", zap.String("method", req.Method), zap.Error(err))
		status := 503
		if leg == callcore.LegCore {
			status = 430
		}
		m.refuse(tx, &req, status, "", "unreachable")
	}
}

// relayBack answers with what came back; a failed transaction is 408 or 503 (RFC 3261 §16.7, §16.9).
func (m *Manager) relayBack(tx ServerTx, req *headers.Msg, o Outcome) {
	switch {
	case o.Retransmission:
		return
	case o.Msg.Status == 0 && o.Timeout:
		m.refuse(tx, req, 408, "", "timeout")
		return
	case o.Msg.Status == 0:
		m.refuse(tx, req, 503, "", "unreachable")
		return
	case o.Msg.Status == 100:
		return
	}
	resp := o.Msg.Clone()
	for _, name := range perHop {
		resp.Del(name)
	}
	m.respond(tx, resp)
}

// respond sends a response with a To tag (RFC 3261 §8.2.6.2).
func (m *Manager) respond(tx ServerTx, resp headers.Msg) {
	if headers.ToTag(&resp) == "" {
		_ = headers.SetTag(&resp, "To", newKey()) // To was validated
	}
	if err := tx.Respond(resp); err != nil {
		m.deps.Log.Debug("response not sent", zap.Int("status", resp.Status), zap.Error(err))
	}
}
