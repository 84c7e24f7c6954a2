package flow

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// BenchmarkColdRelay is the packet path without a kernel for calls in turns, whose state is not in the caches when its packet comes: rounds of 40 packets,
// half of them each way, and something else in between that goes through the caches as the kernel's work does. ns/packet has all from the round's
// fetching ahead to sending, which fails at once since the sockets are closed.
func BenchmarkColdRelay(b *testing.B) {
	for _, calls := range []int{1, 100, 400, 1000} {
		b.Run(fmt.Sprintf("%d_calls", calls), func(b *testing.B) { coldRelay(b, calls) })
	}
}

func coldRelay(b *testing.B, calls int) {
	const side = 20 // packets of a round each way
	w, sock := newRigWorker(b)
	as := &accessSock{sock: sock, paths: make(map[netip.AddrPort]*path)}
	access, core := relaySettings()
	rigs := make([]*rig, calls)
	cores := make([]*coreState, calls)
	for i := range rigs {
		s, err := udpio.Open(netip.AddrPortFrom(loopback, 0), udpio.Options{})
		if err != nil {
			b.Fatal(err)
		}
		rigs[i] = newRigOn(b, w, as, s, netip.AddrPortFrom(loopback, uint16(1024+i)), srtp.AES128GCM, access, core)
		_ = s.Close()
		cores[i] = rigs[i].c.core
		w.socks = append(w.socks, sockRef{core: cores[i]})
	}
	_ = sock.Close()
	other := make([]uint64, 1<<20) // 8 MiB
	at, sum := 0, uint64(0)
	ins := make([][]byte, side)
	bufs := slab(2 * side)
	keys := make([]uint32, side)
	var spent time.Duration
	now, packets, turn := int64(1), 0, 0
	for b.Loop() {
		w.round++
		for i := range side {
			r := rigs[(turn+i)%calls]
			prot, err := r.peerTx.ProtectRTP(r.fill(bufs[i], 8))
			if err != nil {
				b.Fatal(err)
			}
			ins[i] = prot
			w.msgs[i] = udpio.Message{N: len(prot), From: netip.AddrPortFrom(loopback, uint16(1024+(turn+i)%calls))}
			keys[i] = uint32((turn + i + calls/2) % calls)
			rigs[keys[i]].fill(bufs[side+i], 8)
		}
		for range 1 << 15 { // 256 KiB, a line each eighth
			sum += other[at]
			at = (at + 8) % len(other)
		}
		now += int64(time.Millisecond)
		w.now = now
		if turn = (turn + side) % calls; turn == 0 {
			now += int64(20*time.Millisecond) - int64(time.Millisecond)*int64(max(calls/side, 1))
		}
		start := time.Now()
		w.findPaths(as, side)
		for i := range side {
			w.accessFrom(as, w.found[i], ins[i], w.msgs[i].From)
		}
		for _, k := range keys {
			w.fetchCore(k)
		}
		for _, k := range keys {
			w.fetchBehind(k)
		}
		for i, k := range keys {
			w.cores = append(w.cores, gathered{c: w.socks[k].core, b: bufs[side+i][:rtp.HeaderLen+160], from: sipAddr})
		}
		w.forward()
		queued := udpio.MaxQueue - w.writer.Room()
		w.flush()
		spent += time.Since(start)
		if queued != 2*side {
			b.Fatal(queued, rigs[0].a.in.drops.Map(), rigs[0].c.in.drops.Map())
		}
		packets += 2 * side
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(packets), "ns/packet")
	if sum == 1 {
		b.Fatal("never")
	}
}
