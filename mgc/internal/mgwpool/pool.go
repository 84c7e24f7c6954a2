// Package mgwpool knows the MGWs of the pool and chooses one for each new context. Floor 3 of mgc.
//
// MGWs register and report load at any instance; the records lie in the store and live three heartbeats, so every
// instance sees every MGW and the same death. The choice itself (pick.go) and the record rules (node.go) are pure;
// Pool is the shell around them: it mirrors the records, counts what it has placed since a node's last report, and owns
// one goroutine that watches over silence.
package mgwpool

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Config of a Pool.
type Config struct {
	Instance  string        // this controller instance
	Heartbeat time.Duration // interval asked of MGWs; default 5 s, at least 1 s
	// OnLost is called once per instance for each boot of an MGW whose contexts are gone, from a goroutine of the pool;
	// it must not block for long. May be nil.
	OnLost func(Lost)
	// Rand returns a number from 0 to n-1; default math/rand. For tests.
	Rand func(n int) int
}

// ProfileVersion is the highest version of the Iq profile that we have. Version 2: a ServiceChange may be about an interface.
const ProfileVersion = 2

// beatsToLive is how many heartbeat intervals a record outlives its last report; silentBeats makes a node suspect.
const (
	beatsToLive = 3
	silentBeats = 2
)

// Pool is this instance's view of the MGWs. All methods are safe for concurrent use.
type Pool struct {
	cfg    Config
	table  store.Table[Node]
	mirror *store.Mirror[Node]
	stop   context.CancelFunc
	wg     sync.WaitGroup // watchSilence

	mu    sync.Mutex // guards nodes
	nodes map[string]*local
}

// local is what this instance knows of a node beyond its record.
type local struct {
	seen         time.Time // last report, by record or by own ear
	suspectUntil time.Time // set by Unreachable
	pending      uint32    // picks since the last report
	heard        Node      // last report taken by this instance itself; ID "" when none
	heardAt      time.Time
	limbo        bool   // the record is gone though this instance still hears the node
	why          string // reason of the deletion under way, for Lost
}

// New starts the pool on the store and waits until the present records are known or ctx ends. Errors: those of the store.
func New(ctx context.Context, cfg Config, s store.Store) (*Pool, error) {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 5 * time.Second
	}
	cfg.Heartbeat = max(cfg.Heartbeat, time.Second)
	if cfg.Rand == nil {
		cfg.Rand = rand.IntN
	}
	p := &Pool{cfg: cfg, table: store.NewTable[Node](s, "mgw"), nodes: map[string]*local{}}
	mirror, err := store.NewMirror(ctx, p.table, p.onChange)
	if err != nil {
		return nil, err
	}
	p.mirror = mirror
	wctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.wg.Add(1)
	go p.watchSilence(wctx)
	return p, nil
}

// Close ends the pool's goroutines and waits for them. The records stay for the other instances.
func (p *Pool) Close() {
	p.stop()
	p.wg.Wait()
	p.mirror.Close()
}

func (p *Pool) ttl() time.Duration { return beatsToLive * p.cfg.Heartbeat }

func (p *Pool) localOf(id string) *local {
	l := p.nodes[id]
	if l == nil {
		l = &local{}
		p.nodes[id] = l
	}
	return l
}

// onChange follows the records: called by the mirror, without lock.
func (p *Pool) onChange(c store.Change[Node]) {
	var lost *Lost
	p.mu.Lock()
	switch {
	case c.New != nil:
		l := p.localOf(c.New.ID)
		l.limbo = false
		if c.Old == nil || c.Old.Boot != c.New.Boot || c.Old.Beats != c.New.Beats {
			l.seen, l.pending = time.Now(), 0
		}
		if c.Old != nil && c.Old.Boot != c.New.Boot {
			lost = &Lost{MGW: c.Old.ID, Boot: c.Old.Boot, Reason: "restarted"}
		} else if realms := failed(c.Old, c.New); len(realms) > 0 {
			lost = &Lost{MGW: c.New.ID, Boot: c.New.Boot, Realms: realms, Reason: "realm not available"}
		}
	case p.stillHeard(c.Old):
		p.nodes[c.Old.ID].limbo = true // the next heartbeat writes the record anew
	default:
		lost = &Lost{MGW: c.Old.ID, Boot: c.Old.Boot, Reason: "expired"}
		if l := p.nodes[c.Old.ID]; l != nil && l.why != "" {
			lost.Reason = l.why
		}
		delete(p.nodes, c.Old.ID)
	}
	p.mu.Unlock()
	p.tell(lost)
}

// stillHeard reports whether this instance itself has heard the node within its lifetime although the record is gone:
// the store was away, not the node. Callers hold mu.
func (p *Pool) stillHeard(n *Node) bool {
	l := p.nodes[n.ID]
	return l != nil && l.why == "" && l.heard.Boot == n.Boot && time.Since(l.heardAt) < p.ttl()
}

func (p *Pool) tell(l *Lost) {
	if l != nil && p.cfg.OnLost != nil {
		p.cfg.OnLost(*l)
	}
}

// watchSilence gives up nodes that stay in limbo. Owned by the pool.
func (p *Pool) watchSilence(ctx context.Context) {
	defer p.wg.Done()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var lost []*Lost
		p.mu.Lock()
		for id, l := range p.nodes {
			if l.limbo && time.Since(l.heardAt) >= p.ttl() {
				lost = append(lost, &Lost{MGW: id, Boot: l.heard.Boot, Reason: "expired"})
				delete(p.nodes, id)
			}
		}
		p.mu.Unlock()
		for _, l := range lost {
			p.tell(l)
		}
	}
}

// Pick chooses an MGW for a new context and counts it against the node's room until its next report.
// Errors: ErrNoGateway.
func (p *Pool) Pick(req Request) (Node, error) {
	cands := p.candidates()
	n, err := choose(cands, req, p.cfg.Rand)
	if err != nil {
		return Node{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.localOf(n.ID).pending++
	return n, nil
}

// Codecs returns those of the encoding names that every node which may be picked can transcode: a codec is used once the whole pool has it.
// A pool without nodes has them all.
func (p *Pool) Codecs(names []string) []string {
	out := slices.Clone(names)
	for _, c := range p.candidates() {
		if c.state == InService || c.state == Suspect {
			out = slices.DeleteFunc(out, func(n string) bool { return !containsAll(c.Codecs, []string{n}) })
		}
	}
	return out
}

// candidates is the instance's view of all nodes, ordered by id.
func (p *Pool) candidates() []candidate {
	all := p.mirror.All()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]candidate, 0, len(all))
	known := map[string]bool{}
	for _, e := range all {
		known[e.Value.ID] = true
		out = append(out, p.viewLocked(e.Value))
	}
	for id, l := range p.nodes { // the record is gone, the node is not
		if l.limbo && !known[id] {
			out = append(out, p.viewLocked(l.heard))
		}
	}
	slices.SortFunc(out, func(a, b candidate) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (p *Pool) viewLocked(n Node) candidate {
	c := candidate{Node: n, state: n.State}
	l := p.localOf(n.ID)
	c.pending = l.pending
	now := time.Now()
	if c.state == InService && (now.Sub(l.seen) > silentBeats*p.cfg.Heartbeat || now.Before(l.suspectUntil)) {
		c.state = Suspect
	}
	return c
}

// Node returns the MGW's record, its State as this instance sees it, and whether there is one.
func (p *Pool) Node(id string) (Node, bool) {
	for _, c := range p.candidates() {
		if c.ID == id {
			c.State = c.state
			return c.Node, true
		}
	}
	return Node{}, false
}

// Nodes returns all MGWs ordered by id, their State as this instance sees it.
func (p *Pool) Nodes() []Node {
	var out []Node
	for _, c := range p.candidates() {
		c.State = c.state
		out = append(out, c.Node)
	}
	return out
}

// Unreachable says that a transaction with the MGW got no answer: it is suspect for one heartbeat interval.
func (p *Pool) Unreachable(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.nodes[id]; l != nil {
		l.suspectUntil = time.Now().Add(p.cfg.Heartbeat)
	}
}

// ServiceChange takes a registration or a change of service state of an MGW's root termination (H.248.1 §7.2.8).
// Refusals travel in the reply; the error is for the store's failure only (ErrUnavailable): answer UNAVAILABLE.
func (p *Pool) ServiceChange(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ServiceChangeReply, error) {
	reply := &iqv1.ServiceChangeReply{ProfileVersion: ProfileVersion, HeartbeatInterval: durationpb.New(p.cfg.Heartbeat), MgcInstance: p.cfg.Instance}
	if caps := r.GetCapabilities(); caps != nil {
		reply.ProfileVersion = max(1, min(caps.GetProfileVersion(), ProfileVersion))
	}
	var err error
	if r.GetInterfaceId() != "" || len(r.GetRealms()) > 0 {
		reply.Error, err = p.interfaceChange(ctx, r)
		return reply, err
	}
	switch r.GetMethod() {
	case iqv1.ServiceChangeRequest_METHOD_RESTART, iqv1.ServiceChangeRequest_METHOD_DISCONNECTED:
		reply.Error, err = p.register(ctx, r)
	case iqv1.ServiceChangeRequest_METHOD_GRACEFUL:
		reply.Error, err = p.drain(ctx, r)
	case iqv1.ServiceChangeRequest_METHOD_FORCED:
		reply.Error, err = p.forced(ctx, r)
	default:
		reply.Error = descriptor(gwerr.SyntaxErrorInActionID, "method %s", r.GetMethod())
	}
	return reply, err
}

// register enters the MGW. The record of an older boot is replaced, which tells every instance that its contexts are
// gone; with the same boot the node comes back into service with its contexts.
func (p *Pool) register(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	if old, _, ok := p.mirror.Get(store.Key(orDash(r.GetMgwId()))); ok && old.Boot == r.GetBootId() && r.GetCapabilities() == nil {
		_, e, err := p.change(ctx, r, func(n *Node) { n.State, n.DrainBy = InService, time.Time{} })
		return e, err // cancel of a drain, or the link is back
	}
	if r.GetCapabilities() == nil && checkIdentity(r.GetMgwId(), r.GetBootId()) == nil {
		return notRegistered(r.GetMgwId()), nil
	}
	n, e := fromRequest(r, time.Now().UTC())
	if e != nil {
		return e, nil
	}
	n.Via, n.Beats = p.cfg.Instance, 1
	return nil, p.write(ctx, n)
}

// write puts a whole record, over whatever is there.
func (p *Pool) write(ctx context.Context, n Node) error {
	id := store.Key(n.ID)
	var rev uint64
	var err error
	for range 4 {
		var e store.Entry[Node]
		e, err = p.table.Get(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			rev, err = p.table.Create(ctx, id, n, p.ttl())
		case err == nil:
			if e.Value.Boot == n.Boot {
				n.Beats = e.Value.Beats + 1
			}
			rev, err = p.table.Update(ctx, id, n, e.Revision, p.ttl())
		}
		if !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if err != nil {
		return err
	}
	p.hear(n)
	p.mirror.Put(id, n, rev)
	return nil
}

// hear notes that this instance itself got a report.
func (p *Pool) hear(n Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.localOf(n.ID)
	now := time.Now()
	l.heard, l.heardAt, l.seen, l.pending, l.suspectUntil, l.why = n, now, now, 0, time.Time{}, ""
}

// change applies f to the record when boot matches; the descriptor tells that the node is not known.
func (p *Pool) change(ctx context.Context, r interface{ GetMgwId() string }, f func(*Node)) (Node, *iqv1.ErrorDescriptor, error) {
	boot := ""
	if b, ok := r.(interface{ GetBootId() string }); ok {
		boot = b.GetBootId()
	}
	if e := checkIdentity(r.GetMgwId(), boot); e != nil {
		return Node{}, e, nil
	}
	id := store.Key(r.GetMgwId())
	n, rev, ok := p.mirror.Get(id)
	for range 4 {
		if !ok {
			e, err := p.table.Get(ctx, id)
			if errors.Is(err, store.ErrNotFound) {
				return Node{}, notRegistered(r.GetMgwId()), nil
			}
			if err != nil {
				return Node{}, nil, err
			}
			n, rev = e.Value, e.Revision
		}
		if n.Boot != boot {
			return Node{}, notRegistered(r.GetMgwId()), nil
		}
		f(&n)
		n.Beats++
		n.Via = p.cfg.Instance
		newRev, err := p.table.Update(ctx, id, n, rev, p.ttl())
		if errors.Is(err, store.ErrConflict) {
			ok = false // what the mirror knew is old: read
			continue
		}
		if err != nil {
			return n, nil, err
		}
		p.hear(n)
		p.mirror.Put(id, n, newRev)
		return n, nil, nil
	}
	return Node{}, nil, store.ErrUnavailable
}

func notRegistered(id string) *iqv1.ErrorDescriptor {
	return descriptor(gwerr.NotReady, "MGW %s is not registered with this boot_id: send RESTART", id)
}

func (p *Pool) drain(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	var by time.Time
	if d := r.GetDelay().AsDuration(); d > 0 {
		by = time.Now().Add(d).UTC()
	}
	_, e, err := p.change(ctx, r, func(n *Node) { n.State, n.DrainBy = Draining, by })
	return e, err
}

// interfaceChange takes that the terminations on one network interface are out of service, or serve again (TS 23.334 §6.1.15).
func (p *Pool) interfaceChange(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	m := r.GetMethod()
	if m != iqv1.ServiceChangeRequest_METHOD_FORCED && m != iqv1.ServiceChangeRequest_METHOD_RESTART {
		return descriptor(gwerr.SyntaxErrorInActionID, "method %s of interface %.80q", m, r.GetInterfaceId()), nil
	}
	if len(r.GetRealms()) == 0 || len(r.GetRealms()) > 64 {
		return descriptor(gwerr.UnsupportedValue, "%d realms of interface %.80q, 1 to 64 are needed", len(r.GetRealms()), r.GetInterfaceId()), nil
	}
	_, e, err := p.change(ctx, r, func(n *Node) {
		down := slices.DeleteFunc(slices.Clone(n.Down), func(name string) bool { return slices.Contains(r.GetRealms(), name) })
		if m == iqv1.ServiceChangeRequest_METHOD_FORCED {
			down = append(down, r.GetRealms()...)
		}
		n.setDown(down)
	})
	return e, err
}

// forced takes the node out at once; all its contexts count as lost.
func (p *Pool) forced(ctx context.Context, r *iqv1.ServiceChangeRequest) (*iqv1.ErrorDescriptor, error) {
	n, e, err := p.change(ctx, r, func(n *Node) { n.State = Draining })
	if e != nil || err != nil {
		return e, err
	}
	p.mu.Lock()
	l := p.localOf(n.ID)
	l.why, l.heard = "forced out of service", Node{}
	p.mu.Unlock()
	id := store.Key(n.ID)
	rev, err := p.table.Delete(ctx, id, 0)
	if err == nil {
		p.mirror.Drop(id, rev)
	}
	return nil, err
}

// Heartbeat takes an MGW's report of load. When the store is away the report counts for this instance alone.
func (p *Pool) Heartbeat(ctx context.Context, r *iqv1.HeartbeatRequest) *iqv1.HeartbeatReply {
	reply := &iqv1.HeartbeatReply{Next: durationpb.New(p.cfg.Heartbeat), ProfileVersion: ProfileVersion}
	report := func(n *Node) {
		n.Load = Load{Contexts: r.GetContexts(), CPUPermille: r.GetCpuPermille(), PPS: r.GetPacketsPerSecond()}
		n.setDown(r.GetUnavailableRealms())
		switch {
		case r.GetDraining() && n.State != Draining:
			n.State = Draining
		case !r.GetDraining() && n.State == Draining:
			n.State, n.DrainBy = InService, time.Time{}
		}
	}
	n, e, err := p.change(ctx, r, report)
	switch {
	case err != nil && n.ID != "":
		p.hear(n)
	case err != nil: // neither the store nor the mirror has the record: what this instance itself knows goes on
		p.hearAgain(r, report)
	case e != nil && e.GetCode() == uint32(gwerr.NotReady):
		reply.ReRegister = !p.revive(ctx, r, report)
	case e != nil:
		reply.ReRegister = true
	}
	return reply
}

// hearAgain notes the report of a node that this instance has heard before.
func (p *Pool) hearAgain(r *iqv1.HeartbeatRequest, report func(*Node)) {
	p.mu.Lock()
	l := p.nodes[r.GetMgwId()]
	known := l != nil && l.heard.Boot == r.GetBootId()
	var n Node
	if known {
		n = l.heard
	}
	p.mu.Unlock()
	if known {
		report(&n)
		p.hear(n)
	}
}

// revive writes the record anew for a node that this instance never stopped hearing.
func (p *Pool) revive(ctx context.Context, r *iqv1.HeartbeatRequest, report func(*Node)) bool {
	p.mu.Lock()
	l := p.nodes[r.GetMgwId()]
	ok := l != nil && l.heard.Boot == r.GetBootId() && l.limbo
	var n Node
	if ok {
		n = l.heard
	}
	p.mu.Unlock()
	if !ok {
		return false
	}
	report(&n)
	n.Beats++
	return p.write(ctx, n) == nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
