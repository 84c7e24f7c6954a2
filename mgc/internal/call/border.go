package call

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/emergency"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// originating says how a browser's call leaves towards the core (TS 24.229 §5.2.6.3). key is the call's, and its ICID.
func (m *Manager) originating(b Binding, req *headers.Msg, key string) callcore.Outbound {
	return callcore.Outbound{
		Routes: b.ServiceRoute, Target: b.ID,
		Fields: m.cfg.Trust.Assert(req, b.identity()), Dialog: m.cfg.Trust.Charge(key),
	}
}

// terminating says how the core's call reaches the browser (TS 24.229 §5.2.6.4).
func (m *Manager) terminating(b Binding, req *headers.Msg) callcore.Outbound {
	out := callcore.Outbound{RequestURI: b.Contact, Target: b.ID, Answer: m.cfg.Trust.Answer(&headers.Msg{}, b.identity(), req.Get("P-Called-Party-ID"))}
	if m.cfg.Trust.Asserts && req.Has("P-Charging-Vector") {
		out.Dialog = []headers.Field{{Name: "P-Charging-Vector", Value: req.Get("P-Charging-Vector")}}
	}
	return out
}

// screen looks for an emergency call before any other rule (standards MO-01). It returns true when the request has been answered.
// Otherwise service is the service URN of an emergency call that is to be routed, "" for an ordinary call.
func (m *Manager) screen(tx ServerTx, req *headers.Msg) (service string, done bool) {
	service, ok := m.cfg.Emergency.Service(req.RequestURI)
	if !ok {
		return "", false
	}
	m.deps.Metrics.emergencies.WithLabelValues(string(m.cfg.Emergency.Mode)).Inc()
	if m.cfg.Emergency.Mode == emergency.Route {
		return service, false
	}
	resp := headers.NewResponse(req, 380, "Alternative Service")
	resp.Add("P-Asserted-Identity", "<sip:"+m.cfg.CoreHost+">") // from us, not from beyond (TS 24.229 §5.2.10.4)
	resp.Add("Content-Type", emergency.ContentType)
	resp.Body = m.cfg.Emergency.Alternative()
	m.respond(tx, resp)
	return service, true
}

// emergencyCall says how an emergency call leaves: to the E-CSCF, whoever the browser's S-CSCF is (standards EMG-03).
func (m *Manager) emergencyCall(b Binding, req *headers.Msg, key, service string) callcore.Outbound {
	out := callcore.Outbound{RequestURI: service, Routes: []string{"<" + looseRoute(m.cfg.Emergency.ECSCF) + ">"}, Target: b.ID, Dialog: m.cfg.Trust.Charge(key)}
	if b.AOR != "" {
		out.Fields = m.cfg.Trust.Assert(req, b.identity())
	}
	return out
}

func looseRoute(uri string) string {
	if strings.Contains(uri, ";lr") {
		return uri
	}
	return uri + ";lr"
}

// emergencyCaller is who makes an emergency call: a registered browser under any identity of its flow, or, where that is allowed,
// one that is not registered and stays anonymous.
func (m *Manager) emergencyCaller(req *headers.Msg, flow string) (Binding, *refusal) {
	if b := m.deps.Bindings.OfFlow(flow); len(b) > 0 {
		return b[0], nil
	}
	if m.cfg.Emergency.Anonymous && flow != "" {
		return Binding{ID: anonymousPrefix + flow, FlowID: flow}, nil
	}
	return Binding{}, &refusal{403, "Not Registered", "unregistered"}
}

// anonymousPrefix begins the binding id of a call without a registration; the connection follows.
const anonymousPrefix = "flow:"
