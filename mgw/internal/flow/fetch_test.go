package flow

import (
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// Fetching ahead takes terminations in every state, changes nothing and allocates nothing.
func TestFetchTakesTerminationsAsTheyAre(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	before := r.a.stats()
	r.w.msgs[0], r.w.msgs[1] = udpio.Message{From: browserAddr}, udpio.Message{From: netip.MustParseAddrPort("192.0.2.1:9")} // a stranger
	if n := testing.AllocsPerRun(100, func() {
		r.w.findPaths(r.a.access.sock, 2)
		fetchTerm(r.c)
		fetch([]*term{r.c, nil, r.c})
		r.w.fetchSweep(3)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if after := r.a.stats(); after.PacketsReceived != before.PacketsReceived || after.PacketsSent != before.PacketsSent {
		t.Errorf("counters moved: %+v", after)
	}
	bare := &term{w: r.w} // before its settings and keys
	fetchTerm(bare)
	fetch([]*term{bare, {w: r.w, to: r.a.to}})
}
