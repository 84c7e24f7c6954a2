// Package app wires the media gateway by hand: the one place that knows all types. Floor 5. It owns the parts' goroutines
// through a runner.Runner and stops them in order.
package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/admin"
	"github.com/isthmus-gateway/isthmus/mgw/internal/announce"
	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
	"github.com/isthmus-gateway/isthmus/mgw/internal/control"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/netwatch"
	"github.com/isthmus-gateway/isthmus/mgw/internal/turnserver"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
	"github.com/isthmus-gateway/isthmus/pkg/runner"
	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// stopTimeout bounds the stop of servers and packet path.
const stopTimeout = 5 * time.Second

// App is a media gateway. New opens everything, Run serves; Close releases an App that is not run.
type App struct {
	cfg      Config
	log      *zap.Logger
	engine   *flow.Engine
	contexts *contexts.Manager
	realms   *netwatch.Watcher
	drain    *control.Drain
	assoc    *control.Association
	iq       *control.Endpoint
	admin    *admin.Endpoint
	http     *admin.HTTP
	library  *announce.Library

	turn        *turnserver.Server    // nil: off, and what follows too
	turnSecrets *turnauth.Secrets     // nil: none yet
	turnCert    *tlsfiles.Certificate // nil: no TLS
}

// New opens sockets and listeners; nothing is served before Run. On an error nothing is left open.
func New(cfg Config, version string, log *zap.Logger) (*App, error) {
	a := &App{cfg: cfg, log: log}
	if err := a.open(version); err != nil {
		a.Close()
		return nil, fmt.Errorf("mgw: %w", err)
	}
	return a, nil
}

func (a *App) open(version string) error {
	boot, err := newBoot()
	if err != nil {
		return err
	}
	registry := obs.NewMetrics()
	if err = a.openAnnouncements(); err != nil {
		return err
	}
	a.countAnnouncements(registry)
	if a.engine, err = flow.New(a.flowConfig()); err != nil {
		return err
	}
	sec, err := control.NewSecurity(tlsfiles.Files{Cert: a.cfg.Iq.Cert, Key: a.cfg.Iq.Key, CA: a.cfg.Iq.CA}, a.cfg.Iq.Insecure)
	if err != nil {
		return err
	}
	if a.realms, err = netwatch.New(a.watchConfig(registry)); err != nil {
		return err
	}
	caps, metrics := a.capabilities(version), control.NewMetrics(registry)
	a.assoc, err = control.NewAssociation(control.AssociationConfig{
		MGWID: a.cfg.MGWID, BootID: boot, Address: a.cfg.Iq.Advertise, Pool: a.cfg.Iq.MGC, Capabilities: caps, Credentials: sec.Client,
		Contexts: func() int { return a.contexts.Count() }, Packets: func() uint64 { return a.engine.Counters().PacketsReceived },
		Draining: func() bool { return a.drain.Draining() }, Unavailable: a.realms.Unavailable, RestartDelay: a.cfg.Iq.Restart, Logger: a.log.Named("iq"), Metrics: metrics,
	})
	if err != nil {
		return err
	}
	a.contexts = contexts.New(a.contextsConfig(boot, registry), contexts.Engine(a.engine))
	a.drain = control.NewDrain(a.contexts, a.log)
	server := control.NewServer(control.ServerConfig{
		MGWID: a.cfg.MGWID, BootID: boot, Capabilities: caps, Keep: a.cfg.Iq.Keep, MaxInFlight: a.cfg.Iq.InFlight,
		Logger: a.log.Named("iq"), Metrics: metrics,
	}, a.contexts, a.drain, a.assoc.Ready)
	if a.iq, err = control.Listen(a.cfg.Iq.Listen, sec, server); err != nil {
		return err
	}
	src := admin.Source{Contexts: a.contexts, Counters: a.engine.Counters, Ready: a.ready, Realms: a.listRealms}
	if a.admin, err = admin.Listen(a.cfg.Admin.Listen, a.cfg.Admin.Insecure, src); err != nil {
		return err
	}
	registerGauges(registry, a, version)
	if err = a.openTURN(registry); err != nil {
		return err
	}
	a.http, err = admin.ListenHTTP(a.cfg.HTTP.Listen, obs.Handler(registry, a.ready))
	return err
}

// newBoot is a new boot_id: the start second and four random bytes, so that ids of later boots sort after earlier ones.
func newBoot() (string, error) {
	var b [8]byte
	now := time.Now().Unix()
	b[0], b[1], b[2], b[3] = byte(now>>24), byte(now>>16), byte(now>>8), byte(now)
	if _, err := rand.Read(b[4:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

func (a *App) flowConfig() flow.Config {
	cfg := flow.Config{Workers: a.cfg.Media.Workers, Nice: a.cfg.Media.Nice, Fill: a.cfg.Media.Fill, Events: func(ev flow.Event) { a.contexts.Event(ev) }, Logger: a.log.Named("flow"),
		Bitrates: flow.Bitrates{OpusNarrow: a.cfg.Media.OpusNarrow, OpusWide: a.cfg.Media.OpusWide, AMRWB: a.cfg.Media.AMRWB}}
	for _, r := range a.cfg.Realms.Access {
		cfg.Access = append(cfg.Access, flow.AccessRealm{Name: r.Name, Listen: r.Listen, Advertise: r.Advertise, Port: r.Port, TCP: r.TCP, Second: r.Second, SecondAdvertise: r.SecondAdv, RTCP: r.RTCPPort != 0, RTCPPort: r.RTCPPort})
	}
	for _, r := range a.cfg.Realms.Core {
		cfg.Core = append(cfg.Core, flow.CoreRealm{Name: r.Name, Listen: r.Listen, Advertise: r.Advertise, PortMin: r.PortMin, PortMax: r.PortMax})
	}
	return cfg
}

func (a *App) contextsConfig(boot string, reg prometheus.Registerer) contexts.Config {
	cfg := contexts.Config{
		MGWID: a.cfg.MGWID, BootID: boot, Boot: boot, Notify: a.assoc.Notify, Realms: map[string]connmodel.Realm{},
		Unavailable: a.whyUnavailable,
		MaxContexts: a.cfg.Contexts.Max, OrphanTTL: a.cfg.Contexts.OrphanTTL, HangingGrace: a.cfg.Contexts.HangingGrace,
		Tones: a.cfg.Tones.plan(), Announcements: a.library.Get,
		HeadlessLimit: a.cfg.Contexts.HeadlessLimit, InactiveAfter: a.cfg.Media.InactiveAfter, ConsentAfter: a.cfg.Media.ConsentAfter,
		Logger: a.log.Named("contexts"), Metrics: contexts.NewMetrics(reg),
	}
	for _, r := range a.cfg.Realms.Access {
		cfg.Realms[r.Name] = connmodel.Realm{Kind: connmodel.KindAccess, InterfaceID: interfaceOf(r.Listen), FullICE: r.ICE == iceFull, Component2: r.RTCPPort != 0}
	}
	for _, r := range a.cfg.Realms.Core {
		cfg.Realms[r.Name] = connmodel.Realm{Kind: connmodel.KindCore, InterfaceID: interfaceOf(r.Listen)}
	}
	return cfg
}

// interfaceOf names the network interface that has the address; empty when none or any has.
func interfaceOf(addr netip.Addr) string {
	ifaces, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range ifaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == addr.Unmap() {
				return i.Name
			}
		}
	}
	return ""
}

// ready tells why no call should be sent here; nil: ready.
func (a *App) ready() error {
	switch {
	case a.drain.Draining():
		return errors.New("draining")
	case !a.assoc.Linked():
		return errors.New("not registered with the pool")
	}
	return nil
}

// Run serves until ctx ends or a part fails. Then calls may end by themselves within the grace time, which now cuts short;
// afterwards everything is closed. The error is that of the part that failed; nil after an ordered stop.
func (a *App) Run(ctx context.Context, now <-chan struct{}) error {
	defer a.Close()
	a.log.Info("media gateway", zap.String("mgw_id", a.cfg.MGWID), zap.Stringer("iq", a.iq.Addr()), zap.Stringer("admin", a.admin.Addr()),
		zap.Stringer("http", a.http.Addr()), zap.Strings("mgc", a.cfg.Iq.MGC))
	var parts runner.Runner
	for _, p := range []runner.Part{
		{Name: "http", Run: a.http.Run}, {Name: "admin", Run: a.admin.Run}, {Name: "iq", Run: a.iq.Run},
		{Name: "association", Run: a.assoc.Run}, {Name: "certificate", Run: a.rotate}, {Name: "interfaces", Run: a.realms.Run},
	} {
		parts.Start(p)
	}
	var failed error
	select {
	case failed = <-parts.Failed():
		a.log.Error("a part failed; stopping", zap.Error(failed))
	case <-ctx.Done():
		a.drainCalls(now)
	}
	a.assoc.Refuse()
	a.announce(iqv1.ServiceChangeRequest_METHOD_FORCED, 0)
	a.contexts.ReleaseAll("gateway stops")
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := parts.Stop(stop)
	if failed != nil {
		return failed // also among err
	}
	return err
}

// drainCalls lets calls end by themselves for the grace time at most.
func (a *App) drainCalls(now <-chan struct{}) {
	grace := a.cfg.Drain.Grace
	a.drain.Graceful(0)
	if a.turn != nil {
		a.turn.Drain()
	}
	if a.contexts.Count() == 0 || grace == 0 {
		return
	}
	a.announce(iqv1.ServiceChangeRequest_METHOD_GRACEFUL, grace)
	a.log.Info("draining", zap.Int("contexts", a.contexts.Count()), zap.Duration("grace", grace))
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	cut := make(chan struct{})
	go func() { // ends with ctx, which this function cancels and then waits for
		defer close(cut)
		select {
		case <-now:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := a.contexts.WaitEmpty(ctx); err != nil {
		a.log.Warn("contexts left at the end of the drain", zap.Int("contexts", a.contexts.Count()))
	}
	cancel()
	<-cut
}

func (a *App) announce(method iqv1.ServiceChangeRequest_Method, delay time.Duration) {
	if !a.assoc.Linked() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := a.assoc.Announce(ctx, method, delay); err != nil {
		a.log.Warn("the pool was not told of the stop", zap.Error(err))
	}
}

// rotate gives new calls a new DTLS certificate from time to time (RFC 8827 §6.5).
func (a *App) rotate(ctx context.Context) error {
	tick := time.NewTicker(a.cfg.Media.CertLife)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := a.engine.RotateCertificate(); err != nil {
				a.log.Error("DTLS certificate not rotated; the former stays", zap.Error(err))
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// Close releases everything. Idempotent.
func (a *App) Close() {
	if a.drain != nil {
		a.drain.Close()
	}
	if a.contexts != nil {
		a.contexts.Close()
	}
	a.closeTURN()
	if a.library != nil {
		if err := a.library.Close(); err != nil {
			a.log.Error("announcements", zap.Error(err))
		}
	}
	if a.engine != nil {
		if err := a.engine.Close(); err != nil {
			a.log.Error("packet path", zap.Error(err))
		}
	}
	if a.iq != nil {
		a.iq.Close()
	}
	if a.admin != nil {
		a.admin.Close()
	}
	if a.http != nil {
		a.http.Close()
	}
	if a.assoc != nil {
		if err := a.assoc.Close(); err != nil {
			a.log.Debug("association", zap.Error(err)) // closed already
		}
	}
}

// Addresses tells where the services listen; for tests and logs.
func (a *App) Addresses() (iq, adminAddr, http string) {
	return a.iq.Addr().String(), a.admin.Addr().String(), a.http.Addr().String()
}
