package ice

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"hash"
	"net/netip"
	"slices"
)

const (
	// maxPairs bounds what one agent checks. Far below the 100 of RFC 8445 §6.1.2.5: candidates are where somebody else says that we should send.
	maxPairs = 32
	// MaxCandidates is how many candidates of a peer's first description are taken; what is trickled counts against maxPairs only.
	MaxCandidates = 16
	// patience is how long the controlling agent waits for a better pair once it has a valid one.
	patience = int64(300e6)
)

// Peer is what a full agent knows of its peer.
type Peer struct {
	Ufrag, Pwd  string
	Controlling bool // our role: of the offerer, or towards a lite peer (RFC 8445 §6.1.1)
	Candidates  []Remote
}

// Remote is a candidate of the peer: for UDP, component 1.
type Remote struct {
	Addr     netip.AddrPort
	Priority uint32
}

// full is what an agent that checks by itself has beside a lite one (RFC 8445 §6 to §8). Our candidates have one base per address family, so a
// pair is known by its remote address, and there is one checklist without frozen pairs. Guarded by the Agent's mu.
type full struct {
	controlling bool
	tie         uint64
	user        []byte    // USERNAME of our checks
	mac         hash.Hash // HMAC-SHA1 by the peer's password
	pairs       []*pair
	selected    *pair
	nominee     *pair       // controlling: the pair that is being nominated
	rival       *pair       // controlled: a pair below the selected one that the peer nominated since it last did the selected one
	rivalBy     transaction // of that nomination
	validAt     int64       // when the first pair became valid; 0: none
	paid        int64       // pacing: when the last check that was sent should have been
	consent     consent
}

// state of a pair (RFC 8445 §6.1.2.6).
type state uint8

const (
	pending    state = iota // to be checked
	inProgress              // a check is under way
	succeeded
	failed
	paused // another pair was selected meanwhile
)

// pair is a candidate pair with its check.
type pair struct {
	Remote
	state       state
	valid       bool        // the peer has answered a check on it
	asked       bool        // the peer nominated it before it was valid
	nominatedBy transaction // the peer's newest check that nominated it
	tx          transaction
	use         bool // the check nominates
	controlling bool // our role in the check
	sends       int
	sentAt, due int64
}

// transaction is the id of RFC 8489 §5.
type transaction [12]byte

func newTransaction() (t transaction) {
	_, _ = rand.Read(t[:]) // never fails since Go 1.24
	return t
}

// StartFull makes the agent check by itself from now on, and answer the peer's checks, those that wait first. Once, instead of Start; then Tick has
// to be called. Errors as Start.
func (a *Agent) StartFull(p Peer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.startable(p.Ufrag, p.Pwd); err != nil {
		return err
	}
	a.full = &full{
		controlling: p.Controlling, tie: tieBreaker(), user: []byte(p.Ufrag + ":" + a.ufrag), mac: hmac.New(sha1.New, []byte(p.Pwd)),
	}
	a.add(p.Candidates[:min(len(p.Candidates), MaxCandidates)])
	a.begin(p.Ufrag)
	a.ordinary(a.cfg.Mux.clock())
	return nil
}

func tieBreaker() uint64 {
	t := newTransaction()
	return binary.BigEndian.Uint64(t[:])
}

// AddCandidates takes further candidates of the peer (RFC 8838), or orders a check of some again that has failed. The list may repeat
// those that are known. Of a lite agent: nothing.
func (a *Agent) AddCandidates(cs []Remote) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full == nil || a.closed {
		return
	}
	a.add(cs)
	a.ordinary(a.cfg.Mux.clock())
}

// add puts candidates into the checklist, new ones while there is room in it. Caller holds mu.
func (a *Agent) add(cs []Remote) {
	for _, c := range cs {
		p := a.pair(c.Addr)
		switch {
		case p == nil && len(a.full.pairs) < maxPairs:
			a.full.pairs = append(a.full.pairs, &pair{Remote: c})
		case p == nil:
		case p.state == failed:
			p.state = pending
			fallthrough
		default:
			p.Priority = c.Priority // a signalled candidate replaces a peer-reflexive one (RFC 8838 §11.4)
		}
	}
	a.sort()
}

// sort puts the best pairs first.
func (a *Agent) sort() {
	slices.SortStableFunc(a.full.pairs, func(p, q *pair) int {
		switch x, y := a.priority(p), a.priority(q); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
}

func (a *Agent) pair(addr netip.AddrPort) *pair {
	for _, p := range a.full.pairs {
		if p.Addr == addr {
			return p
		}
	}
	return nil
}

// priority of a pair (RFC 8445 §6.1.2.3).
func (a *Agent) priority(p *pair) uint64 {
	g, d := uint64(a.local(p.Addr)), uint64(p.Priority)
	if !a.full.controlling {
		g, d = d, g
	}
	n := min(g, d)<<32 + 2*max(g, d)
	if g > d {
		n++
	}
	return n
}

// local is the priority of our candidate that pairs with a remote address.
func (a *Agent) local(remote netip.AddrPort) uint32 {
	if a.cfg.Local == nil {
		return Priority
	}
	return a.cfg.Local(remote)
}

// request takes an authenticated check of the peer before it is answered: the pair that it came on, made when it is new (RFC 8445 §7.3.1.3).
func (a *Agent) request(r check, src netip.AddrPort) *pair {
	p := a.pair(src)
	if p == nil && len(a.full.pairs) < maxPairs {
		p = &pair{Remote: Remote{src, r.priority}}
		a.full.pairs = append(a.full.pairs, p)
		a.sort()
	}
	if p == nil || !r.nominated || a.full.controlling {
		return p
	}
	p.nominatedBy = r.tx
	if p.asked = !p.valid; p.valid {
		a.nominated(p)
	}
	return p
}

// nominated takes the controlling peer's nomination of a valid pair (RFC 8445 §7.3.1.5). Peers of RFC 5245 nominate each pair that they check and
// use the best one: so a better pair counts at once, a worse one when the peer keeps nominating it and the selected one no more; a retransmission is no second time.
func (a *Agent) nominated(p *pair) {
	f := a.full
	switch {
	case f.selected == nil, f.rival == p && f.rivalBy != p.nominatedBy, f.selected != p && a.priority(p) > a.priority(f.selected):
		a.choose(p)
	case f.selected == p:
		f.rival = nil
	default:
		f.rival, f.rivalBy = p, p.nominatedBy
	}
}

// choose makes p the selected pair; other checks rest (RFC 8445 §8.1.2).
func (a *Agent) choose(p *pair) {
	f := a.full
	f.selected, f.rival, f.nominee = p, nil, nil
	a.selected = p.Addr
	for _, q := range f.pairs {
		if q != p && (q.state == pending || q.state == inProgress) {
			a.end(q, paused)
		}
	}
	f.consent.begin(a.cfg.Mux.clock())
}

// settleRole resolves a role conflict (RFC 8445 §7.3.1.1): false when the peer has to change.
func (a *Agent) settleRole(r check) bool {
	f := a.full
	switch {
	case f.controlling && r.controlling:
		if f.tie >= r.tie {
			return false
		}
		a.turn(false)
	case !f.controlling && r.controlled:
		if f.tie < r.tie {
			return false
		}
		a.turn(true)
	}
	return true
}

// turn changes our role.
func (a *Agent) turn(controlling bool) {
	a.full.controlling, a.full.nominee = controlling, nil
	a.sort() // priorities have changed
}

// Controlling reports a full agent's role now.
func (a *Agent) Controlling() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.full != nil && a.full.controlling
}
