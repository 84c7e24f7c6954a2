package gate

import "net/netip"

// Sources decides which transport address may send to a plain RTP port, and learns it when latching is on.
// The zero value admits nobody.
type Sources struct {
	exact    netip.AddrPort // the one allowed source; zero: none yet
	prefixes []netip.Prefix // allowed networks
	latching bool           // the next valid packet decides
	open     bool           // anybody within prefixes, or of the exact address
}

// Strict admits the exact address remote when prefixes is empty, else whatever lies in prefixes (H.248.43). It forgets what was latched.
// prefixes is kept.
func (s *Sources) Strict(remote netip.AddrPort, prefixes []netip.Prefix) {
	*s = Sources{exact: remote, prefixes: prefixes, open: len(prefixes) > 0}
}

// Latch admits nobody until Learn, and then only what was learnt (H.248.37). prefixes bounds what may be learnt; empty: anything.
// prefixes is kept.
func (s *Sources) Latch(prefixes []netip.Prefix) {
	*s = Sources{prefixes: prefixes, latching: true}
}

// Latching reports that the next valid packet decides.
func (s *Sources) Latching() bool { return s.latching }

// Admit reports whether src may send. While latching it reports whether src may be learnt; the caller checks that the packet is
// valid media and then calls Learn.
func (s *Sources) Admit(src netip.AddrPort) bool {
	if s.latching {
		return len(s.prefixes) == 0 || s.within(src.Addr())
	}
	if s.open {
		return s.within(src.Addr())
	}
	return s.exact.IsValid() && src == s.exact
}

// AdmitRTCP is Admit for the RTCP port: the address must fit and the port is free, since NATs map it apart from RTP's.
func (s *Sources) AdmitRTCP(src netip.AddrPort) bool {
	if s.latching {
		return false
	}
	if s.open {
		return s.within(src.Addr())
	}
	return s.exact.IsValid() && src.Addr() == s.exact.Addr()
}

// Learn locks on src.
func (s *Sources) Learn(src netip.AddrPort) { s.exact, s.latching, s.open = src, false, false }

func (s *Sources) within(a netip.Addr) bool {
	for _, p := range s.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
