package turnserver

import (
	"net/netip"
)

// The names of no peer: nobody is to reach these through a relay, whatever prefixes say.
func unreachable(a netip.Addr) bool {
	return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// address reports whether a permission for the address may be had at all (RFC 8656 §9.2 lets the server refuse any with 403). It may
// be one of ours; then only some ports of it can be reached.
func (p Peers) address(a netip.Addr) bool {
	a = a.Unmap()
	if unreachable(a) {
		return false
	}
	for _, o := range p.Own {
		if o.Advertise == a {
			return true
		}
	}
	return p.named(a)
}

func (p Peers) named(a netip.Addr) bool {
	for _, n := range p.Prefixes {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// outward is where a packet for a peer goes; false: nowhere.
func (p Peers) outward(to netip.AddrPort, relay netip.Addr) (netip.AddrPort, bool) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if unreachable(to.Addr()) || to.Port() == 0 {
		return to, false
	}
	for _, o := range p.Own {
		if o.Advertise == to.Addr() && to.Port() >= o.PortMin && to.Port() <= o.PortMax {
			return netip.AddrPortFrom(o.local(relay), to.Port()), true
		}
	}
	return to, p.named(to.Addr())
}

// inward is the peer that a packet comes from, as the client knows it; false: nobody that it may hear.
func (p Peers) inward(from netip.AddrPort, relay netip.Addr) (netip.AddrPort, bool) {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	for _, o := range p.Own {
		if from.Port() >= o.PortMin && from.Port() <= o.PortMax && (from.Addr() == o.local(relay) || from.Addr() == o.Advertise) {
			return netip.AddrPortFrom(o.Advertise, from.Port()), true
		}
	}
	return from, p.named(from.Addr())
}

// local is the address that the ports are reached at from a relay socket: a wildcard takes what is sent to the relay's own address.
func (o OwnPeer) local(relay netip.Addr) netip.Addr {
	switch {
	case !o.Local.IsUnspecified():
		return o.Local
	case !relay.IsUnspecified():
		return relay
	case o.Advertise.Is4():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}
