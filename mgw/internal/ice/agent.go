package ice

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"slices"
	"sync"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bucket"
	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// Priority is that of our only candidate: host, best local preference, component 1 (RFC 8445 §5.1.2.1).
const Priority = 126<<24 | 65535<<8 | 255

const (
	// early is the number of checks that wait for the peer's credentials. A browser sends one per pair and 50 ms while it connects.
	early = 32
	// maxPaths bounds the authenticated source addresses of one agent.
	maxPaths = 32
)

// Check is one authenticated connectivity check of the peer, or its answer to one of ours.
type Check struct {
	From      netip.AddrPort
	Nominated bool   // From is the remote end of the selected pair
	Priority  uint32 // of the remote candidate, when Nominated
	Answered  bool   // not a check of the peer but its answer to one of ours: it consents (RFC 7675 §5.1)
}

// Config of an Agent.
type Config struct {
	Mux *Mux
	// Checked is called for each authenticated check before its response leaves, by whoever calls Mux.Deliver or Start. It must not
	// block or call the Agent.
	Checked func(Check)
	// Ufrag and Pwd are our credentials. Empty: fresh ones. Those of another agent are for a further component on a Mux of its own
	// (RFC 8839 §5.4: they are the data stream's).
	Ufrag, Pwd string
	// Local is the priority of our candidate that pairs with a remote address, for a full agent. Nil: Priority.
	Local func(netip.AddrPort) uint32
}

// Checks from addresses that have not authenticated, per agent: a second's worth and what may come at once. A browser sends one per 50 ms and pair while
// it connects (RFC 8445 §14.2).
const strangeRate, strangeBurst = 100, 200

// Agent is one generation of ICE credentials: a restart is a new Agent beside the old one, which stays answering until the new one has a nominated
// pair (RFC 8445 §9). It is lite (RFC 8445 §2.5) after Start and full after StartFull. It has no goroutine: whoever delivers a check answers it, and
// what a full one does by itself is done by Tick.
type Agent struct {
	ufrag, pwd string
	cfg        Config

	mu       sync.Mutex // guards all below; taken per STUN message, never per media packet
	user     []byte     // USERNAME of the peer's checks: ours, a colon, theirs; nil before Start
	mac      hash.Hash  // HMAC-SHA1 by pwd
	closed   bool
	waiting  []waiting
	paths    []remote
	strange  bucket.Bucket  // checks of addresses that have not authenticated
	full     *full          // nil: lite
	selected netip.AddrPort // remote end of the pair that was nominated last; zero: none
}

// waiting is a check that came before the peer's credentials.
type waiting struct {
	buf *bufpool.Buf
	src netip.AddrPort
}

// remote is an authenticated source address: a peer-reflexive candidate (RFC 8445 §7.3.1.3).
type remote struct {
	addr     netip.AddrPort
	priority uint32 // as the check said that it was learnt from
}

// NewAgent makes an agent with fresh credentials; checks that come before Start wait, up to a few. The caller closes it.
func NewAgent(cfg Config) *Agent {
	a := &Agent{cfg: cfg, strange: bucket.New(strangeRate, strangeBurst)}
	for {
		if a.ufrag, a.pwd = cfg.Ufrag, cfg.Pwd; a.ufrag == "" {
			a.ufrag, a.pwd = text(ufragLen), text(pwdLen)
		}
		a.mac = hmac.New(sha1.New, []byte(a.pwd))
		if cfg.Mux.add(a.ufrag, a) || cfg.Ufrag != "" { // given ones are unique, as they are on the other Mux
			return a
		}
	}
}

// Ufrag is the local username fragment.
func (a *Agent) Ufrag() string { return a.ufrag }

// Pwd is the local password. It is never logged.
func (a *Agent) Pwd() string { return a.pwd }

// Start begins to answer checks of the peer with these credentials, those that wait first. Once. Only the fragment matters to a lite agent:
// it sends no checks. Errors: credentials that RFC 8839 §5.4 forbids, or closed.
func (a *Agent) Start(ufrag, pwd string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.startable(ufrag, pwd); err != nil {
		return err
	}
	a.begin(ufrag)
	return nil
}

// startable tells why the agent cannot start. Caller holds mu.
func (a *Agent) startable(ufrag, pwd string) error {
	switch {
	case a.user != nil:
		return errors.New("ice: started twice")
	case a.closed:
		return errors.New("ice: start: closed")
	case len(ufrag) < minUfrag || len(ufrag) > maxUfrag || len(pwd) < minPwd || len(pwd) > maxUfrag:
		return fmt.Errorf("ice: start: credentials of %d and %d characters", len(ufrag), len(pwd))
	}
	return nil
}

// begin answers the checks that wait. Caller holds mu.
func (a *Agent) begin(ufrag string) {
	a.user = []byte(a.ufrag + ":" + ufrag)
	for _, w := range a.waiting {
		a.serve(w.buf.Bytes(), w.src)
		w.buf.Release()
	}
	a.waiting = nil
}

// Started reports whether Start was called.
func (a *Agent) Started() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.user != nil
}

// Close ends the agent: when it returns no check is answered or reported any more. Not from Checked. Idempotent.
func (a *Agent) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cfg.Mux.remove(a.ufrag, a)
	a.closed = true
	for _, w := range a.waiting {
		w.buf.Release()
	}
	a.waiting = nil
}

// deliver takes a message that names the agent.
func (a *Agent) deliver(b []byte, src netip.AddrPort) Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return NoSuchUser
	case a.pathOf(src) < 0 && !a.strange.Admit(a.cfg.Mux.clock(), 1):
		return Full
	case a.user != nil:
		return a.serve(b, src)
	case len(a.waiting) == early:
		return Full
	}
	a.waiting = append(a.waiting, waiting{a.cfg.Mux.pool.Copy(b), src})
	return Delivered
}

// pathOf is the index of an authenticated source address in paths; negative: it is none. Caller holds mu.
func (a *Agent) pathOf(src netip.AddrPort) int {
	return slices.IndexFunc(a.paths, func(r remote) bool { return r.addr == src })
}

const (
	ufragLen = 8  // 47 bits; RFC 8445 §5.3 asks for 24
	pwdLen   = 24 // 142 bits; RFC 8445 §5.3 asks for 128
	minUfrag = 4  // RFC 8839 §5.4
	minPwd   = 22
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)

// text is n random ice-chars (RFC 8839 §5.4).
func text(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	for i := range b {
		b[i] = alphabet[b[i]&63]
	}
	return string(b)
}
