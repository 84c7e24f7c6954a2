package ice

import (
	"encoding/binary"
	"net/netip"
)

// A port pair of both address families is one mux, but pion's candidate belongs to one: the mux's. Addresses of the other family are shown to
// pion as addresses of a block that no host has, and put back on the way out.

// family are the addresses of the other family that one conn has seen. The zero value is ready.
type family struct {
	shown map[netip.AddrPort]netip.AddrPort // by the real one
	real  map[netip.AddrPort]netip.AddrPort // by the one that pion sees
	made  uint32
}

// standInPort keeps them apart from other uses of the blocks.
const standInPort = 10

// shown is what pion sees of an address.
func (c *conn) shown(a netip.AddrPort) netip.AddrPort {
	v6 := c.mux.local.IP.To4() == nil
	if a.Addr().Is6() == v6 {
		return a
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.family
	if s, ok := f.shown[a]; ok {
		return s
	}
	if f.shown == nil {
		f.shown, f.real = map[netip.AddrPort]netip.AddrPort{}, map[netip.AddrPort]netip.AddrPort{}
	}
	if len(f.shown) >= 2*maxPaths {
		c.forgetUnanswered()
	}
	f.made++
	s := standIn(v6, f.made)
	f.shown[a], f.real[s] = s, a
	return s
}

// forgetUnanswered makes room: whoever has not authenticated may have made addresses up. Caller holds mu.
func (c *conn) forgetUnanswered() {
	for a, s := range c.family.shown {
		if _, answered := c.paths[a]; !answered {
			delete(c.family.shown, a)
			delete(c.family.real, s)
		}
	}
}

// real is the address behind what pion sees.
func (c *conn) real(s netip.AddrPort) netip.AddrPort {
	if s.Port() != standInPort {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.family.real[s]; ok {
		return a
	}
	return s
}

// standIn is the n-th address of the reserved block (RFC 1112 §4) or of the discard-only one (RFC 6666).
func standIn(v6 bool, n uint32) netip.AddrPort {
	if v6 {
		b := [16]byte{0: 1}
		binary.BigEndian.PutUint32(b[12:], n)
		return netip.AddrPortFrom(netip.AddrFrom16(b), standInPort)
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 0xf0000000|n&0x0fffffff)
	return netip.AddrPortFrom(netip.AddrFrom4(b), standInPort)
}
