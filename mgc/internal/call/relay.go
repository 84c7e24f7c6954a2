package call

import (
	"errors"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Requests outside calls cross without any state here: From, To, Call-ID and CSeq pass as they are, and where a dialog comes of it
// (SUBSCRIBE, REFER, NOTIFY) our Contact on either side is a sealed token that holds the other side's target and route set. So any
// instance of the pool relays the next request of the dialog, and nobody can make us send one anywhere else.

// dialogMakers are the methods of dialogs that are only relayed (RFC 6665 §4.1, RFC 3515).
var dialogMakers = []string{"SUBSCRIBE", "NOTIFY", "REFER"}

// peerTarget is what the token of a relayed dialog holds.
type peerTarget struct {
	leg     callcore.Leg // side that the token is given to
	binding string       // browser of the dialog
	target  string       // remote target of the other side
	routes  []string     // its route set
}

var errTooLong = errors.New("call: target and route set of a dialog are too long")

// sealPeer makes our Contact URI for the side p.leg.
func (m *Manager) sealPeer(p peerTarget) (string, error) {
	text := strings.Join(append([]string{p.binding, p.target}, p.routes...), "\n")
	if len(text) >= flowtoken.MaxPayload {
		return "", errTooLong
	}
	token := m.deps.Sealer.Seal(flowtoken.KindPeer, append([]byte{byte(p.leg)}, text...))
	if p.leg == callcore.LegAccess {
		return "sip:" + token + "@" + m.cfg.AccessHost + ";transport=ws", nil
	}
	return "sip:" + token + "@" + m.cfg.CoreHost, nil
}

// openPeer reads the token in a Request-URI; false when there is none of that kind for the leg.
func (m *Manager) openPeer(uri string, leg callcore.Leg) (peerTarget, bool) {
	u, err := headers.ParseURI(uri)
	if err != nil || u.User == "" || !m.isOurs(u.Host, u.Port) {
		return peerTarget{}, false
	}
	raw, err := m.deps.Sealer.Open(flowtoken.KindPeer, u.User)
	if err != nil || len(raw) < 1 || callcore.Leg(raw[0]) != leg {
		return peerTarget{}, false
	}
	parts := strings.Split(string(raw[1:]), "\n")
	if len(parts) < 2 {
		return peerTarget{}, false
	}
	return peerTarget{leg: leg, binding: parts[0], target: parts[1], routes: parts[2:]}, true
}

// relayInDialog takes a request of a relayed dialog.
func (m *Manager) relayInDialog(leg callcore.Leg, tx ServerTx, req headers.Msg, flow string, p peerTarget) {
	b, ok := m.deps.Bindings.ByID(p.binding)
	switch {
	case leg == callcore.LegAccess && !m.owns(flow, p.binding):
		m.refuse(tx, &req, 403, "Dialog of Another User", "foreign_flow")
		return
	case !ok || b.FlowID == "" && leg == callcore.LegCore:
		m.decline(leg, tx, &req, b, &refusal{430, "", "flow_gone"})
		return
	}
	m.pass(leg, tx, req, b, p.target, p.routes)
}

// relay takes a request outside a dialog.
func (m *Manager) relay(leg callcore.Leg, tx ServerTx, req headers.Msg, flow string) {
	var b Binding
	var no *refusal
	if leg == callcore.LegAccess {
		b, no = m.Originator(&req, flow)
	} else {
		b, no = m.Terminator(&req)
	}
	if no != nil {
		m.decline(leg, tx, &req, b, no)
		return
	}
	if leg == callcore.LegAccess {
		m.pass(leg, tx, req, b, req.RequestURI, b.ServiceRoute)
	} else {
		m.pass(leg, tx, req, b, b.Contact, nil)
	}
}

// pass sends the request on to the other leg and its responses back.
func (m *Manager) pass(leg callcore.Leg, tx ServerTx, req headers.Msg, b Binding, target string, routes []string) {
	out, status := m.crossing(leg, &req, b)
	if status != 0 {
		m.refuse(tx, &req, status, "", map[int]string{483: "max_forwards", 440: "max_breadth", 400: "malformed"}[status])
		return
	}
	out.RequestURI = target
	flow := ""
	if leg == callcore.LegCore {
		flow = b.FlowID
	} else {
		for _, r := range routes {
			out.Add("Route", r)
		}
	}
	_, err := m.deps.Signalling.Request(leg.Other(), flow, out, func(o Outcome) { m.passBack(leg, tx, &req, b, o) })
	if err != nil {
		m.deps.Log.Info("request not relayed", zap.String("method", req.Method), zap.Error(err))
		status := 503
		if leg == callcore.LegCore {
			status = 430
		}
		m.refuse(tx, &req, status, "", "unreachable")
	}
}

// crossing makes the request for the other leg: what identifies it, what the border lets through, what we assert. A status is
// that of the refusal.
func (m *Manager) crossing(leg callcore.Leg, req *headers.Msg, b Binding) (headers.Msg, int) {
	out := headers.Msg{Method: req.Method, Body: slices.Clone(req.Body)}
	hops := headers.Msg{Fields: []headers.Field{{Name: "Max-Forwards", Value: req.Get("Max-Forwards")}}}
	if !req.Has("Max-Forwards") {
		hops.Del("Max-Forwards")
	}
	if !headers.DecrementMaxForwards(&hops) {
		return out, 483
	}
	if !headers.BreadthLeft(req) {
		return out, 440
	}
	out.Add("Max-Forwards", hops.Get("Max-Forwards"))
	for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
		out.Add(name, req.Get(name))
	}
	if leg == callcore.LegAccess {
		out.Fields = append(out.Fields, m.cfg.Trust.ToCore(req)...)
		out.Fields = append(out.Fields, m.cfg.Trust.Assert(req, b.identity())...)
		out.Fields = append(out.Fields, m.cfg.Trust.Charge(newKey())...)
	} else {
		out.Fields = append(out.Fields, m.cfg.Trust.ToBrowser(req)...)
	}
	if req.Has("Contact") && slices.Contains(dialogMakers, req.Method) {
		uri, err := m.contactFor(leg.Other(), req, b, headers.List(req, "Record-Route"))
		if err != nil {
			return out, 400
		}
		out.Add("Contact", "<"+uri+">")
	}
	if len(out.Body) > 0 {
		out.Set("Content-Type", req.Get("Content-Type"))
	}
	return out, 0
}

// contactFor is our Contact towards leg for the peer of the other leg whose message is m.
func (m *Manager) contactFor(leg callcore.Leg, msg *headers.Msg, b Binding, routes []string) (string, error) {
	a, err := headers.ParseAddresses(headers.List(msg, "Contact"))
	if err != nil || len(a) != 1 {
		return "", errors.New("call: not one Contact")
	}
	if leg == callcore.LegCore {
		routes = nil // the browser is reached over its flow
	}
	return m.sealPeer(peerTarget{leg: leg, binding: b.ID, target: a[0].URI, routes: routes})
}

// passBack answers with what came back; a failed transaction is 408 or 503 (RFC 3261 §16.7, §16.9).
func (m *Manager) passBack(leg callcore.Leg, tx ServerTx, req *headers.Msg, b Binding, o Outcome) {
	switch {
	case o.Retransmission, o.Msg.Status == 100:
		return
	case o.Msg.Status == 0 && o.Timeout:
		m.chargeAlone(leg, req, b, 408)
		m.refuse(tx, req, 408, "", "timeout")
		return
	case o.Msg.Status == 0:
		m.chargeAlone(leg, req, b, 503)
		m.refuse(tx, req, 503, "", "unreachable")
		return
	}
	if o.Msg.Status >= 200 {
		m.chargeAlone(leg, req, b, o.Msg.Status)
	}
	resp := headers.NewResponse(req, o.Msg.Status, o.Msg.Reason)
	resp.Set("To", o.Msg.Get("To"))
	if leg == callcore.LegAccess {
		resp.Fields = append(resp.Fields, m.cfg.Trust.ToBrowser(&o.Msg)...)
	} else {
		resp.Fields = append(resp.Fields, m.cfg.Trust.ToCore(&o.Msg)...)
	}
	m.addContacts(leg, &resp, &o.Msg, b)
	for _, name := range []string{"Allow", "Unsupported", "Accept"} {
		if o.Msg.Status >= 400 || name != "Allow" {
			for _, v := range o.Msg.Values(name) {
				if !resp.Has(name) {
					resp.Add(name, v)
				}
			}
		}
	}
	if len(o.Msg.Body) > 0 {
		resp.Body = slices.Clone(o.Msg.Body)
		resp.Set("Content-Type", o.Msg.Get("Content-Type"))
	}
	m.respond(tx, resp)
}

// addContacts gives the response our Contact in the place of the peer's; those of a redirection are not of a dialog and pass.
func (m *Manager) addContacts(leg callcore.Leg, resp, from *headers.Msg, b Binding) {
	switch {
	case !from.Has("Contact") || !slices.Contains(dialogMakers, from.Method) && from.Status < 300:
	case from.Status >= 300 && from.Status < 400 && leg == callcore.LegAccess:
		for _, c := range from.Values("Contact") {
			resp.Add("Contact", c)
		}
	case from.Status < 300:
		routes := headers.List(from, "Record-Route")
		slices.Reverse(routes)
		if uri, err := m.contactFor(leg, from, b, routes); err == nil {
			resp.Add("Contact", "<"+uri+">")
		} else {
			m.deps.Log.Info("contact of a relayed dialog is not usable", zap.Error(err))
		}
	}
}
