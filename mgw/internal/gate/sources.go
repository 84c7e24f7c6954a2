package gate

import "net/netip"

// Filter is what sources may have (H.248.43): an address within a prefix, when there are any, and a port of RTP within the range, when Min is
// not 0. The zero value is no filter.
type Filter struct {
	Prefixes []netip.Prefix // not to be mutated
	Min, Max uint16
}

// IsZero reports whether everything passes.
func (f *Filter) IsZero() bool { return len(f.Prefixes) == 0 && f.Min == 0 }

func (f *Filter) address(a netip.Addr) bool {
	for _, p := range f.Prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return len(f.Prefixes) == 0
}

func (f *Filter) admit(a netip.AddrPort) bool {
	return f.address(a.Addr()) && (f.Min == 0 || a.Port() >= f.Min && a.Port() <= f.Max)
}

// Sources decides which transport address may send to a plain RTP port, and learns it when latching is on.
// The zero value admits nobody.
type Sources struct {
	exact    netip.AddrPort // the one allowed source; zero: none yet
	latching bool           // the next valid packet of another source than exact decides
	open     bool           // anybody that the filter admits
	until    int64          // of latching, monotonic ns; 0: no end
	filter   Filter
	rtcp     netip.AddrPort // where RTCP may come from besides; zero: nowhere
}

// Strict admits the exact address remote when there is no filter, else whatever that admits (H.248.43). It forgets what was latched.
func (s *Sources) Strict(remote netip.AddrPort, f Filter) {
	*s = Sources{exact: remote, filter: f, open: !f.IsZero()}
	if len(f.Prefixes) == 0 && f.Min != 0 {
		// A range of ports alone is one of the signalled address (H.248.43 spr): of nobody's while there is none.
		if s.open = remote.IsValid(); !s.open {
			return
		}
		s.filter.Prefixes = []netip.Prefix{netip.PrefixFrom(remote.Addr(), remote.Addr().BitLen())}
	}
}

// SignalledRTCP admits RTCP of addr too, which the peer has described apart from its media (RFC 3605). It belongs to a Strict without filter, and the
// next Strict, Latch or Relatch forgets it.
func (s *Sources) SignalledRTCP(addr netip.AddrPort) { s.rtcp = addr }

// Latch admits nobody until Learn, and then only what was learnt (H.248.37). f bounds what may be learnt.
func (s *Sources) Latch(f Filter) { *s = Sources{filter: f, latching: true} }

// Relatch keeps known, what was learnt before, and until the given time, monotonic ns, lets another source take its place by Learn (H.248.37). When
// none has by then, known stays.
func (s *Sources) Relatch(known netip.AddrPort, f Filter, until int64) {
	*s = Sources{exact: known, filter: f, latching: true, until: until}
}

// Latching reports that a valid packet from src decides.
func (s *Sources) Latching(src netip.AddrPort) bool { return s.latching && src != s.exact }

// Admit reports whether src may send at time now, monotonic ns. While Latching it reports whether src may be learnt; the caller checks that the
// packet is valid media and then calls Learn.
func (s *Sources) Admit(now int64, src netip.AddrPort) bool {
	if s.latching && s.until != 0 && now >= s.until {
		s.latching = false
	}
	if s.latching {
		return src == s.exact || s.filter.admit(src)
	}
	if s.open {
		return s.filter.admit(src)
	}
	return s.exact.IsValid() && src == s.exact
}

// AdmitRTCP is Admit for the RTCP port: the address must fit and the port is free, since NATs map it apart from RTP's. Nothing is learnt by it.
func (s *Sources) AdmitRTCP(src netip.AddrPort) bool {
	if s.open {
		return s.filter.address(src.Addr())
	}
	return s.exact.IsValid() && (src.Addr() == s.exact.Addr() || src == s.rtcp)
}

// Learn locks on src.
func (s *Sources) Learn(src netip.AddrPort) { s.exact, s.latching, s.open = src, false, false }
