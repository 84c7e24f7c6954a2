package app

import (
	"context"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/netwatch"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// Realms and the interfaces under them (H.248.41, TS 23.334 §6.1.15): what fails is refused for new terminations, told to the pool, counted and shown.

func (a *App) watchConfig(reg prometheus.Registerer) netwatch.Config {
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "isthmus_mgw_realm_failures_total", Help: "Times that a realm became unavailable because its interface went down or its address away.",
	})
	reg.MustRegister(failures)
	cfg := netwatch.Config{Hold: a.cfg.Realms.Hold, Logger: a.log.Named("realms"), Changed: func(changed []netwatch.State) { a.realmsChanged(failures, changed) }}
	add := func(name string, addrs ...netip.Addr) {
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })
		cfg.Realms = append(cfg.Realms, netwatch.Realm{Name: name, Addrs: addrs})
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "isthmus_mgw_realm_available", Help: "1 while terminations can be placed in the realm.", ConstLabels: prometheus.Labels{"realm": name},
		}, func() float64 {
			if a.whyUnavailable(name) != "" {
				return 0
			}
			return 1
		}))
	}
	for _, r := range a.cfg.Realms.Access {
		add(r.Name, r.Listen, r.Second)
	}
	for _, r := range a.cfg.Realms.Core {
		add(r.Name, r.Listen)
	}
	return cfg
}

// whyUnavailable is why nothing can be placed in a realm now; "": something can.
func (a *App) whyUnavailable(realm string) string {
	for _, s := range a.realms.States() {
		if s.Realm == realm && !s.Available {
			return s.Reason
		}
	}
	return ""
}

// realmsChanged tells the pool, with one message for each interface.
func (a *App) realmsChanged(failures prometheus.Counter, changed []netwatch.State) {
	for len(changed) > 0 {
		first, rest := changed[0], []netwatch.State(nil)
		var names []string
		for _, s := range changed {
			if s.Interface == first.Interface && s.Available == first.Available {
				names = append(names, s.Realm)
			} else {
				rest = append(rest, s)
			}
		}
		changed = rest
		fields := []zap.Field{zap.String("interface", first.Interface), zap.Strings("realms", names)}
		if first.Available {
			a.log.Info("interface serves again", fields...)
		} else {
			failures.Add(float64(len(names)))
			a.log.Error("interface failed; its terminations are out of service", append(fields, zap.String("reason", first.Reason))...)
		}
		if !a.assoc.Linked() {
			continue // the registration tells
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		if err := a.assoc.Interface(ctx, first.Interface, names, first.Available); err != nil {
			a.log.Warn("the pool was not told of the interface; the next heartbeat does", append(fields, zap.Error(err))...)
		}
		cancel()
	}
}

// listRealms is the realms for operators.
func (a *App) listRealms() []*adminv1.RealmState {
	var out []*adminv1.RealmState
	states := a.realms.States()
	add := func(name string, kind connmodel.Kind, addrs ...netip.Addr) {
		row := &adminv1.RealmState{Name: name, Kind: kind.String()}
		for _, addr := range addrs {
			if addr.IsValid() {
				row.Addresses = append(row.Addresses, addr.String())
			}
		}
		for _, s := range states {
			if s.Realm == name {
				row.InterfaceId, row.Available, row.Since, row.Reason = s.Interface, s.Available, timestamppb.New(s.Since), s.Reason
			}
		}
		out = append(out, row)
	}
	for _, r := range a.cfg.Realms.Access {
		add(r.Name, connmodel.KindAccess, r.Listen, r.Second)
	}
	for _, r := range a.cfg.Realms.Core {
		add(r.Name, connmodel.KindCore, r.Listen)
	}
	return out
}
