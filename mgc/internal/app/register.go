package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/admin"
	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/call"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/registrar"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
	"github.com/isthmus-gateway/isthmus/mgc/internal/turncred"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// makeAuth makes what looks at tokens; it tells the registrar of those that end.
func (a *App) makeAuth() (err error) {
	a.auth, err = auth.New(a.cfg.Auth, auth.Deps{
		Domain: a.cfg.Domain, Leases: newLeases(a.engine), Metrics: a.metrics, Log: a.log.Named("auth"),
		OnExpired: func(flow string) { a.registrar.TokenExpired(flow) }, // no token is accepted before there is a registrar
	})
	return err
}

// newRegistrar joins the registrar with the transaction layer, and its events with the calls.
func (a *App) newRegistrar(sig signalling) (*registrar.Registrar, error) {
	offer, err := a.turnOffer()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return registrar.New(ctx, registrar.Config{
		Instance: a.cfg.Instance, PathHost: a.coreHost(),
		Trust: a.cfg.Core.trust(a.coreHost()), VisitedNetwork: a.cfg.Core.VisitedNetwork, RegEvent: a.cfg.Core.regEvent(),
	}, registrar.Deps{
		Store: a.engine, Sealer: a.sealer, Metrics: a.metrics, Log: a.log.Named("registrar"), Auth: a.auth,
		Send: func(req headers.Msg, deliver func(registrar.Outcome)) error {
			to := siptransport.Target{}
			if !sig.nextHop {
				to.URI = req.RequestURI
			}
			_, err := a.layer.Request(req, to, func(r siptx.ClientResult) {
				if r.Kind == siptx.Provisional || r.Retransmission {
					return
				}
				o := outcome(r)
				deliver(registrar.Outcome{Msg: o.Msg, Timeout: o.Timeout})
			})
			return err
		},
		Request: func(req headers.Msg, deliver func(registrar.Outcome)) error {
			_, err := sig.Request(callcore.LegCore, "", req, func(o call.Outcome) {
				if o.Retransmission || o.Msg.Status >= 100 && o.Msg.Status < 200 {
					return
				}
				deliver(registrar.Outcome{Msg: o.Msg, Timeout: o.Timeout})
			})
			return err
		},
		Offer:      offer,
		CloseFlow:  a.edge.CloseFlow,
		OnFlowLost: func(id string) { a.calls.FlowLost(id) },
		OnFlowBack: func(id string) { a.calls.FlowBack(id) },
		OnMoved:    func(id, owner string) { a.calls.Moved(id, owner) },
		OnGone:     func(id string) { a.calls.Deregistered(id) },
		OnRoutes: func(routes []string) {
			for _, r := range routes {
				if addr, err := headers.ParseAddress(r); err == nil {
					a.core.TrustURI(addr.URI)
				}
			}
		},
	})
}

// turnOffer is what tells registered browsers of the TURN servers; nil: there are none.
func (a *App) turnOffer() (func(*headers.Msg, string), error) {
	c := a.cfg.TURN
	if len(c.URLs) == 0 {
		return nil, nil
	}
	secrets, err := turnauth.Load(c.SecretFile, turnauth.Texts(c.Secrets), 0, a.log.Named("turn"))
	if err != nil {
		return nil, fmt.Errorf("turn: %w", err)
	}
	a.onClose(func() { a.note("TURN secrets", secrets.Close()) })
	return turncred.New(c, secrets, a.metrics).Offer, nil
}

// bindings gives the registrar to the calls.
type bindings struct {
	r        *registrar.Registrar
	instance string
}

func (b *bindings) toCall(x registrar.Binding) call.Binding {
	out := call.Binding{ID: x.ID, AOR: x.AOR, Identities: x.Identities, Contact: x.Contact, ServiceRoute: x.ServiceRoute, Default: x.Default}
	switch {
	case x.FlowID == "":
	case x.Owner == b.instance:
		out.FlowID = x.FlowID
	default:
		out.Elsewhere = x.Owner
	}
	return out
}

func (b *bindings) OfFlow(flow string) []call.Binding {
	var out []call.Binding
	for _, x := range b.r.OfFlow(flow) {
		out = append(out, b.toCall(x))
	}
	return out
}

func (b *bindings) ByID(id string) (call.Binding, bool) {
	x, ok := b.r.ByID(id)
	return b.toCall(x), ok
}

func (b *bindings) ByPathToken(token string) (call.Binding, error) {
	x, err := b.r.ByPathToken(token)
	if errors.Is(err, registrar.ErrNoBinding) {
		err = call.ErrNoBinding
	}
	return b.toCall(x), err
}

func (a *App) registrations() []*adminv1.Registration {
	var out []*adminv1.Registration
	for _, b := range a.registrar.All() {
		out = append(out, &adminv1.Registration{
			Aor: b.AOR, Contact: b.Contact, InstanceId: b.Instance, Expires: admin.Time(b.Expires.Truncate(time.Second)), Owner: b.Owner, Connected: b.FlowID != "",
		})
	}
	return out
}
