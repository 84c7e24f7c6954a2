package flow

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestInjectionIntoStreams is TestInjectionMatrix for an access termination of two streams: beside all that it does there, the stranger names streams and
// sources in what it forges: in packets and source descriptions, of streams that there are and of none, with the peer's sources and many of its own. No
// source is bound or moved, neither stream hears or says anything else, and each refusal is counted once, with the transport.
func TestInjectionIntoStreams(t *testing.T) {
	x := newStreamed(t, 2, func(i int, s *Settings) {
		if i == 0 {
			s.Source = 0xbb
		}
	})
	x.c, x.s = x.cores[0], x.sips[0]
	i := newIntruder(t, x.call)
	i.seq = 65530
	i.evil = newPeerCrypto(t, x.c.Local(), srtp.Profiles[0].Suite(), 66)
	i.p = newPeerCrypto(t, x.c.Local(), srtp.Profiles[0].Suite(), 1)
	second := x.ends[1].(*AccessStream)
	others := func() (s string) {
		x.a.w.do(func() {
			for _, b := range x.a.s.bound {
				s += fmt.Sprintf("%x of stream %d, ", b.ssrc, b.t.number)
			}
			s += fmt.Sprintf("named %q %q, ", x.a.s.t.out.mid, second.t.out.mid)
		})
		u := second.Stats()
		return s + fmt.Sprint(u.PacketsReceived, u.PacketsSent, u.Dropped, u.RemoteLossPermille, u.SelectedPair)
	}
	own := uint32(0x1000)
	i.also = func(string) (n uint64) {
		for _, mid := range []string{"0", "1", "nobody"} {
			for _, ssrc := range []uint32{0xbb, 0xb1, own} {
				own++
				media := withMID(mid, packet(8, ssrc, i.seq+1, uint32(i.seq+1)*160, bytes.Repeat([]byte{mark}, 160)))
				sdes := []byte{0x80, 201, 0, 1, 0, 0, byte(ssrc >> 8), byte(ssrc), 0x81, 202, 0, 2, 0, 0, byte(ssrc >> 8), byte(ssrc), 15, 1, mid[0], 0}
				for _, b := range [][]byte{media, i.evil.protect(media), sdes} {
					write(t, i.away, b, i.accessAddr())
					write(t, i.beside, b, i.accessAddr())
					if _, err := i.b.conn.Write(b); err != nil { // the browser's address, not its keys
						t.Fatal(err)
					}
					n += 3
				}
			}
		}
		return n
	}
	attack := func(when string) {
		t.Helper()
		before := others()
		i.attack(when)
		if after := others(); after != before {
			t.Fatalf("%s: a stranger moves a stream:\n%s\n%s", when, before, after)
		}
	}
	both := func(named bool) {
		t.Helper()
		i.seq++
		x.bothWays(i.seq, named)
	}
	attack("before the first packet")
	i.talk("first packets")
	both(true)
	attack("in the call")
	both(false)
	i.talk("in the call")

	held := relaySpec().access
	held.MID, held.MIDExt, held.Mode = "1", midExt, Inactive
	x.configure(second, held)
	attack("line 2 on hold")
	i.talk("line 2 on hold")
	held.Mode = SendRecv
	x.configure(second, held)
	attack("line 2 resumed")
	both(false)

	if _, err := x.a.NewStream(StreamSpec{Stream: 3}); err != nil {
		t.Fatal(err)
	}
	attack("another line has come, of which nothing is known yet")
	both(false)
	x.restart()
	attack("another association by another pair")
	both(false)
	second.Close()
	attack("line 2 has ended")
	i.talk("line 2 has ended")
}
