package call

import (
	"errors"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// begin starts a call with its initial INVITE, or refuses it.
func (m *Manager) begin(leg callcore.Leg, tx ServerTx, req headers.Msg, flow string) {
	service := ""
	if leg == callcore.LegAccess {
		var done bool
		if service, done = m.screen(tx, &req); done {
			return
		}
	}
	b, no := m.party(leg, &req, flow, service)
	if no != nil {
		m.decline(leg, tx, &req, b, no)
		return
	}
	if !m.translateReplaces(leg, &req) {
		m.refuse(tx, &req, 481, "", "unknown_dialog")
		return
	}
	priority := m.priority(leg, &req)
	if service == "" && priority == 0 && m.crowded(b.ID) {
		m.refuseCrowded(leg, tx, &req)
		return
	}
	req.Del("Route")
	o := newOwner(m, "", nil, store.Call{}, 0)
	cfg := m.coreConfig(o.key, m.outbound(leg, b, &req, o.key, service))
	cfg.Emergency, cfg.Priority = service != "", priority
	o.create(b.ID, cfg)
	if !m.enter(o, m.limit(priority), service == "") {
		o.journal.Close()
		m.refuse(tx, &req, 503, "", "full")
		return
	}
	m.deps.Metrics.started.WithLabelValues(direction(leg)).Inc()
	m.deliver(o, tx, callcore.RequestIn{Leg: leg, Tx: tx.ID(), Msg: req}, flow)
}

// party is the browser of a new call: the one that calls, or the one that is called.
func (m *Manager) party(leg callcore.Leg, req *headers.Msg, flow, service string) (Binding, *refusal) {
	switch {
	case leg == callcore.LegCore:
		return m.Terminator(req)
	case service != "":
		return m.emergencyCaller(req, flow)
	}
	return m.Originator(req, flow)
}

// outbound says how the INVITE leaves on the other leg.
func (m *Manager) outbound(leg callcore.Leg, b Binding, req *headers.Msg, key, service string) callcore.Outbound {
	switch {
	case leg == callcore.LegCore:
		return m.terminating(b, req)
	case service != "":
		return m.emergencyCall(b, req, key, service)
	}
	return m.originating(b, req, key)
}

func direction(leg callcore.Leg) string {
	if leg == callcore.LegAccess {
		return "originating"
	}
	return "terminating"
}

func (m *Manager) coreConfig(key string, out callcore.Outbound) callcore.Config {
	at, ct := seal(m.deps.Sealer, key, callcore.LegAccess), seal(m.deps.Sealer, key, callcore.LegCore)
	policy := m.cfg.Policy
	policy = policy.Within(m.deps.Gateways.Features)
	policy.Media.Transcode = m.deps.Gateways.Codecs(policy.Media.Transcode)
	return callcore.Config{
		Key: key, Instance: m.cfg.Instance, Seed: newKey() + newKey(),
		AccessContact: "sip:" + at + "@" + m.cfg.AccessHost + ";transport=ws",
		CoreContact:   "sip:" + ct + "@" + m.cfg.CoreHost,
		AccessTag:     at, CoreTag: ct,
		AccessRealm: m.cfg.AccessRealm, CoreRealm: m.cfg.CoreRealm,
		UserAgent: m.cfg.UserAgent, Outbound: out, Policy: policy, Trust: m.cfg.Trust,
	}
}

// decline refuses a request outside a dialog, unless another instance has the browser that it is for: then that one gets it.
func (m *Manager) decline(leg callcore.Leg, tx ServerTx, req *headers.Msg, b Binding, no *refusal) {
	if leg == callcore.LegCore && m.canForward(tx, b.Elsewhere) {
		m.forward(b.Elsewhere, leg, tx, req)
		return
	}
	m.refuse(tx, req, no.Status, no.Reason, no.Label)
}

// refusal says why a request outside a dialog may not go on.
type refusal struct {
	Status int
	Reason string // reason phrase
	Label  string // metric label
}

// Originator checks that a request from a browser comes over a registered connection under an identity registered on it
// (TS 24.229 §5.2.6.3), and returns the binding to use. Nobody calls as somebody else.
func (m *Manager) Originator(req *headers.Msg, flow string) (Binding, *refusal) {
	bindings := m.deps.Bindings.OfFlow(flow)
	if len(bindings) == 0 {
		return Binding{}, &refusal{403, "Not Registered", "unregistered"}
	}
	from, err := headers.ParseAddress(req.Get("From"))
	if err != nil {
		return Binding{}, &refusal{400, "Malformed From", "malformed"}
	}
	aor := from.AOR()
	i := slices.IndexFunc(bindings, func(b Binding) bool { return slices.Contains(b.Identities, aor) })
	if i < 0 {
		return Binding{}, &refusal{403, "Identity Not Registered", "foreign_identity"}
	}
	for _, name := range []string{"P-Preferred-Identity", "P-Asserted-Identity"} {
		for _, v := range headers.List(req, name) {
			a, err := headers.ParseAddress(v)
			if err != nil || !slices.Contains(bindings[i].Identities, a.AOR()) {
				return Binding{}, &refusal{403, "Identity Not Registered", "foreign_identity"}
			}
		}
	}
	return bindings[i], nil
}

// Terminator finds the browser of a request from the core by the flow token in its top Route, which is our Path
// (RFC 5626 §5.3), or, when the core routes to the Contact itself, in its Request-URI. With the refusal of a browser without
// connection here comes the binding, which may have one elsewhere.
func (m *Manager) Terminator(req *headers.Msg) (Binding, *refusal) {
	token := ""
	if routes := headers.List(req, "Route"); len(routes) > 0 {
		if a, err := headers.ParseAddress(routes[0]); err == nil {
			if u, err := headers.ParseURI(a.URI); err == nil {
				token = u.User
			}
		}
	} else if u, err := headers.ParseURI(req.RequestURI); err == nil && m.isOurs(u.Host, u.Port) {
		token = u.User
	}
	if token == "" {
		return Binding{}, &refusal{404, "", "no_route"}
	}
	b, err := m.deps.Bindings.ByPathToken(token)
	switch {
	case errors.Is(err, flowtoken.ErrForged):
		return Binding{}, &refusal{403, "", "forged_token"}
	case err != nil:
		return Binding{}, &refusal{430, "", "flow_gone"}
	case b.FlowID == "":
		return b, &refusal{430, "", "flow_gone"}
	}
	return b, nil
}
