package flow

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

const (
	// maxPaths bounds the authenticated source addresses of one termination.
	maxPaths = 8
	// pathLife is how long an address stays authenticated after its last check, and safe from being claimed by another termination.
	pathLife = int64(30 * time.Second)
)

// path is an authenticated source address (RFC 8445 §7.3).
type path struct {
	owner *accessState
	seen  int64 // last check
}

// accessState is the access half of a termination. Owned by the worker, but for the fields marked otherwise.
type accessState struct {
	t          *term
	sock       *accessSock
	past       pastKeys
	more       []*term // streams beside t that the transport serves
	component2 bool    // of RTCP
	a          *Access

	paths    []netip.AddrPort // at most maxPaths, all in sock.paths
	selected netip.AddrPort   // remote end of the selected pair
	gen      uint64           // generation of credentials that nominated it
	checked  int64            // last check on the selected pair
	lost     bool             // consent is lost

	agents []*ice.Agent // full ones at work

	bound []bound // with several streams: whose the peer's sources are

	iceFrom int64 // first authenticated check of the newest generation, or the start of its own checks; 0: none
	iceDone bool  // a pair of the newest generation is selected, or failure was reported

	link     *dtls.Link // takes the peer's DTLS datagrams; nil: no association wanted
	run      *handshake
	begun    bool       // run has a pair to go over
	dtlsFrom int64      // when the handshake's time began; 0: not running
	former   *handshake // its keys serve until run has ended; nil: none
	reserve  int64      // until when the association before run, whose handshake has ended, may be taken back; 0: not
	keyed    *handshake // has given the keys in use, with which nothing has been heard yet; nil: not so

	// peer is where DTLS datagrams go; read by pion's goroutines.
	peer atomic.Pointer[netip.AddrPort]
}

// check takes an authenticated check of the credentials' generation gen. newest: the highest generation there is.
func (s *accessState) check(now int64, gen uint64, c ice.Check) {
	newest := s.a.newest.Load()
	if gen > newest {
		return // of a restart that was given up
	}
	if gen < s.gen && c.Nominated {
		c.Nominated = false // a latecomer of the old credentials
	}
	if gen == newest && s.iceFrom == 0 {
		s.iceFrom = now
	}
	if isStream(c.From) {
		st := s.sock.streams[c.From]
		if st == nil {
			return // closed meanwhile
		}
		st.place.Known()
	}
	known := s.sock.paths[c.From]
	if !s.learn(now, c.From) {
		return
	}
	if s.a.full && (known == nil || known.owner != s) {
		s.discovered(c)
	}
	consents := c.Answered || !s.a.full // to a full agent by answers only (RFC 7675 §5.1)
	if c.Nominated && (c.From != s.selected || gen != s.gen) {
		s.lost, consents = false, true // the pair is valid
		s.nominate(now, gen, c)
	}
	if c.From == s.selected && consents {
		if s.lost { // whoever was told of the loss must hear of the return
			s.t.emit(Event{Kind: ICEConnected, Pair: s.a.pair(c.From, c.Priority)})
		}
		s.checked, s.lost = now, false
		s.t.out.consent = true
		s.share()
	}
}

// learn notes an authenticated address; false when it belongs to another termination that is alive: a browser could write any source
// address into its checks, and must not capture another's.
func (s *accessState) learn(now int64, from netip.AddrPort) bool {
	p := s.sock.paths[from]
	switch {
	case p == nil:
		if len(s.paths) == maxPaths {
			s.forgetOldest()
		}
		p = &path{owner: s}
		s.sock.paths[from] = p
		s.paths = append(s.paths, from)
	case p.owner != s:
		if now-p.seen < pathLife {
			return false
		}
		p.owner.forget(from)
		return s.learn(now, from)
	}
	p.seen = now
	return true
}

// forgetOldest makes room for a path; the selected one stays.
func (s *accessState) forgetOldest() {
	oldest, at := netip.AddrPort{}, int64(0)
	for _, a := range s.paths {
		if p := s.sock.paths[a]; a != s.selected && (!oldest.IsValid() || p.seen < at) {
			oldest, at = a, p.seen
		}
	}
	s.forget(oldest)
}

func (s *accessState) forget(a netip.AddrPort) {
	for i, b := range s.paths {
		if a == b {
			last := len(s.paths) - 1
			s.paths[i] = s.paths[last]
			s.paths = s.paths[:last]
			delete(s.sock.paths, a)
			return
		}
	}
}

// nominate selects the pair with remote address c.From (RFC 8445 §7.3.1.5, §8.1.1).
func (s *accessState) nominate(now int64, gen uint64, c ice.Check) {
	first := !s.selected.IsValid()
	restarted := gen != s.gen
	s.selected, s.gen = c.From, gen
	s.a.inUse.Store(gen)
	var addr udpio.Addr
	if s.t.out.stream = s.sock.streams[c.From]; !isStream(c.From) {
		s.t.out.sock = s.sock.via(c.From)
		addr = s.t.out.sock.Addr(c.From)
	}
	s.t.out.addr = addr
	s.t.out.rtcp.sock, s.t.out.rtcp.addr = s.t.out.sock, addr
	from := c.From
	s.peer.Store(&from)
	if gen == s.a.newest.Load() {
		s.iceDone = true
	}
	if restarted && !first {
		s.t.in.started = false
		for _, t := range s.more {
			t.in.started = false
		}
		s.a.retire(gen)
	}
	if s.run != nil && !s.begun && (first || s.iceDone) {
		s.startClock(now)
	}
	s.t.emit(Event{Kind: ICEConnected, Pair: s.a.pair(c.From, c.Priority)})
}

// dtls takes a DTLS datagram from an authenticated address.
func (s *accessState) dtls(b []byte, src netip.AddrPort) {
	if s.link == nil {
		s.t.in.drops.Count(gate.Unauthenticated)
		return
	}
	if !s.selected.IsValid() {
		// The peer may begin on a valid pair before it nominates one (RFC 8445 §12.1); the answer goes back the same way.
		s.peer.Store(&src)
	}
	s.link.Deliver(b)
}

// rtp takes an SRTP datagram from an authenticated address and returns what leaves to whom. Any valid pair will do (RFC 8445 §12.2): around a
// nomination packets come on the old pair and on the new one, and their keys tell that they are the peer's.
func (s *accessState) rtp(now int64, b []byte) (out []byte, to *term) {
	t := s.t
	if s.component2 {
		return t.drop(gate.PayloadType), nil // component 2 is for RTCP
	}
	if t.in.rx == nil {
		return t.drop(gate.Unauthenticated), nil
	}
	if _, err := rtp.ParseHeader(b); err != nil {
		return t.drop(gate.Malformed), nil
	}
	plain, err := s.open(now, b, false)
	if err != nil {
		return t.drop(refused(err)), nil
	}
	if len(s.more) > 0 {
		if t = s.assign(plain); t == nil {
			return s.t.drop(gate.Stream), nil
		}
	}
	return t.media(now, plain), t.partner
}

// rtcp takes an SRTCP datagram from an authenticated address.
func (s *accessState) rtcp(now int64, b []byte) {
	t := s.t
	if t.in.rx == nil {
		t.in.drops.Count(gate.Unauthenticated)
		return
	}
	plain, err := s.open(now, b, true)
	if err != nil {
		t.in.drops.Count(refused(err))
		return
	}
	if p := s.a.parent; p != nil {
		p.s.t.control(now, plain)
		return
	}
	s.controlAll(now, plain)
}

func refused(err error) gate.Reason {
	switch err {
	case srtp.ErrAuth:
		return gate.Unauthenticated
	case srtp.ErrReplay:
		return gate.Replay
	}
	return gate.Malformed
}

// sweep watches consent, ICE and DTLS times, and forgets paths that nobody uses any more.
func (s *accessState) sweep(now int64) {
	s.tick(now)
	consent := s.t.set.ConsentAfter
	if s.component2 {
		consent = s.a.parent.s.t.set.ConsentAfter // component 2 has no settings of its own
	}
	if consent == 0 {
		consent = defaultConsent
	}
	if s.selected.IsValid() && !s.lost && now-s.checked > int64(consent) {
		s.lost = true
		s.t.out.consent = false
		s.share()
		s.t.emit(Event{Kind: ConsentLost})
	}
	timers := &s.t.w.cfg.Timers
	// A restart that comes to nothing is no failure as long as the old pair has consent.
	if !s.iceDone && s.iceFrom != 0 && now-s.iceFrom > int64(timers.ICE) && (!s.selected.IsValid() || s.lost) {
		s.iceDone = true
		reason := "checks succeed but no pair was nominated"
		if s.a.full {
			reason = "no pair was nominated in time"
		}
		s.t.emit(Event{Kind: ICEFailed, Reason: reason})
	}
	if s.dtlsFrom != 0 && now-s.dtlsFrom > int64(timers.DTLS) {
		s.dtlsFrom = 0
		s.run.expire()
	}
	if s.reserve != 0 && now >= s.reserve {
		s.reserve = 0
		s.a.settled(s.run)
	}
	if s.keyed != nil && s.t.in.rx.Heard() && s.keyed.settle() {
		s.keyed = nil
	}
	for i := len(s.paths) - 1; i >= 0; i-- {
		if a := s.paths[i]; a != s.selected && now-s.sock.paths[a].seen > pathLife {
			s.forget(a)
		}
	}
}

// restarted notes new credentials: the checks of RFC 8445 §9 begin anew while the old pair serves.
func (s *accessState) restarted() { s.iceFrom, s.iceDone = 0, false }

// revert makes generation n the newest again. No later one has a pair.
func (s *accessState) revert(now int64, n uint64) {
	s.a.newest.Store(n)
	s.iceFrom, s.iceDone = 0, s.gen == n
	if s.run != nil && !s.begun && s.iceDone {
		s.startClock(now)
	}
}

// clear forgets all paths; the termination ends.
func (s *accessState) clear() {
	for len(s.paths) > 0 {
		if st := s.sock.streams[s.paths[0]]; st != nil {
			s.t.w.endStream(st)
			continue
		}
		s.forget(s.paths[0])
	}
	s.run, s.link, s.former, s.keyed, s.reserve = nil, nil, nil, nil, 0
	s.t.out.addr, s.t.out.rtcp.addr = udpio.Addr{}, udpio.Addr{}
	s.share()
}
