// Package auth checks the web-identity tokens of browsers and speaks for them towards the core (TS 24.371 §6.1 scenarios 2 and 3,
// RFC 8898, RFC 7519, RFC 7662; TS 33.203 annexes U and X). Floor 1 of mgc. Owner: Authenticator owns one goroutine that looks
// for ended tokens, one per running verification, and its issuers' goroutines; everything else is called by others.
//
// A registration walks through it like this:
//
//	REGISTER with Bearer      Register: token of the header, else the one bound to the connection at its upgrade
//	                          verdict of this connection and token known -> answered at once, without I/O
//	                          else Verify: JWT by the issuer's keys, or introspection
//	                          To and From against the identities of the claims; pooled identity leased
//	Decision Trust            Apply: tokens out, Trusted Node Authentication in, lifetime cut to the token's
//	Decision Refuse           Answer: 401 with challenge, 403, 503 - by one table (reason.go)
//	Decision Pass             Apply: tokens out, no word of trust by the browser; the core authenticates
//
// A token never leaves this package but to the issuer that is asked about it: not towards the core, not into a log, not into an
// error. The caller carries out decisions; the package sends no SIP.
package auth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Deps are the parts that the authenticator uses.
type Deps struct {
	Domain  string       // home domain, in identities and towards the core
	Leases  Leases       // nil: of this process
	HTTP    *http.Client // its Transport is used; nil: one of our own
	Metrics prometheus.Registerer
	Log     *zap.Logger
	// OnExpired tells that the token of a connection has ended without being renewed (REG-12): the caller de-registers its bindings
	// towards the core, with the Authorization of the identity that it was told with them, and closes the connection. It must not
	// block and may be nil.
	OnExpired func(flow string)
}

// Authenticator holds the verdicts of the connections. All methods are safe for concurrent use.
type Authenticator struct {
	cfg       Config
	deps      Deps
	challenge Challenge
	verifier  Verifier
	pool      *pool
	metrics   *metrics
	closers   []func()
	slots     chan struct{} // cap MaxInFlight; full: the request is refused with Overloaded
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup

	mu     sync.Mutex // guards below
	flows  map[string]*flowState
	closed bool
}

// flowState is what is known of one connection. Guarded by Authenticator.mu.
type flowState struct {
	bound string    // token of the HTTP upgrade, "" when there was none
	hash  tokenHash // of the token that id was made from
	id    Identity  // Subject "": not verified yet
	since time.Time // of the state, or of the end of its identity
}

// New starts the verifiers of the configured issuers; it does not wait for their answers. In mode digest it starts none. The
// caller closes it. Errors: of Config.Validate, and of files that cannot be read.
func New(cfg Config, deps Deps) (*Authenticator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Leases == nil {
		deps.Leases = NewMemoryLeases()
	}
	a := &Authenticator{
		cfg: cfg, deps: deps, metrics: newMetrics(deps.Metrics), pool: &pool{cfg: cfg.Pool, leases: deps.Leases},
		slots: make(chan struct{}, max(1, cfg.MaxInFlight)), flows: map[string]*flowState{}, challenge: challengeOf(&cfg, deps.Domain),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	if cfg.Mode != ModeDigest && cfg.Mode != "" {
		if err := a.startIssuers(); err != nil {
			a.Close()
			return nil, err
		}
		a.wg.Add(1)
		go a.sweep()
	}
	return a, nil
}

func challengeOf(cfg *Config, domain string) Challenge {
	c := Challenge{Realm: cfg.Realm, AuthzServer: cfg.AuthzServer}
	if c.Realm == "" {
		c.Realm = domain
	}
	if len(cfg.Issuers) > 0 {
		c.Scopes = cfg.Issuers[0].Scopes
		if c.AuthzServer == "" {
			c.AuthzServer = cfg.Issuers[0].Issuer
		}
	}
	return c
}

// startIssuers makes the verifier of every issuer.
func (a *Authenticator) startIssuers() error {
	f, err := newFetcher(a.deps.HTTP, a.cfg.Timeout, a.cfg.CA, a.metrics)
	if err != nil {
		return err
	}
	v := &verifiers{byIssuer: map[string]Verifier{}}
	for i := range a.cfg.Issuers {
		is := &a.cfg.Issuers[i]
		m, err := newMapper(is.Mapping, a.deps.Domain)
		if err != nil {
			return err // Validate has seen it before
		}
		r := rules{issuer: is.Issuer, audience: is.Audience, scopes: is.Scopes, skew: a.cfg.Skew, maxLifetime: a.cfg.MaxLifetime, mapper: m}
		if is.Method == "introspection" {
			in := newIntrospector(r, is.Introspection, f, a.deps.Log)
			v.byIssuer[is.Issuer], v.opaque = in, in
			a.closers = append(a.closers, in.close)
			continue
		}
		keys := newKeySource(is.Issuer, is.Keys, f, a.deps.Log)
		v.byIssuer[is.Issuer] = newJWTVerifier(r, is.Keys.Algorithms, keys)
		a.closers = append(a.closers, keys.close)
	}
	a.closers = append(a.closers, f.close)
	a.verifier = v
	return nil
}

// Close ends running verifications, which are delivered as Unavailable, and waits for all goroutines.
func (a *Authenticator) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	for _, c := range a.closers {
		c()
	}
	a.wg.Wait()
}

// Bind remembers the token that came with the upgrade of a connection; its REGISTER then needs none (REG-06).
func (a *Authenticator) Bind(flow, token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stateLocked(flow).bound = token
}

// FlowClosed forgets a connection. A lease stays: it ends with its time, or by Return.
func (a *Authenticator) FlowClosed(flow string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.flows, flow)
	a.gaugeLocked()
}

// Forget drops the verdict of a connection whose user has de-registered: another one may then register over it.
func (a *Authenticator) Forget(flow string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if st := a.flows[flow]; st != nil {
		st.hash, st.id, st.since = tokenHash{}, Identity{}, time.Now()
	}
}

// Return gives back the lease of a registration that was ended by the browser or the core. Call it before the 200 of the
// de-registration goes out, so that it cannot meet the client's next registration. The error is only worth a log line.
func (a *Authenticator) Return(ctx context.Context, l Lease) error {
	if l.IsZero() {
		return nil
	}
	return a.pool.giveBack(ctx, l)
}

func (a *Authenticator) stateLocked(flow string) *flowState {
	st := a.flows[flow]
	if st == nil {
		st = &flowState{since: time.Now()}
		a.flows[flow] = st
		a.gaugeLocked()
	}
	return st
}

func (a *Authenticator) gaugeLocked() {
	a.metrics.cache.WithLabelValues("flows").Set(float64(len(a.flows)))
}

// verified returns the identity that this very token was found to have on this connection, while it need not be asked again.
func (a *Authenticator) verified(flow string, hash tokenHash) (Identity, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.flows[flow]
	if st == nil || st.id.Subject == "" || st.hash != hash || !time.Now().Before(st.id.Recheck) {
		return Identity{}, false
	}
	return st.id, true
}

// learn keeps a verdict with its connection; one that has been closed meanwhile is st's only, and goes with it. Errors: OtherIdentity when another user has spoken over the
// connection before: one connection is one user's.
func (a *Authenticator) learn(st *flowState, hash tokenHash, id Identity) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if st.id.Subject != "" && !st.id.same(&id) {
		return OtherIdentity
	}
	st.hash, st.id = hash, id
	return nil
}

// verify runs the verifier within the deadline and keeps the verdict.
func (a *Authenticator) verify(ctx context.Context, st *flowState, token string) (Identity, error) {
	id, err := a.verifier.Verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	return id, a.learn(st, hashOf(token), id)
}

// start runs f beside the caller, at most MaxInFlight at once. Errors: Overloaded.
func (a *Authenticator) start(f func(ctx context.Context)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return Overloaded
	}
	select {
	case a.slots <- struct{}{}:
	default:
		return Overloaded
	}
	a.wg.Add(1)
	go func() {
		defer a.wg.Done()
		defer func() { <-a.slots }()
		ctx, cancel := context.WithTimeout(a.ctx, a.cfg.Deadline)
		defer cancel()
		f(ctx)
	}()
	return nil
}

// tokenOf returns the token of the request, else the one bound to the connection, "" when there is none.
func (a *Authenticator) tokenOf(req *headers.Msg, flow string) (token string, st *flowState, err error) {
	token, err = FromRequest(req, a.cfg.MaxToken)
	a.mu.Lock()
	defer a.mu.Unlock()
	st = a.stateLocked(flow)
	if token == "" {
		token = st.bound
	}
	return token, st, err
}

// count counts a verdict. What an operator has to act on, an issuer that fails, is logged where it is seen.
func (a *Authenticator) count(err error) {
	r := ReasonOf(err)
	a.metrics.verdicts.WithLabelValues(r.String()).Inc()
	if r == Unavailable && !errors.Is(err, context.Canceled) {
		a.deps.Log.Debug("token not verified", zap.Error(err))
	}
}

// sweep tells of ended tokens, once a second (REG-12).
func (a *Authenticator) sweep() {
	defer a.wg.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case now := <-tick.C:
			for _, flow := range a.ended(now) {
				a.metrics.expired.Inc()
				if a.deps.OnExpired != nil {
					a.deps.OnExpired(flow)
				}
			}
		}
	}
}

// idle is how long a state without verdict and bound token is kept: one that was made by a request that came after FlowClosed
// must not stay for ever, and any other is made anew when it is needed.
const idle = time.Minute

// ended takes the verdicts that have ended; a connection with a bound token stays known until FlowClosed.
func (a *Authenticator) ended(now time.Time) (flows []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for flow, st := range a.flows {
		switch {
		case st.id.Subject != "" && !now.Before(st.id.Expires):
			flows = append(flows, flow)
			st.hash, st.id, st.since = tokenHash{}, Identity{}, now
		case st.id.Subject == "" && st.bound == "" && now.Sub(st.since) > idle:
			delete(a.flows, flow)
		}
	}
	a.gaugeLocked()
	return flows
}
