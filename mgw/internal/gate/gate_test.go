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

func TestH248_53_BucketKeepsSustainedRateAndBurst(t *testing.T) {
	const ms = 1_000_000
	b := NewBucket(8000, 400) // 160-octet packets each 20 ms fit exactly
	now := int64(1)
	for i := range 1000 {
		if !b.Admit(now, 160) {
			t.Fatalf("packet %d at the agreed rate refused", i)
		}
		now += 20 * ms
	}
	b = NewBucket(8000, 400)
	admitted := 0
	for range 1000 { // three times the rate for 1000 * 7 ms
		if b.Admit(now, 160) {
			admitted++
		}
		now += 7 * ms
	}
	if want := (8000*7 + 400) / 160; admitted < want-1 || admitted > want+1 {
		t.Errorf("admitted %d, want about %d", admitted, want)
	}
	if b.Admit(now, 401) {
		t.Error("packet larger than the burst admitted")
	}
	now += 1 << 62 // a pause that would overflow
	if !b.Admit(now, 400) {
		t.Error("full bucket refuses its depth")
	}
	if b.Admit(now, 1) {
		t.Error("empty bucket admits")
	}
	var none Bucket
	if !none.Admit(now, 1<<30) {
		t.Error("no limit refuses")
	}
}

func TestH248_43_StrictFilter(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:4000")
	var s Sources
	if s.Admit(peer) || s.AdmitRTCP(peer) {
		t.Error("zero value admits")
	}
	s.Strict(peer, nil)
	for src, want := range map[string]bool{"192.0.2.1:4000": true, "192.0.2.1:4002": false, "192.0.2.2:4000": false} {
		if got := s.Admit(netip.MustParseAddrPort(src)); got != want {
			t.Errorf("%s: %v", src, got)
		}
	}
	if !s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.1:4999")) || s.AdmitRTCP(netip.MustParseAddrPort("192.0.2.9:4001")) {
		t.Error("RTCP filter")
	}
	s.Strict(peer, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")})
	for src, want := range map[string]bool{"192.0.2.1:4000": false, "198.51.100.7:9": true} {
		if got := s.Admit(netip.MustParseAddrPort(src)); got != want {
			t.Errorf("with prefixes, %s: %v", src, got)
		}
	}
}

func TestH248_37_LatchLocksOnTheFirst(t *testing.T) {
	var s Sources
	s.Latch([]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	first, second := netip.MustParseAddrPort("192.0.2.5:1000"), netip.MustParseAddrPort("192.0.2.6:1000")
	if s.Admit(netip.MustParseAddrPort("203.0.113.1:1")) {
		t.Error("outside the filter may be learnt")
	}
	if s.AdmitRTCP(first) {
		t.Error("RTCP latches")
	}
	if !s.Admit(first) || !s.Admit(second) || !s.Latching() {
		t.Error("before learning both may be learnt")
	}
	s.Learn(first)
	if !s.Admit(first) || s.Admit(second) || s.Latching() {
		t.Error("not locked")
	}
}

func TestAdmitDoesNotAllocate(t *testing.T) {
	var s Sources
	peer := netip.MustParseAddrPort("192.0.2.1:4000")
	s.Strict(peer, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	b := NewBucket(1<<30, 1<<30)
	var d Drops
	if n := testing.AllocsPerRun(100, func() {
		if !s.Admit(peer) || !b.Admit(5, 100) {
			d.Count(Source)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
