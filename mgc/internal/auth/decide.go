package auth

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Action is what the caller does with a request.
type Action uint8

// Actions. The zero value refuses, so that a Decision nobody made lets nobody in.
const (
	Refuse Action = iota // answer with Authenticator.Answer
	Pass                 // relay after Authenticator.Apply; the core authenticates
	Trust                // relay after Authenticator.Apply; we have authenticated
)

// Decision is the verdict on one request. A plain value.
type Decision struct {
	Action     Action
	Err        error         // why it is refused: wraps a Reason
	Identity   Identity      // Trust: who it is
	IMPU       string        // Trust of a REGISTER: the public identity to register, canonical
	MaxExpires time.Duration // Trust of a REGISTER: longest lifetime that may be asked for (REG-12)
	Lease      Lease         // pooled identity; kept with the binding for Authenticator.Return
	Rewrite    bool          // Apply puts IMPU into To and From, Restore undoes it in the response
}

func refuse(err error) Decision { return Decision{Action: Refuse, Err: err} }

// Register decides on a REGISTER that came over the connection flow. client names the browser beyond its connection, as
// +sip.instance with reg-id does; "" stands for the connection. deliver is called exactly once: before Register returns when no
// I/O is needed, else from a goroutine of the authenticator, also when it is closed. deliver must not block.
func (a *Authenticator) Register(req *headers.Msg, flow, client string, deliver func(Decision)) {
	if a.verifier == nil {
		deliver(Decision{Action: Pass})
		return
	}
	token, st, err := a.tokenOf(req, flow)
	switch {
	case err != nil:
		a.deliver(refuse(err), deliver)
		return
	case token == "" && a.cfg.Mode == ModeBoth && !a.isVerified(flow):
		deliver(Decision{Action: Pass})
		return
	case token == "":
		a.deliver(refuse(Missing), deliver)
		return
	}
	to, from, err := parties(req)
	if err != nil {
		a.deliver(refuse(err), deliver)
		return
	}
	if client == "" {
		client = flow
	}
	if id, ok := a.verified(flow, hashOf(token)); ok && !id.Pooled {
		a.deliver(a.admit(a.ctx, id, to, from, client), deliver)
		return
	}
	if err := a.start(func(ctx context.Context) {
		id, ok := a.verified(flow, hashOf(token))
		var err error
		if !ok {
			id, err = a.verify(ctx, st, token)
		}
		if err != nil {
			a.deliver(refuse(err), deliver)
			return
		}
		a.deliver(a.admit(ctx, id, to, from, client), deliver)
	}); err != nil {
		a.deliver(refuse(err), deliver)
	}
}

// isVerified reports whether a token has been accepted on the connection: it then cannot fall back to no token.
func (a *Authenticator) isVerified(flow string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.flows[flow]
	return st != nil && st.id.Subject != ""
}

func (a *Authenticator) deliver(d Decision, to func(Decision)) {
	a.count(d.Err)
	to(d)
}

// parties returns the canonical To and From of a REGISTER. Errors: BadSyntax.
func parties(req *headers.Msg) (to, from string, err error) {
	t, errTo := headers.ParseAddress(req.Get("To"))
	f, errFrom := headers.ParseAddress(req.Get("From"))
	if errTo != nil || errFrom != nil {
		return "", "", BadSyntax
	}
	return t.AOR(), f.AOR(), nil
}

// admit holds To and From against the identity (REG-08), and leases a pooled one (REG-09).
func (a *Authenticator) admit(ctx context.Context, id Identity, to, from, client string) Decision {
	left := time.Until(id.Expires)
	if left <= 0 {
		return refuse(Expired)
	}
	d := Decision{Action: Trust, Identity: id, IMPU: to, MaxExpires: left}
	ttl := left + a.cfg.Pool.Quarantine
	var err error
	if id.Pooled && id.IMPI == "" {
		if d.Identity, d.Lease, err = a.pool.assign(ctx, &id, client, ttl); err != nil {
			return refuse(err)
		}
		d.IMPU = d.Lease.IMPU
		if asked := headers.AOR(a.cfg.Pool.Request); to == asked && from == asked {
			d.Rewrite = true
			return d
		}
	}
	if !d.Identity.Allows(to) || !d.Identity.Allows(from) {
		return refuse(OtherIdentity)
	}
	if id.Pooled && d.Lease.IsZero() {
		if d.Lease, err = a.pool.claim(ctx, &id, to, client, ttl); err != nil {
			return refuse(err)
		}
	}
	return d
}

// Request decides on any other request of a browser (REG-10): a token that is there must be good and of the connection's user;
// one that is missing counts by policy. ACK and CANCEL cannot be challenged (RFC 3261 §22.1) and pass without token. deliver as of
// Register; the action is Pass or Refuse.
func (a *Authenticator) Request(req *headers.Msg, flow string, deliver func(Decision)) {
	if a.verifier == nil || req.Method == "ACK" || req.Method == "CANCEL" {
		deliver(Decision{Action: Pass})
		return
	}
	token, st, err := a.tokenOf(req, flow)
	switch {
	case err != nil:
		a.deliver(refuse(err), deliver)
		return
	case token == "":
		deliver(a.absent(flow))
		return
	}
	if id, ok := a.verified(flow, hashOf(token)); ok {
		a.deliver(Decision{Action: Pass, Identity: id}, deliver)
		return
	}
	if err := a.start(func(ctx context.Context) {
		id, err := a.verify(ctx, st, token)
		if err != nil {
			a.deliver(refuse(err), deliver)
			return
		}
		a.deliver(Decision{Action: Pass, Identity: id}, deliver)
	}); err != nil {
		a.deliver(refuse(err), deliver)
	}
}

// absent applies the policy for requests without a token. In mode both a connection that registered by digest needs none.
func (a *Authenticator) absent(flow string) Decision {
	if a.cfg.InDialog == InDialogOff || a.cfg.InDialog == "" || a.cfg.Mode == ModeBoth && !a.isVerified(flow) {
		return Decision{Action: Pass}
	}
	a.metrics.absent.WithLabelValues(a.cfg.InDialog).Inc()
	if a.cfg.InDialog == InDialogEnforce {
		a.count(Missing)
		return refuse(Missing)
	}
	return Decision{Action: Pass}
}

// Apply makes a request that is not refused fit for the core: no token and no word of trust by the browser in it, and for a trusted
// REGISTER our own, with the lifetime cut to the token's. out is changed in place; it must not be the browser's own copy.
func (a *Authenticator) Apply(out *headers.Msg, d Decision) {
	Strip(out)
	if d.Action != Trust {
		return
	}
	for _, name := range credentials {
		out.Del(name)
	}
	out.Add("Authorization", CoreAuthorization(d.Identity, a.deps.Domain, a.cfg.EntityParam))
	CapExpires(out, d.MaxExpires)
	if d.Rewrite {
		setURI(out, "To", d.IMPU)
		setURI(out, "From", d.IMPU)
	}
}

// Restore puts the browser's own To and From back into the core's response to a REGISTER that Apply has rewritten.
func (a *Authenticator) Restore(resp, req *headers.Msg, d Decision) {
	if !d.Rewrite {
		return
	}
	resp.Set("From", req.Get("From"))
	tag := headers.ToTag(resp)
	resp.Set("To", req.Get("To"))
	if tag != "" && headers.ToTag(req) == "" {
		_ = headers.SetTag(resp, "To", tag) // To was parsed when the decision was made
	}
}

// setURI replaces the URI of From or To; the display name goes, parameters stay.
func setURI(m *headers.Msg, name, uri string) {
	addr, err := headers.ParseAddress(m.Get(name))
	if err != nil {
		return
	}
	addr.Display, addr.URI = "", uri
	m.Set(name, addr.String())
}

// Answer is the response to a refused request.
func (a *Authenticator) Answer(req *headers.Msg, d Decision) headers.Msg {
	if d.Err == nil {
		d.Err = Unavailable
	}
	return a.challenge.Answer(req, d.Err)
}

// Offer adds the Bearer challenge to a 401 of the core in mode both, so that the browser may choose (REG-11; RFC 8898 §2.1). It does
// nothing else. Bearer comes first: JsSIP and SIP.js know one challenge only, the last.
func (a *Authenticator) Offer(resp *headers.Msg) {
	if a.cfg.Mode != ModeBoth || resp.Status != 401 {
		return
	}
	for _, v := range resp.Values("WWW-Authenticate") {
		if strings.HasPrefix(strings.ToLower(v), strings.ToLower(scheme)) {
			return
		}
	}
	bearer := headers.Field{Name: "WWW-Authenticate", Value: a.challenge.Value(Missing)}
	at := slices.IndexFunc(resp.Fields, func(f headers.Field) bool { return strings.EqualFold(f.Name, bearer.Name) })
	resp.Fields = slices.Insert(slices.Clone(resp.Fields), max(0, at), bearer)
}

// Authorization is the core's Authorization value for an identity: for the de-registration that follows OnExpired.
func (a *Authenticator) Authorization(id Identity) string {
	return CoreAuthorization(id, a.deps.Domain, a.cfg.EntityParam)
}
