package gate

import (
	"net/netip"
	"testing"
)

func TestDropsByName(t *testing.T) {
	var d Drops
	if d.Map() != nil {
		t.Error("empty counters give a map")
	}
	d.Count(Source)
	d.Count(Source)
	d.Count(Policed)
	m := d.Map()
	if len(m) != 2 || m["source"] != 2 || m["policed"] != 1 {
		t.Errorf("%v", m)
	}
	for r := range Reasons {
		if r.String() == "" {
			t.Errorf("reason %d has no name", r)
		}
	}
	if Reasons.String() != "unknown" {
		t.Error("name beyond the reasons")
	}
}

func TestIQ07_H248_43_StrictFilter(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:4000")
	var s Sources
	if s.Admit(0, peer) || s.AdmitRTCP(peer) {
		t.Error("zero value admits")
	}
	s.Strict(peer, Filter{})
	for src, want := range map[string]bool{"192.0.2.1:4000": true, "192.0.2.1:4002": false, "192.0.2.2:4000": false} {
		if got := s.Admit(0, netip.MustParseAddrPort(src)); got != want {
			t.Errorf("%s: %v", src, got)
		}
	}
	if !s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.1:4999")) || s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.9:4001")) {
		t.Error("RTCP filter")
	}
	s.SignalledRTCP(netip.MustParseAddrPort("192.0.2.9:4001")) // a=rtcp of another address (RFC 3605)
	if !s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.9:4001")) || s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.9:4003")) || s.Admit(0, netip.MustParseAddrPort("192.0.2.9:4001")) {
		t.Error("RTCP described apart: its address and port alone, and for RTCP alone")
	}
	s.Strict(peer, Filter{})
	if s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.9:4001")) {
		t.Error("a former address of RTCP was kept")
	}
	s.Strict(peer, Filter{Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	for src, want := range map[string]bool{"192.0.2.1:4000": false, "198.51.100.7:9": true} {
		if got := s.AdmitRTCP(netip.MustParseAddrPort(src)); got != want {
			t.Errorf("with prefixes, RTCP of %s: %v", src, got)
		}
		if got := s.Admit(0, netip.MustParseAddrPort(src)); got != want {
			t.Errorf("with prefixes, %s: %v", src, got)
		}
	}
}

func TestIQ06_H248_37_LatchLocksOnTheFirst(t *testing.T) {
	var s Sources
	s.Latch(Filter{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	first, second := netip.MustParseAddrPort("192.0.2.5:1000"), netip.MustParseAddrPort("192.0.2.6:1000")
	if s.Admit(0, netip.MustParseAddrPort("203.0.113.1:1")) {
		t.Error("outside the filter may be learnt")
	}
	if s.AdmitRTCP(first) {
		t.Error("RTCP latches")
	}
	if !s.Admit(0, first) || !s.Admit(0, second) || !s.Latching(second) {
		t.Error("before learning both may be learnt")
	}
	s.Learn(first)
	if !s.Admit(0, first) || s.Admit(0, second) || s.Latching(second) {
		t.Error("not locked")
	}
}

func TestIQ06_H248_37_RelatchIsBounded(t *testing.T) {
	known, moved, late := netip.MustParseAddrPort("192.0.2.5:1000"), netip.MustParseAddrPort("192.0.2.5:2000"), netip.MustParseAddrPort("192.0.2.5:3000")
	var s Sources
	s.Relatch(known, Filter{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.5/32")}}, 100)
	if !s.Admit(99, known) || s.Latching(known) {
		t.Error("what was learnt does not stay while latching again")
	}
	if s.Admit(99, netip.MustParseAddrPort("203.0.113.1:1000")) {
		t.Error("the filter does not bound it")
	}
	if !s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.5:1001")) || s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.6:1001")) {
		t.Error("RTCP while latching again")
	}
	if !s.Admit(99, moved) || !s.Latching(moved) {
		t.Error("another source may not be learnt")
	}
	window := s
	window.Learn(moved)
	if !window.Admit(99, moved) || window.Admit(99, known) || window.Admit(99, late) || window.Latching(late) {
		t.Error("not locked on the new source")
	}
	if s.Admit(100, late) || s.Latching(late) || !s.Admit(101, known) || s.Admit(101, moved) {
		t.Error("after the time it does not end with what was learnt before")
	}
}

func TestIQ07_H248_43_FilterOfAddressAndPorts(t *testing.T) {
	signalled := netip.MustParseAddrPort("192.0.2.1:4000")
	elsewhere := []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}
	for name, c := range map[string]struct {
		filter Filter
		want   map[string]bool
	}{
		"another address": {Filter{Prefixes: elsewhere},
			map[string]bool{"198.51.100.7:9": true, "192.0.2.1:4000": false, "198.51.100.8:9": false}},
		"another address and port": {Filter{Prefixes: elsewhere, Min: 5000, Max: 5000},
			map[string]bool{"198.51.100.7:5000": true, "198.51.100.7:5002": false, "192.0.2.1:5000": false}},
		"range of the signalled address": {Filter{Min: 4000, Max: 4010},
			map[string]bool{"192.0.2.1:4000": true, "192.0.2.1:4010": true, "192.0.2.1:3999": false, "192.0.2.1:4011": false, "192.0.2.2:4000": false}},
	} {
		var s Sources
		s.Strict(signalled, c.filter)
		for src, want := range c.want {
			if got := s.Admit(0, netip.MustParseAddrPort(src)); got != want {
				t.Errorf("%s: %s: %v", name, src, got)
			}
		}
	}
	var s Sources
	s.Strict(netip.AddrPort{}, Filter{Min: 4000, Max: 4010})
	if a := netip.MustParseAddrPort("192.0.2.66:4005"); s.Admit(0, a) || s.AdmitRTCP(a) {
		t.Error("anybody may send while the address is unknown that the range is of")
	}
	s.Latch(Filter{Min: 4000, Max: 4010})
	if s.Admit(0, netip.MustParseAddrPort("192.0.2.9:3999")) || !s.Admit(0, netip.MustParseAddrPort("192.0.2.9:4001")) {
		t.Error("the range does not bound what may be latched")
	}
}

func TestAdmitDoesNotAllocate(t *testing.T) {
	var s Sources
	peer := netip.MustParseAddrPort("192.0.2.1:4000")
	s.Strict(peer, Filter{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	var d Drops
	if n := testing.AllocsPerRun(100, func() {
		if !s.Admit(0, peer) {
			d.Count(Source)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
