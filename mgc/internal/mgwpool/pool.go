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
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
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
// A pool without nodes has them all; when all nodes drain, they count, for the emergency calls that they still take.
func (p *Pool) Codecs(names []string) []string {
	return p.common(names, func(n *Node) []string { return n.Codecs })
}

// Features returns those of the capabilities that every node which may be picked has, likewise.
func (p *Pool) Features(names []string) []string {
	return p.common(names, func(n *Node) []string { return n.Features })
}

func (p *Pool) common(names []string, of func(*Node) []string) []string {
	out := slices.Clone(names)
	nodes := p.candidates()
	drained := !slices.ContainsFunc(nodes, func(c candidate) bool { return c.state != Draining })
	for _, c := range nodes {
		if c.state == InService || c.state == Suspect || drained {
			out = slices.DeleteFunc(out, func(n string) bool { return !containsAll(of(&c.Node), []string{n}) })
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

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
