package ice

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// FuzzDeliver gives a live agent what anybody may send: a STUN message of any content, or any attributes after the right
// username. Nothing may be answered with success or count as a check, and the agent must go on answering its peer.
func FuzzDeliver(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false)
	f.Add([]byte{0, 8, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, true)                                   // an integrity
	f.Add([]byte{0, 0x25, 0, 0, 0, 0x24, 0, 4, 110, 0, 1, 255, 0x80, 0x2a, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}, true)                               // nomination without one
	f.Add([]byte{0, 8, 0, 0, 0, 8, 0xff, 0xff}, true)                                                                                         // lengths of nonsense
	f.Add([]byte{0x80, 0x29, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 5, 'x', ':', 'y', 'z', 'w', 0, 0, 0, 0x80, 0x28, 0, 4, 0, 0, 0, 0}, true) // another role and user
	var pool bufpool.Pool
	checks, successes := make(chan netip.AddrPort, 100), make(chan netip.AddrPort, 100)
	mux := NewMux(local, func(b []byte, to netip.AddrPort) error {
		if bytes.HasPrefix(b, []byte{1, 1}) {
			successes <- to
		}
		return nil
	}, &pool)
	var now int64
	mux.clock = func() int64 { now += 1e9; return now } // the ration is not what is tested
	a := NewAgent(Config{Mux: mux, Checked: func(c Check) { checks <- c.From }})
	f.Cleanup(a.Close)
	if err := a.Start(peerUfrag, peerPwd); err != nil {
		f.Fatal(err)
	}
	user := a.Ufrag() + ":" + peerUfrag
	evil := netip.MustParseAddrPort("198.51.100.9:9")
	f.Fuzz(func(t *testing.T, b []byte, named bool) {
		if named {
			m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(user))
			if err != nil || len(b) > 1200 {
				return
			}
			b = append(m.Raw, b...)
			b[2], b[3] = byte((len(b)-stunHeader)>>8), byte(len(b)-stunHeader)
		}
		mux.Deliver(b, evil)
		if v := mux.Deliver(request(t, user, a.Pwd(), false), peer); v != Delivered { // judged after the other: one queue
			t.Fatalf("verdict %d for the peer after %x", v, b)
		}
		late := time.After(10 * time.Second)
		for _, c := range []chan netip.AddrPort{checks, successes} {
			select {
			case who := <-c:
				if who != peer {
					t.Fatalf("taken for a check, or answered with success: %x", b)
				}
			case <-late:
				t.Fatalf("the agent is dead after %x", b)
			}
		}
	})
}
