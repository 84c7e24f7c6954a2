// Package registrar relays REGISTER between browsers and the core and keeps the bindings that come of it
// (TS 24.229 §5.2.2, RFC 3327, RFC 3608, RFC 5626). Floor 3 of mgc. Owner: Registrar owns a goroutine that sweeps expired
// bindings and, while there is something to write, one per binding that is written; requests are worked on by the
// goroutines that bring them, under one lock.
//
// Digest passes through unread: the core authenticates, the browser answers, and a binding exists only once the core has said 200.
//
// Bindings are the pool's: each instance writes its own to the store and mirrors those of all. A binding belongs to the instance that
// holds the browser's connection (Owner); a REGISTER over another instance moves it there. With a store that outlives
// the process bindings survive a restart: without connection, until the browser comes back or they expire.
package registrar

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/mgc/internal/trust"
)

// ErrNoBinding: the token is genuine but its binding has ended.
var ErrNoBinding = errors.New("registrar: no such binding")

// Config holds what an operator sets; a zero field takes its default.
type Config struct {
	Instance  string        // this controller instance
	PathHost  string        // host:port of our Path URI towards the core
	FlowTimer time.Duration // Flow-Timer given to browsers, default 60 s (RFC 5626 §4.4)
	MaxPerAOR int           // bindings of one address of record, default 20
	MaxTotal  int           // bindings of this instance, default 200000
	RatePerIP float64       // REGISTER per second from one address, default 50
	Burst     float64       // that may come at once, default 200

	Trust          trust.Profile // what we assert towards the core
	VisitedNetwork string        // P-Visited-Network-ID (RFC 7315 §4.3); "": none
	RegEvent       bool          // subscribe to the registration state of each user
}

func (c Config) withDefaults() Config {
	if c.FlowTimer == 0 {
		c.FlowTimer = time.Minute
	}
	if c.MaxPerAOR == 0 {
		c.MaxPerAOR = 20
	}
	if c.MaxTotal == 0 {
		c.MaxTotal = 200_000
	}
	if c.RatePerIP == 0 {
		c.RatePerIP = 50
	}
	if c.Burst == 0 {
		c.Burst = 200
	}
	return c
}

// Outcome is the core's answer: a response, or Status 0 when there was none.
type Outcome struct {
	Msg     headers.Msg
	Timeout bool
}

// ServerTx is a server transaction of the transaction layer.
type ServerTx interface {
	Respond(resp headers.Msg) error
}

// Deps are the parts that the registrar uses. The callbacks may be nil and must not block.
type Deps struct {
	Store  store.Store
	Sealer *flowtoken.Sealer
	// Send sends a REGISTER towards the core; deliver gets exactly one final outcome.
	Send    func(req headers.Msg, deliver func(Outcome)) error
	Metrics prometheus.Registerer
	Log     *zap.Logger
	// Auth decides on REGISTER with web-identity tokens; nil: the core authenticates all. It is closed before the registrar, by its
	// maker, and tells TokenExpired.
	Auth *auth.Authenticator

	// Request sends a request of our own to its top Route or Request-URI; nil: none are sent. deliver as with Send.
	Request func(req headers.Msg, deliver func(Outcome)) error
	// Offer adds what only a registered browser gets to the 200 for a user; nil: nothing.
	Offer func(resp *headers.Msg, aor string)
	// CloseFlow closes a browser's connection.
	CloseFlow func(flow, reason string)

	OnFlowLost func(binding string)         // its WebSocket is gone, the binding lives on
	OnMoved    func(binding, owner string)  // it was this instance's and has registered over another one
	OnFlowBack func(binding string)         // it registered again over another one
	OnGone     func(binding string)         // de-registered or expired, while it was this instance's
	OnRoutes   func(serviceRoutes []string) // a Service-Route was learnt: requests may come from there
}

// Binding is one browser's registration (RFC 3261 §10). A plain value; its slices are never changed in place.
type Binding struct {
	ID           string    `json:"id"`         // names it for as long as it lives
	AOR          string    `json:"aor"`        // canonical
	Identities   []string  `json:"identities"` // AORs that the browser may use, the AOR among them
	Contact      string    `json:"contact"`    // URI
	Instance     string    `json:"instance,omitempty"`
	RegID        string    `json:"reg_id,omitempty"`
	Default      string    `json:"default,omitempty"` // the identity that is asserted when the browser prefers none
	ServiceRoute []string  `json:"service_route,omitempty"`
	FlowID       string    `json:"flow,omitempty"` // connection of Owner; "" while the browser has none
	Owner        string    `json:"owner"`          // instance that it registered over last
	Expires      time.Time `json:"expires"`

	Sub   *Subscription `json:"sub,omitempty"`   // to its registration state; nil: none
	Proof *Proof        `json:"proof,omitempty"` // of a web-identity token; nil: the core has authenticated the browser
}

// Registrar holds the bindings. All methods are safe for concurrent use.
type Registrar struct {
	cfg     Config
	deps    Deps
	table   store.Table[Binding]
	mirror  *store.Mirror[Binding]
	metrics *metrics
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup // sweeper and writers

	mu      sync.Mutex                     // guards below
	byID    map[string]*Binding            // all of the pool; replaced, never changed in place
	byFlow  map[string][]string            // binding ids by flow of this instance
	byAOR   map[string]map[string]struct{} // binding ids of the pool
	mine    int                            // bindings that this instance owns
	writes  map[string]*write              // by binding id
	unsaved map[string]*Binding            // writes that failed, to be repeated; nil: a deletion
	rates   map[string]*bucket             // by source address
	closed  bool
}

// New returns a registrar that knows the bindings in the store, and follows them. The caller closes it. Errors: those of the store.
func New(ctx context.Context, cfg Config, deps Deps) (*Registrar, error) {
	r := &Registrar{
		cfg: cfg.withDefaults(), deps: deps, table: store.NewTable[Binding](deps.Store, "reg"), metrics: newMetrics(deps.Metrics),
		byID: map[string]*Binding{}, byFlow: map[string][]string{}, byAOR: map[string]map[string]struct{}{},
		writes: map[string]*write{}, unsaved: map[string]*Binding{}, rates: map[string]*bucket{},
	}
	var err error
	if r.deps.Auth == nil {
		if r.deps.Auth, err = auth.New(auth.Config{Mode: auth.ModeDigest}, auth.Deps{Metrics: deps.Metrics, Log: deps.Log}); err != nil {
			return nil, err
		}
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if r.mirror, err = store.NewMirror(ctx, r.table, r.onChange); err != nil {
		r.cancel()
		return nil, err
	}
	r.wg.Add(1)
	go r.sweep()
	return r, nil
}

// Close stops the sweeper and the mirror and waits. Bindings stay in the store until they expire.
func (r *Registrar) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
	r.mirror.Close()
}

// OfFlow returns the bindings made over the connection.
func (r *Registrar) OfFlow(flow string) []Binding {
	if flow == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Binding
	for _, id := range r.byFlow[flow] {
		if b := r.byID[id]; b != nil && b.Expires.After(time.Now()) {
			out = append(out, *b)
		}
	}
	return out
}

// ByID returns the binding, whichever instance owns it; false when it has ended.
func (r *Registrar) ByID(id string) (Binding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.byID[id]
	if b == nil || !b.Expires.After(time.Now()) {
		return Binding{}, false
	}
	return *b, true
}

// ByPathToken returns the binding that the user part of our Path names. Errors: flowtoken.ErrForged, ErrNoBinding.
func (r *Registrar) ByPathToken(token string) (Binding, error) {
	id, err := r.deps.Sealer.Open(flowtoken.KindFlow, token)
	if err != nil {
		return Binding{}, err
	}
	b, ok := r.ByID(string(id))
	if !ok {
		return Binding{}, ErrNoBinding
	}
	return b, nil
}

// All returns the bindings of the pool in no order.
func (r *Registrar) All() []Binding {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Binding, 0, len(r.byID))
	for _, b := range r.byID {
		out = append(out, *b)
	}
	return out
}

// OnFlowClosed marks the bindings of a connection that is gone (REG-28): they live on, and requests for them get 430.
func (r *Registrar) OnFlowClosed(flow siptransport.Flow) {
	r.mu.Lock()
	ids := r.byFlow[flow.ID]
	delete(r.byFlow, flow.ID)
	for _, id := range ids {
		if b := r.byID[id]; b != nil && b.FlowID == flow.ID {
			c := *b
			c.FlowID = ""
			r.setLocked(&c)
			r.writeLocked(id, &c)
		}
	}
	r.mu.Unlock()
	for _, id := range ids {
		call(r.deps.OnFlowLost, id)
	}
}

func call(f func(string), id string) {
	if f != nil {
		f(id)
	}
}

// enter makes a binding that the core has confirmed this instance's; an older flow of it is forgotten. It reports whether the binding had
// another flow or none before, and false when a bound is reached.
func (r *Registrar) enter(b Binding) (back, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byID[b.ID]
	if (old == nil || old.Owner != r.cfg.Instance) && r.mine >= r.cfg.MaxTotal || old == nil && len(r.byAOR[b.AOR]) >= r.cfg.MaxPerAOR {
		return false, false
	}
	back = old != nil && (old.FlowID != b.FlowID || old.Owner != b.Owner)
	r.setLocked(&b)
	r.writeLocked(b.ID, &b)
	return back, true
}

// setLocked puts a binding into the indices in place of the one of its id. Callers hold mu and give b away.
func (r *Registrar) setLocked(b *Binding) {
	r.dropLocked(b.ID)
	r.byID[b.ID] = b
	if r.byAOR[b.AOR] == nil {
		r.byAOR[b.AOR] = map[string]struct{}{}
	}
	r.byAOR[b.AOR][b.ID] = struct{}{}
	if b.Owner == r.cfg.Instance {
		r.mine++
		if b.FlowID != "" {
			r.byFlow[b.FlowID] = append(r.byFlow[b.FlowID], b.ID)
		}
	}
	r.metrics.bindings.Set(float64(r.mine))
}

// dropLocked takes a binding out of the indices and returns it. Callers hold mu.
func (r *Registrar) dropLocked(id string) *Binding {
	b := r.byID[id]
	if b == nil {
		return nil
	}
	delete(r.byID, id)
	if delete(r.byAOR[b.AOR], id); len(r.byAOR[b.AOR]) == 0 {
		delete(r.byAOR, b.AOR)
	}
	if b.Owner == r.cfg.Instance {
		r.mine--
		rest := slices.DeleteFunc(slices.Clone(r.byFlow[b.FlowID]), func(s string) bool { return s == id })
		if r.byFlow[b.FlowID] = rest; len(rest) == 0 {
			delete(r.byFlow, b.FlowID)
		}
	}
	r.metrics.bindings.Set(float64(r.mine))
	return b
}

// remove ends a binding that has expired or was de-registered, and tells of it; nil: there was none.
func (r *Registrar) remove(id string) *Binding {
	r.mu.Lock()
	b := r.dropLocked(id)
	if b != nil {
		r.writeLocked(id, nil)
	}
	r.mu.Unlock()
	if b != nil {
		call(r.deps.OnGone, id)
	}
	return b
}

// sweep ends bindings whose time is over, once a second, repeats failed writes, and forgets idle rate buckets.
func (r *Registrar) sweep() {
	defer r.wg.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case now := <-tick.C:
			for _, id := range r.expired(now) {
				r.metrics.results.WithLabelValues("expired").Inc()
				// What the core granted is in whole seconds and ends up to one before the token.
				if b := r.remove(id); b != nil && b.Proof != nil && b.Proof.Expires.Sub(now) <= time.Second {
					r.tokenEnded(*b)
				}
			}
			r.writeAgain()
			r.refreshSubscriptions(now)
		}
	}
}

// expired returns the own bindings whose time is over. Those of others just go: their record has a time to live.
func (r *Registrar) expired(now time.Time) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, b := range r.byID {
		switch {
		case b.Expires.After(now):
		case b.Owner == r.cfg.Instance:
			ids = append(ids, id)
		default:
			r.dropLocked(id)
		}
	}
	for ip, b := range r.rates {
		if b.full(now, r.cfg) {
			delete(r.rates, ip)
		}
	}
	return ids
}
