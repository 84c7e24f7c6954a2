package flow

import (
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestIQ06_H248_37_AFormerLatchIsForgotten: what was learnt belongs to the description that it was learnt for; when another has come, repeating that one does
// not send to the former address.
func TestIQ06_H248_37_AFormerLatchIsForgotten(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	c, former := r.c.core, netip.MustParseAddrPort("127.0.0.1:40020")
	set := func(now int64, port uint16) {
		if err := c.setRemote(now, CoreRemote{RTP: netip.AddrPortFrom(loopback, port), Latch: LatchOn}); err != nil {
			t.Fatal(err)
		}
	}
	set(1, 40021)
	if c.media(2, former, r.fill(make([]byte, bufferSize), 8)); c.latched != former {
		t.Fatalf("latched %s", c.latched)
	}
	set(3, 40023)
	set(4, 40023)
	if c.latched.IsValid() || r.c.out.addr != c.rtp.Addr(netip.AddrPortFrom(loopback, 40023)) {
		t.Errorf("latched %s, sends elsewhere than it was told", c.latched)
	}
}
