//go:build linux && !portable

package udpio

import (
	"net/netip"
	"testing"
)

// BenchmarkArrive is the cost of a datagram of 200 bytes from its sender to its reader, with and without a stamp: many of a shared socket, or one of
// a socket of its own.
func BenchmarkArrive(b *testing.B) {
	for _, tc := range []struct {
		name    string
		many    int
		stamped bool
	}{
		{"64", 64, false}, {"64 stamped", 64, true}, {"one", 1, false}, {"one stamped", 1, true},
	} {
		b.Run(tc.name, func(b *testing.B) {
			var ends [2]*Socket
			for i := range ends {
				s, err := Open(netip.AddrPortFrom(loopback, 0), Options{ReceiveBuffer: 1 << 20})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				ends[i] = s
			}
			rx, tx, r, w := ends[0], ends[1], NewReader(), NewWriter()
			rx.StampArrivals(tc.stamped)
			to, out := tx.Addr(rx.Local()), make([]byte, 200)
			bufs, msgs := make([][]byte, tc.many), make([]Message, tc.many)
			for i := range bufs {
				bufs[i] = make([]byte, 2048)
			}
			for i := 0; i < b.N; i += tc.many {
				for range tc.many {
					w.Queue(tx, &to, out, 0)
				}
				w.Flush()
				if tc.many == 1 {
					if !r.ReadOne(rx, bufs[0], &msgs[0]) {
						b.Fatal("nothing has come")
					}
				} else if n, err := r.ReadBatch(rx, bufs, msgs); err != nil || n != tc.many {
					b.Fatalf("%d datagrams: %v", n, err)
				}
			}
		})
	}
}
