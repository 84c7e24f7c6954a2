package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/isthmus-gateway/isthmus/mgc/internal/admin"
	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/bus"
	"github.com/isthmus-gateway/isthmus/mgc/internal/call"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/coreedge"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/heap"
	"github.com/isthmus-gateway/isthmus/mgc/internal/iqlink"
	"github.com/isthmus-gateway/isthmus/mgc/internal/mgwpool"
	"github.com/isthmus-gateway/isthmus/mgc/internal/registrar"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/mgc/internal/webphone"
	"github.com/isthmus-gateway/isthmus/mgc/internal/wsedge"
	"github.com/isthmus-gateway/isthmus/mgc/web"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// App is a running controller. Fields are in the order of their making; Close takes them down in reverse.
type App struct {
	cfg       Config
	version   string
	log       *zap.Logger
	metrics   *prometheus.Registry
	engine    *store.Engine
	presence  *store.Presence
	bus       *bus.Bus
	told      atomic.Pointer[call.Manager] // calls, as soon as they are there: instances may leave before
	sealer    *flowtoken.Sealer
	flows     *siptransport.Flows
	core      *coreedge.Edge
	layer     *siptx.Layer
	auth      *auth.Authenticator
	registrar *registrar.Registrar
	pool      *mgwpool.Pool
	link      *iqlink.Link
	calls     *call.Manager
	bindings  *bindings
	gateways  *gateways
	edge      *wsedge.Server
	cert      *tlsfiles.Certificate
	adminSrv  *grpc.Server

	stopping atomic.Bool // an ordered stop has begun

	serving chan error    // one per server that ends; capacity: above the number of servers
	iqDone  chan struct{} // closed when the Iq server has ended; nil before it is started
	undo    []func()
}

// New makes all parts and binds all sockets; nothing is served before Run. On an error everything is released.
func New(cfg Config, version string, log *zap.Logger) (a *App, err error) {
	a = &App{cfg: cfg, version: version, log: log, metrics: obs.NewMetrics(), serving: make(chan error, 8)}
	defer func() {
		if err != nil {
			a.close()
			a = nil
		}
	}()
	a.onClose(heap.Start())
	for _, step := range []func() error{a.openStore, a.makeCore, a.makeManager, a.makeMedia, a.makeCalls, a.makeAccess, a.makeAdmin} {
		if err = step(); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a *App) onClose(f func()) { a.undo = append(a.undo, f) }

func (a *App) close() {
	for i := len(a.undo) - 1; i >= 0; i-- {
		a.undo[i]()
	}
	a.undo = nil
}

func (a *App) openStore() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	var err error
	if a.engine, err = store.Open(ctx, store.Config{URL: a.cfg.Store.URL, Replicas: a.cfg.Store.Replicas}); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.onClose(a.engine.Close)
	a.bus = bus.New(a.engine.Conn(), a.cfg.Instance)
	a.onClose(a.bus.Close)
	self := store.Instance{ID: a.cfg.Instance, Boot: siptransport.NewFlowID(), Started: time.Now()}
	gone := func(i store.Instance) {
		a.log.Warn("instance has left the pool", zap.String("instance", i.ID))
		if m := a.told.Load(); m != nil {
			m.InstanceGone(i.ID)
		}
	}
	if a.presence, err = store.Announce(ctx, a.engine, self, gone); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.onClose(a.presence.Close)
	keys, err := store.Keys(ctx, a.engine)
	if err != nil {
		return fmt.Errorf("token keys: %w", err)
	}
	tokens := make([]flowtoken.Key, len(keys))
	for i, k := range keys {
		tokens[i] = flowtoken.Key{ID: k.ID, Secret: [flowtoken.KeySize]byte(k.Secret)}
	}
	if a.sealer, err = flowtoken.New(tokens); err != nil {
		return fmt.Errorf("token keys: %w", err)
	}
	return nil
}

// makeCore makes the core edge and the transaction layer above it.
func (a *App) makeCore() error {
	a.flows = siptransport.NewFlows()
	transport := siptransport.NewMetrics(a.metrics)
	edge := a.cfg.Core.edge(a.coreHost())
	edge.Registry = a.metrics
	var err error
	a.core, err = coreedge.New(edge, a.flows, transport, a.log.Named("core"))
	if err != nil {
		return fmt.Errorf("core: %w", err)
	}
	a.onClose(func() { a.note("core edge", a.core.Close()) })
	a.layer = siptx.New(siptx.Config{T1: a.cfg.Core.T1}, a.core, siptx.NewMetrics(a.metrics), a.log.Named("sip"))
	a.onClose(func() { a.note("transactions", a.layer.Close()) })
	a.core.Probe(a.askCore)
	a.edge, err = wsedge.New(wsedge.Config{
		Origins: a.cfg.Access.Origins, RequireOrigin: a.cfg.Access.RequireOrigin, SentBy: a.accessHost(),
		MaxConnsPerIP: a.cfg.Access.MaxPerIP,
		Credential: func(r *http.Request) (string, error) {
			return auth.FromUpgrade(r, a.cfg.Auth.Upgrade, a.cfg.Auth.MaxToken)
		},
		Bind:         func(flow, token string) { a.auth.Bind(flow, token) },
		OnFlowClosed: a.flowClosed,
	}, a.flows, a.layer, transport, a.log.Named("access"))
	if err != nil {
		return fmt.Errorf("access: %w", err)
	}
	return nil
}

func (a *App) flowClosed(f siptransport.Flow) {
	a.auth.FlowClosed(f.ID)
	a.registrar.OnFlowClosed(f)
}

func (a *App) accessHost() string {
	if a.cfg.Access.Advertise != "" {
		return a.cfg.Access.Advertise
	}
	return a.cfg.Access.Listen.String()
}

func (a *App) coreHost() string {
	if a.cfg.Core.Advertise != "" {
		return a.cfg.Core.Advertise
	}
	return a.cfg.Core.Listen.String()
}

// makeMedia makes the pool of media gateways and the Iq link to them.
func (a *App) makeMedia() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var err error
	lost := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "isthmus_mgc_media_gateways_lost_total", Help: "Media gateways whose contexts were gone: silent for three heartbeats, restarted, or stopped. Their calls ended.",
	})
	var link atomic.Pointer[iqlink.Link] // nil until it is made: a node may be lost before
	a.pool, err = mgwpool.New(ctx, mgwpool.Config{Instance: a.cfg.Instance, OnLost: func(l mgwpool.Lost) {
		calls := a.told.Load()
		if len(l.Realms) > 0 {
			a.log.Warn("media gateway's realms not available; calls there end", zap.String("mgw", l.MGW), zap.Strings("realms", l.Realms))
			if calls != nil { // else there are none: those that are adopted are looked at then
				calls.RealmsLost(call.Node{MGW: l.MGW, Boot: l.Boot}, l.Realms)
			}
			return
		}
		a.log.Warn("media gateway lost", zap.String("mgw", l.MGW), zap.String("reason", l.Reason))
		lost.Inc()
		if made := link.Load(); made != nil {
			made.Forget(l.MGW)
		}
		if calls != nil {
			calls.GatewayLost(call.Node{MGW: l.MGW, Boot: l.Boot})
		}
	}}, a.engine)
	if err != nil {
		return fmt.Errorf("media gateways: %w", err)
	}
	a.onClose(a.pool.Close)
	a.countGateways(lost)
	notify := func(_ context.Context, r *iqv1.NotifyRequest) iqv1.NotifyReply_Verdict { return a.calls.Notify(r) }
	a.link, err = iqlink.New(iqlink.Config{
		Instance: a.cfg.Instance, Insecure: a.cfg.Iq.Insecure,
		TLS: tlsfiles.Files{Cert: a.cfg.Iq.Cert, Key: a.cfg.Iq.Key, CA: a.cfg.Iq.CA},
	}, a.pool, notify, a.log.Named("iq"), a.metrics)
	if err != nil {
		return fmt.Errorf("iq: %w", err)
	}
	link.Store(a.link)
	a.onClose(func() {
		a.link.Close()
		if a.iqDone != nil {
			<-a.iqDone
		}
	})
	return nil
}

// calls is the policy of calls that the configuration makes.
func (c *Config) calls() (callcore.Policy, error) {
	p := callcore.DefaultPolicy()
	p.Media = c.media()
	c.Core.shape(&p)
	p.QualityLimit = uint32(100*c.Media.QualityLimit + 0.5)
	p.Digits = c.Media.DTMF.policy()
	p.NoAnswer, p.SetUp, p.FlowGrace = c.Call.NoAnswer, c.Call.SetUp, c.Call.FlowGrace
	p.InactivityAfter, p.InactivityGrace, p.InactivityRTCP = c.Call.InactiveAfter, c.Call.InactiveRelease, c.Call.InactiveRTCP
	var err error
	p.Sounds, err = c.Call.sounds()
	return p, err
}

// makeManager makes the calls before the parts that tell them of losses; bindings and gateways are filled in when those are there.
func (a *App) makeManager() error {
	policy, err := a.cfg.calls()
	if err != nil {
		return err
	}
	a.bindings, a.gateways = &bindings{instance: a.cfg.Instance}, &gateways{needs: append(a.cfg.features(), a.cfg.sounding()...)}
	deps := call.Deps{
		Store: a.engine, Sealer: a.sealer, Bindings: a.bindings, Gateways: a.gateways,
		Signalling: a.signalling(), Bus: a.bus, Metrics: call.NewMetrics(a.metrics), Log: a.log.Named("call"),
	}
	if err := a.makeCharging(&deps); err != nil {
		return err
	}
	a.calls = call.NewManager(call.Config{
		Instance: a.cfg.Instance, AccessHost: a.accessHost(), CoreHost: a.coreHost(),
		AccessRealm: a.cfg.Media.AccessRealm, CoreRealm: a.cfg.Media.CoreRealm,
		UserAgent: "isthmus-mgc/" + a.version, Policy: policy, Trust: a.cfg.Core.trust(a.coreHost()), Emergency: a.cfg.Core.emergency(a.cfg.Emergency), MaxCalls: a.cfg.Call.Max, MaxPerUser: a.cfg.Call.PerUser, Alive: a.presence.Alive,
		Alone: a.engine.Embedded(),
	}, deps)
	a.told.Store(a.calls)
	a.onClose(a.calls.Close) // when a later step fails; else it is closed before
	return nil
}

func (a *App) signalling() signalling {
	return signalling{layer: a.layer, nextHop: a.cfg.Core.NextHop != ""}
}

// makeCalls makes the registrar, and the handler that feeds it and the calls.
func (a *App) makeCalls() error {
	a.gateways.pool, a.gateways.link = a.pool, a.link
	if err := a.makeAuth(); err != nil {
		return err
	}
	reg, err := a.newRegistrar(a.signalling())
	if err != nil {
		a.auth.Close()
		return fmt.Errorf("registrations: %w", err)
	}
	a.registrar, a.bindings.r = reg, reg
	a.onClose(reg.Close)
	a.onClose(a.auth.Close)
	a.onClose(a.calls.Close) // before what they use
	a.layer.SetHandler(router{calls: a.calls, registrar: reg, gate: newGate(a.auth, a.cfg.Auth.Mode == auth.ModeDigest, a.log.Named("auth"))})
	if err := a.calls.Join(); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	return nil
}

// makeAccess makes the HTTP servers with SIP over WebSocket and the web phone.
func (a *App) makeAccess() error {
	phone, err := webphone.Handler(web.Dist, a.phoneSettings())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(a.cfg.Access.Path, a.edge)
	mux.Handle("/", phone)
	a.onClose(func() { a.note("access edge", a.edge.Close()) })
	errorLog := wsedge.ErrorLog(a.log.Named("http"))
	if err := a.serveHTTP(a.cfg.Access.Listen.String(), wsedge.NewHTTPServer(mux, nil, errorLog)); err != nil {
		return err
	}
	if t := a.cfg.Access.TLS; t.Listen != "" {
		if a.cert, err = tlsfiles.Load(t.Cert, t.Key, 0, a.log); err != nil {
			return fmt.Errorf("access.tls: %w", err)
		}
		a.onClose(func() { a.note("certificate", a.cert.Close()) })
		if err := a.serveHTTP(t.Listen, wsedge.NewHTTPServer(mux, a.cert.Config(), errorLog)); err != nil {
			return err
		}
	}
	return nil
}

// serveHTTP binds the address and serves on it, with TLS when the server has a configuration for it.
func (a *App) serveHTTP(addr string, s *http.Server) error {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	a.serve(func() error {
		if s.TLSConfig != nil {
			err = s.ServeTLS(lis, "", "")
		} else {
			err = s.Serve(lis)
		}
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}, func() { _ = s.Close() }) // the listener is gone either way
	return nil
}

// serve runs a server on a goroutine of its own; stop ends it and is waited for at close.
func (a *App) serve(run func() error, stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(); err != nil {
			a.serving <- err
		}
	}()
	a.onClose(func() { stop(); <-done })
}

// makeAdmin makes the Iq listener, the admin service, and metrics and health.
func (a *App) makeAdmin() error {
	iq, err := net.Listen("tcp", a.cfg.Iq.Listen)
	if err != nil {
		return fmt.Errorf("iq.listen: %w", err)
	}
	if host, err := netip.ParseAddrPort(iq.Addr().String()); err == nil && !host.Addr().IsLoopback() && a.cfg.Iq.Cert == "" && !a.cfg.Iq.Insecure {
		_ = iq.Close()
		return errors.New("iq.listen: plaintext beyond loopback needs iq.cert, iq.key and iq.ca, or iq.insecure")
	}
	a.iqDone = make(chan struct{})
	go func() { // ended by link.Close, after the calls
		defer close(a.iqDone)
		if err := a.link.Serve(iq); err != nil {
			a.serving <- err
		}
	}()
	lis, err := net.Listen("tcp", a.cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: %w", err)
	}
	a.adminSrv, _ = admin.NewServer(admin.Source{Nodes: a.nodes, Calls: a.listCalls, Registrations: a.registrations, Resources: a.resources, Play: a.play, NoCall: call.ErrNoCall})
	a.serve(func() error { return a.adminSrv.Serve(lis) }, a.adminSrv.Stop)
	return a.serveHTTP(a.cfg.Admin.HTTP, &http.Server{Handler: obs.Handler(a.metrics, a.ready), ReadHeaderTimeout: 5 * time.Second})
}

// ready tells why the controller should get no new calls; nil when it should.
func (a *App) ready() error {
	if a.stopping.Load() {
		return errors.New("the controller is stopping")
	}
	if err := a.engine.Healthy(); err != nil {
		return err
	}
	if len(a.pool.Nodes()) == 0 {
		return errors.New("no media gateway is registered")
	}
	return nil
}

// Run serves until ctx ends, then hands over or releases the calls (see drain) and stops; now ends the wait for them at once. It returns
// nil after an ordered stop.
func (a *App) Run(ctx context.Context, now <-chan struct{}) error {
	a.core.Start(a.layer)
	a.log.Info("serving", zap.String("version", a.version), zap.Stringer("access", a.cfg.Access.Listen), zap.Stringer("core", a.cfg.Core.Listen),
		zap.String("iq", a.cfg.Iq.Listen), zap.String("next_hop", a.cfg.Core.NextHop))
	if a.cfg.Core.keysInClear() {
		a.log.Warn("SRTP keys are told to the core in clear (RFC 4568 §7.1)", zap.String("next_hop", a.cfg.Core.NextHop))
	}
	var err error
	select {
	case <-ctx.Done():
		a.drain(now)
	case err = <-a.serving:
	}
	a.close()
	return err
}

// drain hands the calls over to the other instances of the pool, releases those that are left, and waits until they have ended.
func (a *App) drain(now <-chan struct{}) {
	a.stopping.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.Call.Drain)
	defer cancel()
	go func() { // ends with ctx
		select {
		case <-now:
			cancel()
		case <-ctx.Done():
		}
	}()
	kept := a.calls.Leave(ctx, a.cfg.Call.Drain*4/5, a.others, "Controller is stopping") // the rest is for those that are released
	if err := a.calls.Drain(ctx, kept); err != nil {
		a.log.Warn("stopped with calls", zap.Error(err))
	}
}

// others are the names of the other live instances of the pool.
func (a *App) others() []string {
	var names []string
	for _, i := range a.presence.Instances() {
		if i.ID != a.cfg.Instance {
			names = append(names, i.ID)
		}
	}
	return names
}

func (a *App) note(what string, err error) {
	if err != nil {
		a.log.Debug(what+" closed", zap.Error(err))
	}
}
