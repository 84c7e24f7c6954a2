package democore

import (
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// allowed is what passes this proxy.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, PRACK, REFER, NOTIFY, REGISTER"

// outbound is one place a request is forwarded to.
type outbound struct {
	uri   sip.Uri   // Request-URI
	route []sip.Uri // Route header, in front of what is left of the request's own
	to    sipnode.Target
}

// refusal is a response in place of forwarding.
type refusal struct {
	code   int
	reason string
	header []sip.Header
}

// proxy is RFC 3261 §16.3 to §16.6 for every request but REGISTER.
func (c *Core) proxy(tx *sipnode.ServerTx) {
	req := tx.Request()
	if r := c.validate(req); r != nil {
		c.refuse(tx, r)
		return
	}
	fwd := req.Clone()
	routed := c.popOwnRoutes(fwd)
	var out []outbound
	var r *refusal
	if tag, _ := req.To().Params.Get("tag"); tag != "" {
		out, r = c.inDialog(fwd, routed)
	} else {
		out, r = c.newDialog(tx, fwd)
	}
	if r != nil {
		c.refuse(tx, r)
		return
	}
	if req.Method == sip.INVITE {
		if !c.recordCall(req.CallID().Value(), aor(&req.From().Address), aor(&req.To().Address)) {
			c.refuse(tx, &refusal{503, "Service Unavailable", []sip.Header{sip.NewHeader("Retry-After", "5")}})
			return
		}
	}
	if req.Method == sip.BYE {
		if e := c.callEvent(req.CallID().Value(), 0, true); e != nil {
			c.logf("CALL      %s -> %s ended after %s", e.from, e.to, since(e.answered, e.ended))
		}
	}
	newFork(c, tx, fwd, len(out)).start(out)
}

func since(from, to time.Time) time.Duration {
	if from.IsZero() {
		return 0
	}
	return to.Sub(from).Round(10 * time.Millisecond)
}

func aor(u *sip.Uri) string { return u.User + "@" + u.Host }

func (c *Core) refuse(tx *sipnode.ServerTx, r *refusal) {
	req := tx.Request()
	if r.code != 401 && r.code != 407 {
		c.logf("%-9s %q -> %q from %s: %d %s", req.Method, aor(&req.From().Address), req.Recipient.String(), tx.Source(), r.code, r.reason)
	}
	tx.Reply(r.code, r.reason, r.header...)
}

// validate is §16.3.
func (c *Core) validate(req *sip.Request) *refusal {
	if mf := req.MaxForwards(); mf != nil && mf.Val() == 0 {
		return &refusal{code: 483, reason: "Too Many Hops"}
	}
	if h := req.GetHeader("Proxy-Require"); h != nil {
		return &refusal{420, "Bad Extension", []sip.Header{sip.NewHeader("Unsupported", h.Value())}}
	}
	switch req.Method {
	case sip.SUBSCRIBE, sip.PUBLISH:
		return &refusal{405, "Method Not Allowed", []sip.Header{sip.NewHeader("Allow", allowed)}}
	}
	return nil
}

// popOwnRoutes is §16.4: Route values that are ours have served their purpose. It reports if there was
// one.
func (c *Core) popOwnRoutes(req *sip.Request) bool {
	routed := false
	for r := req.Route(); r != nil && c.isOwn(&r.Address); r = req.Route() {
		req.RemoveHeader("Route")
		routed = true
	}
	return routed
}

// inDialog routes a request of a dialog that went through here before: along its Route, else to its
// Request-URI.
func (c *Core) inDialog(fwd *sip.Request, routed bool) ([]outbound, *refusal) {
	if !routed || !c.knowsCall(fwd.CallID().Value()) {
		return nil, &refusal{code: 481, reason: "Call/Transaction Does Not Exist"}
	}
	t, err := sipnode.NextHop(fwd)
	if err != nil {
		return nil, &refusal{code: 404, reason: "Not Found"}
	}
	return []outbound{{uri: fwd.Recipient, to: t}}, nil
}

// newDialog finds who a new request is for, after making sure of who it is from.
func (c *Core) newDialog(tx *sipnode.ServerTx, fwd *sip.Request) ([]outbound, *refusal) {
	if fwd.Route() != nil {
		return nil, &refusal{code: 403, reason: "Not a Relay"}
	}
	switch fwd.Method {
	case sip.INVITE, sip.MESSAGE, sip.OPTIONS:
	case sip.ACK, sip.CANCEL:
		return nil, &refusal{code: 481, reason: "Call/Transaction Does Not Exist"}
	default:
		return nil, &refusal{405, "Method Not Allowed", []sip.Header{sip.NewHeader("Allow", allowed)}}
	}
	if !c.isDomain(&fwd.Recipient) {
		return nil, &refusal{code: 404, reason: "Not This Domain"}
	}
	if r := c.admitOriginator(tx); r != nil {
		return nil, r
	}
	for fwd.RemoveHeader("Proxy-Authorization") {
	}
	c.assertIdentity(fwd)
	return c.locate(fwd)
}

// admitOriginator accepts a request of a user who is registered through the same peer, which is how an
// IMS core trusts its P-CSCF, of a built-in user, and of anybody who can answer a challenge.
func (c *Core) admitOriginator(tx *sipnode.ServerTx) *refusal {
	req := tx.Request()
	from := &req.From().Address
	if !c.isDomain(from) {
		return &refusal{code: 403, reason: "Unknown Identity"}
	}
	if tx.Source().Addr == c.apps.agent.Addr() && builtin(from.User) != nil {
		return nil
	}
	now := time.Now()
	c.mu.Lock()
	for _, b := range c.bindingsLocked(from.User, now) {
		if b.source.Addr.Addr() == tx.Source().Addr.Addr() {
			c.mu.Unlock()
			return nil
		}
	}
	c.mu.Unlock()
	user, v := c.auth.check(req, "Proxy-Authorization", now)
	switch {
	case v == authGood && user == from.User:
		return nil
	case v == authGood:
		return &refusal{code: 403, reason: "Forbidden"}
	}
	return &refusal{407, "Proxy Authentication Required", c.auth.challenges("Proxy-Authenticate", v == authStale, now)}
}

// assertIdentity tells the called side who calls (RFC 3325 §5).
func (c *Core) assertIdentity(fwd *sip.Request) {
	if fwd.GetHeader("P-Asserted-Identity") == nil {
		fwd.AppendHeader(sip.NewHeader("P-Asserted-Identity", "<sip:"+fwd.From().Address.User+"@"+c.cfg.Domain+">"))
	}
}

// locate is §16.5: the bindings of the user called.
func (c *Core) locate(fwd *sip.Request) ([]outbound, *refusal) {
	user := fwd.Recipient.User
	if builtin(user) != nil {
		return []outbound{{uri: fwd.Recipient, to: sipnode.Target{Network: sipnode.UDP, Addr: c.apps.agent.Addr()}}}, nil
	}
	if _, known := c.auth.users[user]; !known {
		return nil, &refusal{code: 404, reason: "Not Found"}
	}
	c.mu.Lock()
	list := c.bindingsLocked(user, time.Now())
	c.mu.Unlock()
	var out []outbound
	for _, b := range list {
		t, err := b.route()
		if err != nil {
			c.logf("WARNING   %s cannot be reached: %q", user, err.Error())
			continue
		}
		out = append(out, outbound{uri: b.contact, route: b.path, to: t})
	}
	if len(out) == 0 {
		return nil, &refusal{code: 480, reason: "Temporarily Unavailable"}
	}
	return out, nil
}

// ServeAck implements sipnode.Handler: the ACK of a 2xx follows the dialog's route.
func (c *Core) ServeAck(req *sip.Request, from sipnode.Target) {
	<-c.ready
	if c.validate(req) != nil {
		return
	}
	fwd := req.Clone()
	out, r := c.inDialog(fwd, c.popOwnRoutes(fwd))
	if r != nil {
		c.logf("ACK       of %q from %s has nowhere to go: %s", req.CallID().Value(), from, r.reason)
		return
	}
	decrement(fwd)
	if err := c.node.Send(fwd, out[0].to); err != nil {
		c.logf("WARNING   ACK to %s: %v", out[0].to, err)
	}
}

// decrement is §16.6 step 3; a missing Max-Forwards becomes 70.
func decrement(req *sip.Request) {
	v := uint32(70)
	if mf := req.MaxForwards(); mf != nil {
		v = mf.Val() - 1
	}
	sipnode.SetMaxForwards(req, v)
}

// prepare makes the copy of fwd that goes to o (§16.6).
func (c *Core) prepare(fwd *sip.Request, o outbound, source sipnode.Target) *sip.Request {
	req := fwd.Clone()
	req.Recipient = *o.uri.Clone()
	decrement(req)
	for i := len(o.route) - 1; i >= 0; i-- {
		req.PrependHeader(&sip.RouteHeader{Address: *o.route[i].Clone()})
	}
	if tag, _ := req.To().Params.Get("tag"); tag == "" && req.Method != sip.MESSAGE {
		// RFC 5658: one Record-Route per side when the two use different networks.
		req.PrependHeader(&sip.RecordRouteHeader{Address: c.ownURI(source.Network)})
		if source.Network != o.to.Network {
			req.PrependHeader(&sip.RecordRouteHeader{Address: c.ownURI(o.to.Network)})
		}
	}
	return req
}

func (o outbound) String() string { return fmt.Sprintf("%s via %s", o.uri.String(), o.to) }
