// Package registrar relays REGISTER between browsers and the core and keeps the bindings that come of it
// (TS 24.229 §5.2.2, RFC 3327, RFC 3608, RFC 5626). Floor 3 of mgc. Owner: Registrar owns one goroutine that sweeps
// expired bindings; requests are worked on by the goroutines that bring them, under one lock.
//
// Digest passes through unread: the core authenticates, the browser answers, and a binding exists only once the core has said 200.
package registrar

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
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

	OnFlowLost func(binding string)         // its WebSocket is gone, the binding lives on
	OnFlowBack func(binding string)         // it registered again over another one
	OnGone     func(binding string)         // de-registered or expired
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
	ServiceRoute []string  `json:"service_route,omitempty"`
	FlowID       string    `json:"flow,omitempty"` // "" while the browser has no connection to this instance
	Owner        string    `json:"owner"`          // instance that holds the connection
	Expires      time.Time `json:"expires"`
}

// Registrar holds the bindings. All methods are safe for concurrent use.
type Registrar struct {
	cfg     Config
	deps    Deps
	table   store.Table[Binding]
	metrics *metrics
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup // sweeper and writers

	mu     sync.Mutex          // guards below
	byID   map[string]*Binding // replaced, never changed in place
	byFlow map[string][]string // binding ids by flow
	rates  map[string]*bucket  // by source address
	closed bool
}

// New returns a registrar without bindings. The caller closes it.
func New(cfg Config, deps Deps) *Registrar {
	r := &Registrar{
		cfg: cfg.withDefaults(), deps: deps, table: store.NewTable[Binding](deps.Store, "reg"), metrics: newMetrics(deps.Metrics),
		byID: map[string]*Binding{}, byFlow: map[string][]string{}, rates: map[string]*bucket{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.wg.Add(1)
	go r.sweep()
	return r
}

// Close stops the sweeper and waits. Bindings stay in the store until they expire.
func (r *Registrar) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
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

// ByID returns the binding, false when it has ended.
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

// All returns the bindings in no order.
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
			r.byID[id] = &c
		}
	}
	r.metrics.bindings.Set(float64(len(r.byID)))
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

// enter stores a binding under its id and flow; an older flow of it is forgotten. It reports whether the binding had lost its
// flow or changed it, and false when a bound is reached.
func (r *Registrar) enter(b Binding) (back, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byID[b.ID]
	if old == nil && (len(r.byID) >= r.cfg.MaxTotal || r.countLocked(b.AOR) >= r.cfg.MaxPerAOR) {
		return false, false
	}
	if old != nil && old.FlowID != b.FlowID {
		back = true
		r.unlinkLocked(old.FlowID, b.ID)
	}
	r.byID[b.ID] = &b
	if !slices.Contains(r.byFlow[b.FlowID], b.ID) {
		r.byFlow[b.FlowID] = append(r.byFlow[b.FlowID], b.ID)
	}
	r.metrics.bindings.Set(float64(len(r.byID)))
	return back, true
}

func (r *Registrar) countLocked(aor string) (n int) {
	for _, b := range r.byID {
		if b.AOR == aor {
			n++
		}
	}
	return n
}

func (r *Registrar) unlinkLocked(flow, id string) {
	rest := slices.DeleteFunc(slices.Clone(r.byFlow[flow]), func(s string) bool { return s == id })
	if len(rest) == 0 {
		delete(r.byFlow, flow)
		return
	}
	r.byFlow[flow] = rest
}

// remove ends a binding and tells of it.
func (r *Registrar) remove(id string) {
	r.mu.Lock()
	b := r.byID[id]
	if b != nil {
		delete(r.byID, id)
		r.unlinkLocked(b.FlowID, id)
	}
	r.metrics.bindings.Set(float64(len(r.byID)))
	r.mu.Unlock()
	if b == nil {
		return
	}
	r.write(func(ctx context.Context) error {
		_, err := r.table.Delete(ctx, store.Key(id), 0)
		return err
	})
	call(r.deps.OnGone, id)
}

// save writes a binding through to the store; its record ends with the registration.
func (r *Registrar) save(b Binding) {
	r.write(func(ctx context.Context) error {
		id, ttl := store.Key(b.ID), time.Until(b.Expires)+time.Second
		_, err := r.table.Create(ctx, id, b, ttl)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		e, err := r.table.Get(ctx, id)
		if err != nil {
			return err
		}
		_, err = r.table.Update(ctx, id, b, e.Revision, ttl)
		return err
	})
}

// write runs a store operation beside the caller, who must not wait for the network.
func (r *Registrar) write(f func(context.Context) error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.wg.Add(1)
	r.mu.Unlock()
	go func() {
		defer r.wg.Done()
		ctx, cancel := context.WithTimeout(r.ctx, 2*time.Second)
		defer cancel()
		if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.metrics.storeErrors.Inc()
			r.deps.Log.Warn("binding not stored", zap.Error(err))
		}
	}()
}

// sweep ends bindings whose time is over, once a second, and forgets idle rate buckets.
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
				r.remove(id)
			}
		}
	}
}

func (r *Registrar) expired(now time.Time) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, b := range r.byID {
		if !b.Expires.After(now) {
			ids = append(ids, id)
		}
	}
	for ip, b := range r.rates {
		if b.full(now, r.cfg) {
			delete(r.rates, ip)
		}
	}
	return ids
}
