package flow

import (
	"net/netip"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
)

// startFull lets a full agent begin its checks; the worker ticks it from now on. Caller holds mu.
func (a *Access) startFull(agent *ice.Agent, r *AccessRemote) error {
	// In this order, since what the checks find comes by the same queue.
	a.post(func() { a.s.checking(a.w.now, agent) })
	return agent.StartFull(ice.Peer{Ufrag: r.Ufrag, Pwd: r.Pwd, Controlling: r.Controlling, Candidates: a.remotes(r.Candidates)})
}

// remotes are the candidates of the peer's that a full agent checks: of UDP, of a family that we have, and addresses of a host. One on loopback is
// checked from loopback only: what a browser writes into its description must not make us speak to our own services.
func (a *Access) remotes(cs []Candidate) []ice.Remote {
	if !a.full {
		return nil
	}
	var out []ice.Remote
	for _, c := range cs {
		ip, err := netip.ParseAddr(c.Address)
		if err != nil || !strings.EqualFold(c.Transport, "udp") || max(c.Component, 1) != a.component() || c.Port == 0 || c.Priority == 0 {
			continue // ".local" names among them: such a peer is found by its own checks (RFC 8828 §3)
		}
		ip = ip.Unmap()
		addr := netip.AddrPortFrom(ip, c.Port)
		ours, _ := netip.ParseAddr(a.localFor(ip, "udp").Address)
		switch {
		case !ours.IsValid(), ip.Zone() != "", ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast(), isStream(addr),
			ip.IsLoopback() && !ours.IsLoopback(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			continue
		}
		out = append(out, ice.Remote{Addr: addr, Priority: c.Priority})
	}
	return out
}

// localPriority is that of our candidate that pairs with a remote address.
func (a *Access) localPriority(remote netip.AddrPort) uint32 {
	transport := "udp"
	if isStream(remote) {
		transport = "tcp"
	}
	return a.localFor(remote.Addr(), transport).Priority
}

// checking begins to tick a full agent; failure is due Timers.ICE from now, whether there is a pair to check or not (RFC 8863 §4).
func (s *accessState) checking(now int64, agent *ice.Agent) {
	s.agents = append(s.agents, agent)
	if s.iceFrom == 0 {
		s.iceFrom = now
	}
}

// tick lets full agents send what is due, and forgets those that are closed.
func (s *accessState) tick(now int64) {
	for i := len(s.agents) - 1; i >= 0; i-- {
		if !s.agents[i].Tick(now, s.lost) {
			s.agents = append(s.agents[:i], s.agents[i+1:]...)
		}
	}
}

// discovered tells of a path that is none of the peer's candidates.
func (s *accessState) discovered(c ice.Check) {
	if m := s.a.hints.Load(); m != nil {
		if _, told := (*m)[c.From]; told {
			return
		}
	}
	s.t.emit(Event{Kind: PeerReflexive, Pair: s.a.pair(c.From, c.Priority)})
}
