package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// ProfileVersion is the highest version of the Iq profile that we have; profileInterfaces is the first whose controllers tell an interface from root.
const (
	ProfileVersion    = 2
	profileInterfaces = 2
)

// Reasons of ServiceChange (H.248.8 §4).
const (
	reasonRestored     = 900
	reasonColdBoot     = 901
	reasonWarmBoot     = 902
	reasonTakenOut     = 905
	reasonLowerLayer   = 906
	defaultBeat        = 5 * time.Second
	minBeat, maxBeat   = 100 * time.Millisecond, time.Minute
	missesUntilLost    = 2
	defaultCallTimeout = 3 * time.Second
)

// AssociationConfig is what an Association needs.
type AssociationConfig struct {
	MGWID, BootID string
	Address       string                                        // host:port of our MediaGateway service, for the pool to dial
	Pool          []string                                      // host:port of controllers, in order of preference; at least one
	Capabilities  func() *iqv1.Capabilities                     // as they are now
	Credentials   func(address string) (grpc.DialOption, error) // see Credentials in tls.go

	Contexts func() int    // contexts alive
	Packets  func() uint64 // packets received so far
	Draining func() bool
	// Unavailable is the realms that are not available now (H.248.41); nil: none.
	Unavailable func() []string

	RestartDelay time.Duration // the first registration waits a random part of it (restart avalanche, H.248.1 §11.2); 0: none
	RetryFirst   time.Duration // between attempts to register: 250 ms, doubled with jitter up to
	RetryMax     time.Duration // 5 s
	CallTimeout  time.Duration // of one RPC: 3 s

	Logger  *zap.Logger // nil: none
	Metrics *Metrics    // nil: none
}

// Association is the control link with the pool of controllers: registration, heartbeats, Notify. Run is its goroutine; the
// other methods are safe from any.
type Association struct {
	cfg   AssociationConfig
	peers []*poolPeer
	load  *loadMeter // owned by Run

	mu         sync.Mutex // guards what follows
	active     *poolPeer  // took the last registration; nil: none yet
	profile    uint32     // profile version that active said last
	linked     bool       // registered and heartbeats are answered
	accepted   bool       // a registration of this boot was accepted once
	inProgress bool       // a registration is on its way
	closing    bool       // no more transactions
}

// poolPeer is one controller address.
type poolPeer struct {
	address string
	conn    *grpc.ClientConn
	client  iqv1.MediaGatewayControllerClient
}

// NewAssociation prepares connections; nothing is dialled before Run. Errors: no address, or one that may not be spoken to in plaintext.
func NewAssociation(cfg AssociationConfig) (*Association, error) {
	cfg.RetryFirst = cmp.Or(cfg.RetryFirst, 250*time.Millisecond)
	cfg.RetryMax = cmp.Or(cfg.RetryMax, 5*time.Second)
	cfg.CallTimeout = cmp.Or(cfg.CallTimeout, defaultCallTimeout)
	if cfg.Unavailable == nil {
		cfg.Unavailable = func() []string { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	if len(cfg.Pool) == 0 {
		return nil, errors.New("control: no controller address")
	}
	a := &Association{cfg: cfg, load: newLoadMeter(cfg.Packets)}
	for _, address := range cfg.Pool {
		p, err := dial(address, cfg.Credentials)
		if err != nil {
			return nil, errors.Join(err, a.closePeers())
		}
		a.peers = append(a.peers, p)
	}
	return a, nil
}

func dial(address string, credentials func(string) (grpc.DialOption, error)) (*poolPeer, error) {
	creds, err := credentials(address)
	if err != nil {
		return nil, fmt.Errorf("controller %s: %w", address, err)
	}
	conn, err := grpc.NewClient(address, creds,
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			// ResetConnectBackoff of grpc 1.85.0 iterates over a map without its lock, so the backoff itself is kept short.
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<20)), grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("controller %s: %w", address, err)
	}
	return &poolPeer{address: address, conn: conn, client: iqv1.NewMediaGatewayControllerClient(conn)}, nil
}

// Close ends the connections; Run must have returned.
func (a *Association) Close() error { return a.closePeers() }

func (a *Association) closePeers() error {
	var errs []error
	for _, p := range a.peers {
		errs = append(errs, p.conn.Close())
	}
	return errors.Join(errs...)
}

// Run registers and keeps the association until ctx ends; then it returns nil. It does not announce the end: see Announce.
func (a *Association) Run(ctx context.Context) error {
	if a.cfg.RestartDelay > 0 && !sleep(ctx, rand.N(a.cfg.RestartDelay)) {
		return nil
	}
	method, reason := iqv1.ServiceChangeRequest_METHOD_RESTART, uint32(reasonColdBoot)
	for {
		beat := a.register(ctx, method, reason)
		if ctx.Err() != nil {
			return nil
		}
		switch a.beat(ctx, beat) {
		case beatStopped:
			return nil
		case beatLost:
			method, reason = iqv1.ServiceChangeRequest_METHOD_DISCONNECTED, reasonRestored
		case beatUnknown:
			method, reason = iqv1.ServiceChangeRequest_METHOD_RESTART, reasonWarmBoot
		}
	}
}

// register tries the controllers in order until one accepts, and returns the interval of heartbeats. It ends early with ctx.
func (a *Association) register(ctx context.Context, method iqv1.ServiceChangeRequest_Method, reason uint32) time.Duration {
	wait := a.cfg.RetryFirst
	for round := 0; ; round++ {
		for _, p := range a.order() {
			reply, err := a.attempt(ctx, p, method, reason)
			if ctx.Err() != nil {
				return 0
			}
			switch {
			case err != nil:
				a.cfg.Metrics.registrations.WithLabelValues("unreachable").Inc()
				if round == 0 {
					a.cfg.Logger.Warn("controller does not answer; will be tried again", zap.String("controller", p.address), zap.Error(err))
				}
				continue
			case reply.GetError() != nil:
				a.cfg.Metrics.registrations.WithLabelValues("refused").Inc()
				a.cfg.Logger.Error("registration refused", zap.String("controller", p.address),
					zap.Uint32("code", reply.GetError().GetCode()), zap.String("text", connmodel.Clip(reply.GetError().GetText())))
				if method == iqv1.ServiceChangeRequest_METHOD_DISCONNECTED {
					method, reason = iqv1.ServiceChangeRequest_METHOD_RESTART, reasonWarmBoot
				}
				continue
			}
			a.cfg.Metrics.registrations.WithLabelValues("accepted").Inc()
			a.cfg.Logger.Info("registered", zap.String("controller", p.address), zap.String("instance", connmodel.Clip(reply.GetMgcInstance())),
				zap.Stringer("method", method), zap.Uint32("reason", reason))
			return interval(reply.GetHeartbeatInterval().AsDuration())
		}
		if !sleep(ctx, wait/2+rand.N(wait)) {
			return 0
		}
		wait = min(2*wait, a.cfg.RetryMax)
	}
}

// attempt sends one registration.
func (a *Association) attempt(ctx context.Context, p *poolPeer, method iqv1.ServiceChangeRequest_Method, reason uint32) (*iqv1.ServiceChangeReply, error) {
	req := &iqv1.ServiceChangeRequest{
		MgwId: a.cfg.MGWID, BootId: a.cfg.BootID, Method: method, Reason: reason, Address: a.cfg.Address,
		Capabilities: a.cfg.Capabilities(), LiveContexts: uint32(a.cfg.Contexts()),
	}
	a.setInProgress(true)
	defer a.setInProgress(false)
	ctx, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout)
	defer cancel()
	reply, err := p.client.ServiceChange(ctx, req, grpc.WaitForReady(len(a.peers) == 1))
	if err == nil && reply.GetError() == nil {
		a.mu.Lock()
		a.active, a.profile, a.linked, a.accepted = p, reply.GetProfileVersion(), true, true
		a.mu.Unlock()
	}
	return reply, err
}

type beatEnd int

const (
	beatStopped beatEnd = iota // ctx has ended
	beatLost                   // nobody answers
	beatUnknown                // the pool does not know us
)

// beat sends heartbeats to the active controller until something ends that.
func (a *Association) beat(ctx context.Context, every time.Duration) beatEnd {
	misses := 0
	for {
		wait := every
		if misses > 0 {
			wait = min(every, time.Second) // look again soon
		}
		if !sleep(ctx, wait) {
			return beatStopped
		}
		reply, err := a.heartbeat(ctx, every)
		switch {
		case ctx.Err() != nil:
			return beatStopped
		case err != nil:
			a.cfg.Metrics.heartbeats.WithLabelValues("lost").Inc()
			if misses++; misses >= missesUntilLost {
				a.unlink()
				a.cfg.Logger.Warn("control link lost; media goes on", zap.Error(err), zap.Int("contexts", a.cfg.Contexts()))
				return beatLost
			}
		case reply.GetReRegister():
			a.cfg.Metrics.heartbeats.WithLabelValues("re_register").Inc()
			a.unlink()
			return beatUnknown
		default:
			a.cfg.Metrics.heartbeats.WithLabelValues("ok").Inc()
			a.setProfile(reply.GetProfileVersion())
			misses, every = 0, interval(reply.GetNext().AsDuration())
		}
	}
}

func (a *Association) heartbeat(ctx context.Context, every time.Duration) (*iqv1.HeartbeatReply, error) {
	permille, pps := a.load.sample(time.Now())
	ctx, cancel := context.WithTimeout(ctx, min(a.cfg.CallTimeout, every))
	defer cancel()
	a.mu.Lock()
	p := a.active
	a.mu.Unlock()
	return p.client.Heartbeat(ctx, &iqv1.HeartbeatRequest{
		MgwId: a.cfg.MGWID, BootId: a.cfg.BootID, Contexts: uint32(a.cfg.Contexts()),
		CpuPermille: permille, PacketsPerSecond: pps, Draining: a.cfg.Draining(),
		UnavailableRealms: a.cfg.Unavailable(),
	})
}

// Ready tells why transactions are not accepted now; nil: they are. Once a registration of this boot was accepted they stay
// accepted while the link is lost. A transaction that names our boot_id shows that the pool has accepted the registration
// whose reply is still on its way.
func (a *Association) Ready(expectBoot string) *connmodel.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closing:
		return connmodel.Errorf(gwerr.ServiceUnavailable, "gateway stops")
	case a.accepted, a.inProgress && expectBoot == a.cfg.BootID:
		return nil
	}
	return connmodel.Errorf(gwerr.BeforeRestart, "gateway %s is not registered with the pool yet", a.cfg.MGWID)
}

// Linked reports whether the gateway is registered and its heartbeats are answered.
func (a *Association) Linked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.linked
}

// Refuse makes Ready refuse all further transactions; for stopping.
func (a *Association) Refuse() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closing = true
}

func (a *Association) unlink() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.linked = false
}

func (a *Association) setProfile(v uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.profile = v
}

func (a *Association) setInProgress(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inProgress = on
}

// order is the controllers to try: the active one first, then as configured.
func (a *Association) order() []*poolPeer {
	a.mu.Lock()
	active := a.active
	a.mu.Unlock()
	if active == nil || active == a.peers[0] {
		return a.peers
	}
	out := slices.DeleteFunc(slices.Clone(a.peers), func(p *poolPeer) bool { return p == active })
	return append([]*poolPeer{active}, out...)
}

// interval is a heartbeat interval within reason; 0 is the default.
func interval(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultBeat
	}
	return max(minBeat, min(d, maxBeat))
}

// sleep waits; false: ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
