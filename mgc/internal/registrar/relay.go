package registrar

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// OnRegister relays a REGISTER of a browser. It does not block; the answer follows when the core has spoken.
func (r *Registrar) OnRegister(tx ServerTx, req headers.Msg, flow siptransport.Flow) {
	if !r.admit(flow.Remote.Addr().String()) {
		r.metrics.results.WithLabelValues("limited").Inc()
		r.refuse(tx, &req, 503, "Too Many Registrations")
		return
	}
	to, err := headers.ParseAddress(req.Get("To"))
	if err != nil {
		r.refuse(tx, &req, 400, "Malformed To")
		return
	}
	contact, err := contactOf(&req)
	if err != nil {
		r.refuse(tx, &req, 400, "Exactly One Contact Expected")
		return
	}
	at := &attempt{tx: tx, req: &req, out: req.Clone(), flow: flow}
	if !headers.DecrementMaxForwards(&at.out) {
		r.refuse(tx, &req, 483, "")
		return
	}
	if !firstHop(&req) && headers.HasToken(&req, "Require", "outbound") {
		r.refuse(tx, &req, 439, "")
		return
	}
	at.b = Binding{AOR: to.AOR(), FlowID: flow.ID, Owner: r.cfg.Instance, Contact: contact.URI,
		Instance: headers.Unquote(contact.Params.Value("+sip.instance")), RegID: contact.Params.Value("reg-id")}
	r.deps.Auth.Register(&req, flow.ID, at.client(), func(d auth.Decision) { r.decided(at, d) })
}

// attempt is a REGISTER on its way.
type attempt struct {
	tx   ServerTx
	req  *headers.Msg // as the browser sent it
	out  headers.Msg  // what goes to the core
	flow siptransport.Flow
	b    Binding // what it will be
	d    auth.Decision
}

// client names the browser beyond its connection; "" when it does not say.
func (a *attempt) client() string {
	if a.b.Instance == "" {
		return ""
	}
	return a.b.Instance + "\x00" + a.b.RegID
}

// decided sends the REGISTER to the core, unless its token is refused.
func (r *Registrar) decided(a *attempt, d auth.Decision) {
	a.d = d
	switch d.Action {
	case auth.Refuse:
		r.metrics.results.WithLabelValues("unauthorised").Inc()
		r.respond(a.tx, r.deps.Auth.Answer(a.req, d))
		return
	case auth.Trust:
		a.b.AOR = d.IMPU
		a.b.Proof = &Proof{IMPI: d.Identity.IMPI, Issuer: d.Identity.Issuer, Expires: d.Identity.Expires, Lease: d.Lease, Home: a.req.RequestURI}
	}
	a.b.ID = bindingID(a.b)
	r.cross(a)
	if err := r.deps.Send(a.out, func(o Outcome) { r.answered(a, o) }); err != nil {
		r.deps.Log.Info("registration not relayed", zap.Error(err))
		r.answered(a, Outcome{})
	}
}

// contactOf returns the one contact of a REGISTER; its URI is "*" for all of them (RFC 3261 §10.2.2) and empty in a query.
func contactOf(req *headers.Msg) (headers.Address, error) {
	values := headers.List(req, "Contact")
	switch {
	case len(values) == 0:
		return headers.Address{}, nil
	case len(values) > 1:
		return headers.Address{}, fmt.Errorf("%d contacts", len(values))
	case values[0] != "*":
		return headers.ParseAddress(values[0])
	}
	if n, ok := headers.Expires(req); !ok || n != 0 {
		return headers.Address{}, errors.New("all contacts can only be removed")
	}
	return headers.Address{URI: "*"}, nil
}

// bindingID names the binding of an AOR and instance, or contact: the same browser keeps it over its connections (REG-20).
func bindingID(b Binding) string {
	key := b.Contact
	if b.Instance != "" {
		key = b.Instance + "\x00" + b.RegID
	}
	sum := sha256.Sum256([]byte(b.AOR + "\x00" + key))
	return hex.EncodeToString(sum[:12])
}

// addPath makes requests for the browser of the binding come through us (REG-14, REG-15; RFC 3327 §5.2), over the one flow that its
// reg-id names when it is outbound (RFC 5626 §5.1).
func (r *Registrar) addPath(out *headers.Msg, id string, outbound bool) {
	token := r.deps.Sealer.Seal(flowtoken.KindFlow, []byte(id))
	path := "<sip:" + token + "@" + r.cfg.PathHost + ";lr"
	if outbound {
		path += ";ob"
	}
	out.Set("Path", path+">")
	headers.AddToken(out, "Require", "path")
	headers.AddToken(out, "Supported", "path")
}

// firstHop reports whether the browser itself is at the other end of the connection, and no proxy (RFC 5626 §5.1): only then is what
// comes over the connection the browser's, and the flow the one that reg-id names.
func firstHop(req *headers.Msg) bool { return len(headers.List(req, "Via")) <= 1 }

// answered takes the core's answer back to the browser.
func (r *Registrar) answered(a *attempt, o Outcome) {
	resp, ended := r.answer(a, o)
	if resp.Status >= 300 && a.d.Action == auth.Trust {
		ended = append(ended, r.unused(a)...)
	}
	r.deps.Auth.Restore(&resp, a.req, a.d)
	r.deps.Auth.Offer(&resp)
	r.giveBack(ended, func() { r.respond(a.tx, resp) })
}

// answer is the response to the browser; ended are the leases of the bindings that it ends.
func (r *Registrar) answer(a *attempt, o Outcome) (resp headers.Msg, ended []auth.Lease) {
	failed := func(status int, reason string) (headers.Msg, []auth.Lease) {
		r.metrics.results.WithLabelValues("failed").Inc()
		return refusal(a.req, status, reason), nil
	}
	switch m := &o.Msg; {
	case m.Status == 0 && o.Timeout:
		return failed(504, "Core Did Not Answer")
	case m.Status == 0:
		return failed(503, "Core Unreachable")
	case m.Status == 420 && slices.Contains(headers.List(m, "Unsupported"), "path"):
		// The request went to something that is no registrar for us (REG-15): the browser could not be called.
		r.metrics.results.WithLabelValues("misrouted").Inc()
		r.deps.Log.Error("core does not support Path: check core.next_hop", zap.String("aor", headers.ForLog(a.b.AOR, 120)))
		return refusal(a.req, 500, "Core Does Not Support Path"), nil
	case m.Status >= 300 && m.Status < 400: // where the core wants it is the core's business (TS 24.229 §5.2.2.1)
		r.deps.Log.Warn("core redirects registrations", zap.Int("status", m.Status))
		return failed(504, "Core Redirects Registrations")
	case a.tooBrief(m):
		r.metrics.results.WithLabelValues("unauthorised").Inc()
		return r.deps.Auth.Answer(a.req, auth.Decision{Err: auth.Expired}), nil
	}
	resp = o.Msg.Clone()
	hide(&resp, a.b.Contact)
	if resp.Status < 200 || resp.Status >= 300 {
		r.metrics.results.WithLabelValues(resultOf(resp.Status)).Inc()
		return resp, nil
	}
	ended, ok := r.accepted(&o.Msg, &resp, a.b)
	if !ok {
		return refusal(a.req, 503, "Too Many Bindings"), nil
	}
	return resp, ended
}

func resultOf(status int) string {
	switch status {
	case 401, 407:
		return "challenged"
	}
	return "refused"
}

// accepted enters, renews or ends the binding that the core has confirmed in said; false when there is no room for it. resp is what
// the browser gets; ended are the leases of the bindings that it has ended.
func (r *Registrar) accepted(said, resp *headers.Msg, b Binding) (ended []auth.Lease, ok bool) {
	if b.Contact == "" {
		return nil, true
	}
	life := r.granted(said, b)
	if life <= 0 {
		r.metrics.results.WithLabelValues("removed").Inc()
		return r.end(b), true
	}
	b.Expires = time.Now().Add(life)
	if p := b.Proof; p != nil && b.Expires.After(p.Expires) { // REG-12
		b.Expires = p.Expires
		auth.CapExpires(resp, time.Until(p.Expires))
	}
	b.ServiceRoute = headers.List(said, "Service-Route")
	b.Identities, b.Default = identities(said, b.AOR)
	if old, ok := r.ByID(b.ID); ok && old.Sub.lives(time.Now()) {
		b.Sub = old.Sub
	}
	back, ok := r.enter(b)
	if !ok {
		r.metrics.results.WithLabelValues("limited").Inc()
		return nil, false
	}
	r.metrics.results.WithLabelValues("ok").Inc()
	if r.deps.OnRoutes != nil {
		r.deps.OnRoutes(b.ServiceRoute)
	}
	if back {
		call(r.deps.OnFlowBack, b.ID)
	}
	if b.Sub == nil {
		r.subscribe(b)
	}
	resp.Set("Flow-Timer", strconv.Itoa(int(r.cfg.FlowTimer.Seconds())))
	if r.deps.Offer != nil {
		r.deps.Offer(resp, b.AOR)
	}
	return nil, true
}

// granted is how long the core keeps our contact: its expires parameter in the 200, else Expires; a contact that the 200 does not
// list is gone (RFC 3261 §10.3).
func (r *Registrar) granted(resp *headers.Msg, b Binding) time.Duration {
	def, _ := headers.Expires(resp)
	contacts, err := headers.ParseAddresses(headers.List(resp, "Contact"))
	if err != nil {
		return 0
	}
	for _, c := range contacts {
		if headers.EqualURI(c.URI, b.Contact) {
			return time.Duration(headers.ContactExpires(resp, c, def)) * time.Second
		}
	}
	return 0
}

// end removes the binding, or all of the AOR on this connection when the request was "Contact: *". It returns their leases.
func (r *Registrar) end(b Binding) (leases []auth.Lease) {
	ids := []string{b.ID}
	if b.Contact == "*" {
		ids = nil
		for _, other := range r.OfFlow(b.FlowID) {
			if other.AOR == b.AOR {
				ids = append(ids, other.ID)
			}
		}
	}
	for _, id := range ids {
		if gone := r.remove(id); gone != nil && gone.Proof != nil {
			leases = append(leases, gone.Proof.Lease)
		}
	}
	if len(r.OfFlow(b.FlowID)) == 0 {
		r.deps.Auth.Forget(b.FlowID) // another user may register over the connection
	}
	return leases
}

// identities are the public identities that the core lists for the registration, the AOR first, and the default one: the first that
// it lists (REG-22, TS 24.229 §5.2.2.1).
func identities(resp *headers.Msg, aor string) (all []string, def string) {
	all = []string{aor}
	addresses, err := headers.ParseAddresses(headers.List(resp, "P-Associated-URI"))
	if err != nil {
		return all, aor
	}
	for _, a := range addresses {
		id := a.AOR()
		if def == "" && strings.HasPrefix(id, "sip") {
			def = id
		}
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	if def == "" {
		def = aor
	}
	return all, def
}

func (r *Registrar) refuse(tx ServerTx, req *headers.Msg, status int, reason string) {
	r.respond(tx, refusal(req, status, reason))
}

// refusal is a response of our own that is no success.
func refusal(req *headers.Msg, status int, reason string) headers.Msg {
	resp := headers.NewResponse(req, status, reason)
	if status == 503 {
		resp.Add("Retry-After", "5")
	}
	return resp
}

// respond answers the browser; a response of our own gets its tag here (RFC 3261 §8.2.6.2).
func (r *Registrar) respond(tx ServerTx, resp headers.Msg) {
	if headers.ToTag(&resp) == "" {
		_ = headers.SetTag(&resp, "To", siptransport.NewFlowID()) // fails when To is what is malformed
	}
	if err := tx.Respond(resp); err != nil {
		r.deps.Log.Debug("registration answer not sent", zap.Int("status", resp.Status), zap.Error(err))
	}
}
