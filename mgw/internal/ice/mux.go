// Package ice answers connectivity checks for many terminations on one UDP port, and checks by itself where it is told to: lite and full agents
// behind a mux. Floor 1.
// Owner: the worker delivers datagrams, and they are answered on its thread; each Agent belongs to its termination.
// RFC 8445 §2.5, §7.3, §9; RFC 8489; RFC 7983.
//
// What may be learnt from whom: a check reaches an agent by the username fragment alone, which anybody can write. Addresses are learnt
// and pairs selected only after its MESSAGE-INTEGRITY was right (RFC 8445 §7.3.1.3), and by nothing that stands behind that.
package ice

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// MaxCheck is the longest STUN message that is taken, bytes: RFC 8489 §6.1 allows no more without path MTU knowledge.
const MaxCheck = 1280

// Verdict says what became of a datagram given to Mux.Deliver.
type Verdict uint8

// Verdicts.
const (
	Delivered  Verdict = iota
	NotForUs           // not a binding request, or without a username
	NoSuchUser         // nobody has that username fragment
	Full               // too many checks wait for the peer's credentials, the agent has too many paths, or strangers' ration is used up
)

// Mux is one UDP port shared by the agents of a worker.
type Mux struct {
	local netip.AddrPort
	send  func([]byte, netip.AddrPort) error
	pool  *bufpool.Pool
	clock func() int64 // monotonic ns

	taken, answered atomic.Uint64

	mu     sync.RWMutex // guards all below; taken per STUN message, never per media packet
	agents map[string]*Agent
	asked  map[transaction]*Agent // our requests under way
}

// NewMux returns a Mux. advertise: the address for candidates. send: sends one datagram, which it does not keep, from any goroutine.
func NewMux(advertise netip.AddrPort, send func([]byte, netip.AddrPort) error, pool *bufpool.Pool) *Mux {
	base := time.Now().Add(-time.Second)
	return &Mux{
		local: advertise, send: send, pool: pool, agents: make(map[string]*Agent), asked: make(map[transaction]*Agent),
		clock: func() int64 { return int64(time.Since(base)) },
	}
}

// UseClock sets the clock that Agent.Tick is called by: monotonic ns, from any goroutine. Before anything else.
func (m *Mux) UseClock(clock func() int64) { m.clock = clock }

// Deliver has a STUN message answered by the agent it names, or taken by the one whose request it answers. b is not kept. It waits for nothing
// but another message for the same agent.
func (m *Mux) Deliver(b []byte, src netip.AddrPort) Verdict {
	if len(b) >= stunHeader && len(b) <= MaxCheck && binary.BigEndian.Uint16(b)&0x0100 != 0 {
		return m.answer(b, src)
	}
	a, v := m.named(b)
	if a == nil {
		return v
	}
	if v = a.deliver(b, src); v == Delivered {
		m.taken.Add(1)
	}
	return v
}

// answer gives a response to the agent that waits for it.
func (m *Mux) answer(b []byte, src netip.AddrPort) Verdict {
	tx := transaction(b[8:stunHeader])
	m.mu.RLock()
	a := m.asked[tx]
	m.mu.RUnlock()
	if a == nil {
		return NotForUs
	}
	return a.response(b, tx, src)
}

// expect notes a request of a; forget that it is over.
func (m *Mux) expect(tx transaction, a *Agent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[tx] = a
}

func (m *Mux) forget(tx transaction) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asked, tx)
}

// Asked is the number of our requests under way.
func (m *Mux) Asked() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.asked)
}

// named is the agent that b, a connectivity check, is for.
func (m *Mux) named(b []byte) (*Agent, Verdict) {
	if len(b) > MaxCheck || len(b) < stunHeader || binary.BigEndian.Uint16(b) != bindingRequest {
		return nil, NotForUs
	}
	user, ok := LocalUfrag(b)
	if !ok {
		return nil, NotForUs
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.agents[string(user)], NoSuchUser
}

// Serves reports whether b is a connectivity check for one of the agents.
func (m *Mux) Serves(b []byte) bool {
	a, _ := m.named(b)
	return a != nil
}

// Checks counts the connectivity checks that were delivered and those that were answered with success, which only authenticated ones are:
// the difference is forgeries, and checks that wait for the peer's credentials.
func (m *Mux) Checks() (taken, answered uint64) { return m.taken.Load(), m.answered.Load() }

// Advertise is the address of the candidate.
func (m *Mux) Advertise() netip.AddrPort { return m.local }

// Agents is the number of username fragments in use.
func (m *Mux) Agents() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.agents)
}

// add registers an agent. false: the fragment is taken.
func (m *Mux) add(ufrag string, a *Agent) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents[ufrag] != nil {
		return false
	}
	m.agents[ufrag] = a
	return true
}

// remove ends an agent; its mu is held.
func (m *Mux) remove(ufrag string, a *Agent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agents[ufrag] == a {
		delete(m.agents, ufrag)
	}
	if a.full != nil {
		for _, p := range a.full.pairs {
			delete(m.asked, p.tx)
		}
		for _, tx := range a.full.consent.asked {
			delete(m.asked, tx)
		}
	}
}
