package contexts

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Notify delivers one request to the pool and returns its verdict. An error means that nobody answered. It is called from
// goroutines of the Manager, one at a time per context, and must return soon after ctx ends.
type Notify func(ctx context.Context, req *iqv1.NotifyRequest) (iqv1.NotifyReply_Verdict, error)

// Config is what a Manager needs; New copies it. Zero durations take the default named.
type Config struct {
	MGWID  string
	BootID string                     // repeated in Notify
	Boot   string                     // short form of BootID for context ids
	Realms map[string]connmodel.Realm // by name; not to be mutated
	Notify Notify
	// Unavailable tells why nothing can be placed in a realm now; "": something can. Nil: realms are always available.
	Unavailable func(realm string) string

	MaxContexts int // 0: no limit; contexts of priority 8 and above may exceed it by a fortieth, emergency calls as long as there are ports

	OrphanTTL     time.Duration // default of orphan_ttl: 10 min (H.248.36)
	HangingGrace  time.Duration // between UNKNOWN_CONTEXT and subtraction: 30 s (covers a set-up race)
	HeadlessLimit time.Duration // longest life without control while the pool is away: 4 h
	InactiveAfter time.Duration // default detection time of media inactivity: 30 s
	ConsentAfter  time.Duration // default detection time of lost consent: 30 s
	RetryFirst    time.Duration // first repetition of a Notify: 500 ms, doubled up to
	RetryMax      time.Duration // 30 s
	NotifyTimeout time.Duration // for one delivery: 5 s

	Tones         signals.Plan                    // nil: the European ones
	Announcements func(name string) *signals.Clip // nil: none

	Logger  *zap.Logger // nil: none
	Metrics *Metrics    // nil: none
}

func (c Config) withDefaults() Config {
	c.OrphanTTL = cmp.Or(c.OrphanTTL, 10*time.Minute)
	c.HangingGrace = cmp.Or(c.HangingGrace, 30*time.Second)
	c.HeadlessLimit = cmp.Or(c.HeadlessLimit, 4*time.Hour)
	c.RetryFirst = cmp.Or(c.RetryFirst, 500*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, 30*time.Second)
	c.NotifyTimeout = cmp.Or(c.NotifyTimeout, 5*time.Second)
	if c.Tones == nil {
		c.Tones, _ = signals.PlanOf(signals.Plans[0])
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Unavailable == nil {
		c.Unavailable = func(string) string { return "" }
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Manager owns the contexts of an MGW. Its methods are safe from any goroutine.
type Manager struct {
	cfg   Config
	media Media
	crew  crew               // strands and deliveries
	ctx   context.Context    // ends deliveries
	stop  context.CancelFunc // of ctx

	mu       sync.Mutex // guards what follows
	contexts map[gwid.ContextID]*entry
	terms    map[gwid.TerminationID]*entry
	number   uint64 // of the last context
	draining bool
	closed   bool
	changed  chan struct{} // closed and replaced when a context ends
}

// New makes a Manager without contexts over media.
func New(cfg Config, media Media) *Manager {
	ctx, stop := context.WithCancel(context.Background())
	return &Manager{
		cfg: cfg.withDefaults(), media: media, ctx: ctx, stop: stop, changed: make(chan struct{}),
		contexts: map[gwid.ContextID]*entry{}, terms: map[gwid.TerminationID]*entry{},
	}
}

// Close subtracts all contexts, drops their undelivered events and waits for all goroutines.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.ReleaseAll("gateway stops")
	m.stop()
	m.crew.close()
}

// Apply performs one action (H.248.1 §8) and returns its reply, never nil. It blocks until the action is done.
func (m *Manager) Apply(act *iqv1.Action) *iqv1.ActionReply {
	switch ref := act.GetContext().GetRef().(type) {
	case *iqv1.ContextRef_Choose:
		return m.create(act)
	case *iqv1.ContextRef_Id:
		c := m.find(gwid.ContextID(ref.Id))
		if c == nil {
			return unknownContext(ref.Id)
		}
		return c.do(act)
	case *iqv1.ContextRef_All:
		return m.applyToAll(act)
	case *iqv1.ContextRef_Null:
		return refuse(gwerr.NotImplemented, "commands on the NULL context")
	}
	return refuse(gwerr.SyntaxErrorInActionID, "context reference is unset")
}

func refuse(code gwerr.Code, format string, args ...any) *iqv1.ActionReply {
	return &iqv1.ActionReply{Error: connmodel.Errorf(code, format, args...).Descriptor()}
}

func unknownContext(id string) *iqv1.ActionReply {
	return refuse(gwerr.UnknownContext, "unknown context %q", connmodel.Clip(id))
}

// create performs an action on a new context, which stays if it has a termination afterwards.
func (m *Manager) create(act *iqv1.Action) *iqv1.ActionReply {
	if len(act.GetCommands()) == 0 {
		return refuse(gwerr.SyntaxErrorInActionID, "a new context without a command")
	}
	c, err := m.admit(act.GetAttributes().GetEmergency(), act.GetAttributes().GetPriority())
	if err != nil {
		return &iqv1.ActionReply{Error: err.Descriptor()}
	}
	return c.do(act)
}

// highPriority is the least priority of contexts that have a reserve.
const highPriority = 8

// admit registers an empty context unless admission control is against it (TS 23.334 §5.14), which it never is to an emergency call: such a call fails when
// there are no ports, no sooner.
func (m *Manager) admit(emergency bool, priority uint32) (*entry, *connmodel.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	limit := m.cfg.MaxContexts
	if priority >= highPriority {
		limit += limit / 40
	}
	switch {
	case m.closed:
		return nil, connmodel.Errorf(gwerr.ServiceUnavailable, "gateway stops")
	case m.draining && !emergency:
		return nil, connmodel.Errorf(gwerr.OutOfService, "gateway is draining")
	case m.cfg.MaxContexts > 0 && !emergency && len(m.contexts) >= limit:
		return nil, connmodel.Errorf(gwerr.InsufficientResources, "%d contexts, the configured limit", len(m.contexts))
	}
	m.number++
	id := gwid.ContextID(fmt.Sprintf("%s.%s.%d", m.cfg.MGWID, m.cfg.Boot, m.number))
	c := newEntry(m, connmodel.New(id, m.number))
	m.contexts[id] = c
	return c, nil
}

// applyToAll subtracts everything; nothing else is legal with ALL.
func (m *Manager) applyToAll(act *iqv1.Action) *iqv1.ActionReply {
	var sub *iqv1.Subtract
	if len(act.GetCommands()) == 1 && act.GetAttributes() == nil && act.GetExpectRevision() == 0 {
		sub = act.GetCommands()[0].GetSubtract()
	}
	if _, all := sub.GetTermination().GetRef().(*iqv1.TerminationRef_All); !all {
		return refuse(gwerr.SyntaxErrorInAction, "context ALL is valid with a single Subtract of ALL terminations only")
	}
	reply := &iqv1.CommandReply{}
	for _, c := range m.all() {
		rep := c.do(&iqv1.Action{Commands: act.GetCommands()})
		for _, cr := range rep.GetCommands() {
			reply.Statistics = append(reply.Statistics, cr.GetStatistics()...)
		}
	}
	return &iqv1.ActionReply{Commands: []*iqv1.CommandReply{reply}}
}

// ReleaseAll subtracts every context, all at once, and waits for them (forced out of service, H.248.1 §7.2.8).
func (m *Manager) ReleaseAll(reason string) {
	var done sync.WaitGroup
	for _, c := range m.all() {
		done.Add(1)
		if !c.strand.post(2*maxJobs, func() { defer done.Done(); c.release(reason) }) {
			done.Done() // closed already
		}
	}
	done.Wait()
}

// SetDraining starts or ends refusing new contexts with 521; emergency calls are exempt (TS 23.334 §5.14).
func (m *Manager) SetDraining(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.draining = on
}

// Count is the number of contexts.
func (m *Manager) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.contexts)
}

// Terminations is the number of terminations.
func (m *Manager) Terminations() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.terms)
}

// WaitEmpty waits until no context is left, or ctx ends; then it returns the error of ctx.
func (m *Manager) WaitEmpty(ctx context.Context) error {
	for {
		m.mu.Lock()
		n, changed := len(m.contexts), m.changed
		m.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Event takes an observation of the packet path. It never blocks; called from the packet path's goroutines, in order per
// termination.
func (m *Manager) Event(ev flow.Event) {
	id := gwid.TerminationID(ev.Endpoint.ID())
	m.mu.Lock()
	c := m.terms[id]
	m.mu.Unlock()
	if c == nil {
		return // subtracted meanwhile
	}
	if !c.strand.post(maxEventJobs, func() { c.onMedia(id, ev) }) {
		m.cfg.Metrics.eventsDropped.Inc()
	}
}

func (m *Manager) find(id gwid.ContextID) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.contexts[id]
}

// all is every context in order of creation.
func (m *Manager) all() []*entry {
	m.mu.Lock()
	out := make([]*entry, 0, len(m.contexts))
	for _, c := range m.contexts {
		out = append(out, c)
	}
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b *entry) int { return cmp.Compare(a.number, b.number) })
	return out
}

func (m *Manager) forget(id gwid.ContextID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.contexts, id)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Manager) index(id gwid.TerminationID, c *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.terms[id] = c
}

func (m *Manager) unindex(id gwid.TerminationID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.terms, id)
}

func (m *Manager) exists(id gwid.TerminationID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.terms[id] != nil
}
