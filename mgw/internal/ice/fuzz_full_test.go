package ice

import (
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// FuzzResponse gives a full agent what anybody may send in the place of an answer: any octets, or any attributes behind the header of an answer to a check
// that is under way, from the address that was asked. Nothing of it may make a pair valid, be reported, or take the check away.
func FuzzResponse(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false, false)
	f.Add([]byte{0, 8, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}, true, false) // an integrity
	f.Add([]byte{0, 9, 0, 4, 0, 0, 4, 87, 0, 8, 0, 20}, true, true)                                                // 487, and half of one
	f.Add([]byte{0x80, 0x28, 0, 4, 0, 0, 0, 0, 0, 8, 0xff, 0xff}, true, false)
	var pool bufpool.Pool
	mux := NewMux(local, func([]byte, netip.AddrPort) error { return nil }, &pool)
	reported := 0
	a := NewAgent(Config{Mux: mux, Checked: func(Check) { reported++ }})
	f.Cleanup(a.Close)
	if err := a.StartFull(Peer{Ufrag: peerUfrag, Pwd: peerPwd, Controlling: true, Candidates: []Remote{{peer, 5}}}); err != nil {
		f.Fatal(err)
	}
	p := a.full.pairs[0]
	f.Fuzz(func(t *testing.T, b []byte, headed, refusal bool) {
		if headed {
			if len(b) > 1200 {
				return
			}
			head := append([]byte{1, 1, byte(len(b) >> 8), byte(len(b)), 0x21, 0x12, 0xa4, 0x42}, p.tx[:]...)
			if refusal {
				head[1] = 0x11
			}
			b = append(head, b...)
		}
		mux.Deliver(b, peer)
		if p.valid || p.state != inProgress || reported != 0 || mux.Asked() != 1 || !a.Controlling() {
			t.Fatalf("taken for an answer: %x", b)
		}
	})
}
