package registrar

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Registrations by web-identity token (TS 24.371 §6.1 scenarios 2 and 3): package auth says who the browser is, the core takes our word
// for it, and the binding remembers what is needed to end it when the token ends.

// Proof is what a web-identity token has shown; nothing of the token is in it.
type Proof struct {
	IMPI    string     `json:"impi"`
	Issuer  string     `json:"issuer"`
	Expires time.Time  `json:"expires"`        // end of the token, and of the binding at the latest
	Lease   auth.Lease `json:"lease,omitzero"` // of a pooled identity
	Home    string     `json:"home"`           // Request-URI of the REGISTER: the core's registrar
}

// tooBrief reports whether the core refuses the lifetime that the token leaves (REG-12): asking for a longer one is of no use.
func (a *attempt) tooBrief(m *headers.Msg) bool {
	if m.Status != 423 || a.d.Action != auth.Trust {
		return false
	}
	v, err := strconv.ParseUint(strings.TrimSpace(m.Get("Min-Expires")), 10, 32)
	return err != nil || time.Duration(v)*time.Second > a.d.MaxExpires
}

// unused is the lease of a registration that did not come about; none when the browser had the binding before.
func (r *Registrar) unused(a *attempt) []auth.Lease {
	if _, ok := r.ByID(a.b.ID); ok {
		return nil
	}
	return []auth.Lease{a.d.Lease}
}

// giveBack returns leases and then goes on: the answer follows the return, so that the return cannot meet the client's next
// registration. The store may be slow, so it is waited for beside the caller.
func (r *Registrar) giveBack(leases []auth.Lease, then func()) {
	leases = slices.DeleteFunc(slices.Clone(leases), auth.Lease.IsZero)
	r.mu.Lock()
	beside := len(leases) > 0 && !r.closed // a lease that is not given back ends with its time
	if beside {
		r.wg.Add(1)
	}
	r.mu.Unlock()
	if !beside {
		then()
		return
	}
	go func() {
		defer r.wg.Done()
		ctx, cancel := context.WithTimeout(r.ctx, writeTimeout)
		defer cancel()
		for _, l := range leases {
			if err := r.deps.Auth.Return(ctx, l); err != nil {
				r.deps.Log.Info("pooled identity not given back", zap.Error(err))
			}
		}
		then()
	}()
}

// TokenExpired ends the bindings of a connection whose token has ended without being renewed, and closes the connection (REG-12).
// It does not block.
func (r *Registrar) TokenExpired(flow string) {
	r.mu.Lock()
	var ids []string
	for _, id := range r.byFlow[flow] {
		if b := r.byID[id]; b != nil && b.Proof != nil {
			ids = append(ids, id)
		}
	}
	r.mu.Unlock()
	for _, id := range ids {
		if b := r.remove(id); b != nil {
			r.tokenEnded(*b)
		}
	}
	if r.deps.CloseFlow != nil {
		r.deps.CloseFlow(flow, "token expired")
	}
}

// tokenEnded tells the core that a binding, which is removed already, has ended with its token.
func (r *Registrar) tokenEnded(b Binding) {
	r.metrics.results.WithLabelValues("token_ended").Inc()
	r.deps.Log.Info("registration ended with its token", zap.String("binding", b.ID))
	err := r.deps.Send(r.deregistration(b), func(o Outcome) {
		if o.Msg.Status < 200 || o.Msg.Status >= 300 {
			r.deps.Log.Info("registration not ended at the core", zap.String("binding", b.ID), zap.Int("status", o.Msg.Status))
		}
	})
	if err != nil {
		r.deps.Log.Info("registration not ended at the core", zap.String("binding", b.ID), zap.Error(err))
	}
}

// deregistration is the REGISTER that ends the binding at the core on behalf of the browser, whose user we vouched for.
func (r *Registrar) deregistration(b Binding) headers.Msg {
	m := headers.Msg{Method: "REGISTER", RequestURI: b.Proof.Home}
	contact := "<" + b.Contact + ">"
	if b.Instance != "" {
		contact += ";+sip.instance=" + headers.Quote(b.Instance)
		if b.RegID != "" {
			contact += ";reg-id=" + b.RegID
		}
	}
	for _, f := range [][2]string{
		{"Max-Forwards", "70"}, {"From", "<" + b.AOR + ">;tag=" + strings.ToLower(rand.Text())}, {"To", "<" + b.AOR + ">"},
		{"Call-ID", strings.ToLower(rand.Text())}, {"CSeq", "1 REGISTER"}, {"Contact", contact}, {"Expires", "0"},
		{"Authorization", r.deps.Auth.Authorization(auth.Identity{IMPI: b.Proof.IMPI, Issuer: b.Proof.Issuer})},
	} {
		m.Add(f[0], f[1])
	}
	r.addPath(&m, b.ID, b.RegID != "")
	r.assert(&m)
	return m
}
