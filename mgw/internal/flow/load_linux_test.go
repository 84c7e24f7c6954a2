//go:build linux

package flow

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
)

// loadCall is one call of the load: its terminations and the sockets of both peers, already keyed.
type loadCall struct {
	a    *Access
	c    *Core
	b, s *udpio.Socket
	toA  udpio.Addr
	toC  udpio.Addr
	tx   *srtp.Sender
	seq  uint16
	bufs [2][bufferSize]byte
}

func newLoadCall(b testing.TB, e *Engine, i int) *loadCall {
	b.Helper()
	x := &loadCall{}
	var err error
	if x.a, err = e.NewAccess(AccessSpec{ID: fmt.Sprint("a", i), Realm: "access"}); err != nil {
		b.Fatal(err)
	}
	if x.c, err = e.NewCore(CoreSpec{ID: fmt.Sprint("c", i), Realm: "core", Near: x.a}); err != nil {
		b.Fatal(err)
	}
	for _, s := range []**udpio.Socket{&x.b, &x.s} {
		if *s, err = udpio.Open(netip.AddrPortFrom(loopback, 0), udpio.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	spec := relaySpec()
	for _, err := range []error{x.a.Configure(spec.access), x.c.Configure(spec.core), e.Connect(x.a, x.c), x.c.SetRemote(CoreRemote{RTP: x.s.Local()})} {
		if err != nil {
			b.Fatal(err)
		}
	}
	ours, _ := srtp.ExportKeys(fixedKeys{}, srtp.AES128GCM, false)
	theirs, _ := srtp.ExportKeys(fixedKeys{}, srtp.AES128GCM, true)
	tx, rx, err := srtp.NewPair(srtp.AES128GCM, ours)
	if err != nil {
		b.Fatal(err)
	}
	x.tx, _, _ = srtp.NewPair(srtp.AES128GCM, theirs)
	x.a.w.do(func() {
		x.a.s.check(x.a.w.now, 1, ice.Check{From: x.b.Local(), Nominated: true})
		x.a.s.t.out.tx, x.a.s.t.in.rx = tx, rx
	})
	x.toA = x.b.Addr(netip.AddrPortFrom(loopback, x.a.locals[0].Port))
	x.toC = x.s.Addr(x.c.Local().RTP)
	return x
}

// send queues one packet each way; the payload holds the time of sending.
func (x *loadCall) send(w *udpio.Writer, now int64) {
	x.seq++
	for i, s := range [2]*udpio.Socket{x.b, x.s} {
		p := x.bufs[i][:rtp.HeaderLen+160]
		rtp.PutHeader(p, rtp.Header{PT: 8, Seq: x.seq, TS: uint32(x.seq) * 160, SSRC: 9})
		binary.BigEndian.PutUint64(p[rtp.HeaderLen:], uint64(now))
		if s == x.b {
			p, _ = x.tx.ProtectRTP(p)
			w.Queue(s, &x.toA, p, 0)
		} else {
			w.Queue(s, &x.toC, p, 0)
		}
	}
}

// BenchmarkLoopback relays calls at 50 packets per second and direction through real sockets and reports the worker thread's CPU per
// relayed packet, and the delay that the core side sees, kernel included.
func BenchmarkLoopback(b *testing.B) {
	for _, calls := range []int{10, 100, 400} {
		b.Run(fmt.Sprintf("%d_calls", calls), func(b *testing.B) { loopbackLoad(b, calls) })
	}
}

func loopbackLoad(b *testing.B, calls int) {
	low, high := freeports.UDPRange(b, calls)
	e, err := New(Config{
		Workers: 1,
		Access:  []AccessRealm{{Name: "access", Listen: loopback}},
		Core:    []CoreRealm{{Name: "core", Listen: loopback, PortMin: low, PortMax: high}},
	})
	if err != nil {
		b.Fatal(err)
	}
	all := make([]*loadCall, calls)
	for i := range all {
		all[i] = newLoadCall(b, e, i)
	}
	var wg sync.WaitGroup
	var stop atomic.Bool
	var delays []int64
	base := time.Now()
	wg.Go(func() { delays = drain(b, all, base, &stop) })

	before, c0 := threadCPU(e), e.Counters()
	const rounds = 150 // 3 s
	w := udpio.NewWriter()
	tick := time.NewTicker(time.Millisecond)
	b.ResetTimer()
	for slot := range rounds * 20 {
		<-tick.C
		for i := slot % 20; i < calls; i += 20 {
			all[i].send(w, int64(time.Since(base)))
		}
		w.Flush()
	}
	tick.Stop()
	b.StopTimer()
	cpu, c1 := threadCPU(e)-before, e.Counters()
	stop.Store(true)
	wg.Wait()
	packets := c1.PacketsReceived - c0.PacketsReceived
	slices.Sort(delays)
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(packets), "cpu-ns/packet")
	b.ReportMetric(float64(packets)/float64(c1.WakeUps-c0.WakeUps), "packets/wakeup")
	b.ReportMetric(float64(delays[len(delays)/2])/1e3, "delay-us-p50")
	b.ReportMetric(float64(delays[len(delays)*99/100])/1e3, "delay-us-p99")
	b.ReportMetric(float64(packets)/float64(2*rounds*calls)*100, "%delivered")
	b.ReportMetric(0, "ns/op")
	for _, x := range all {
		_ = x.b.Close()
		_ = x.s.Close()
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}

// drain reads what the peers get and returns the delays on the core side, ns.
func drain(b *testing.B, all []*loadCall, base time.Time, stop *atomic.Bool) []int64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := udpio.NewPoller()
	if err != nil {
		b.Error(err)
		return nil
	}
	defer func() { _ = p.Close() }()
	for i, x := range all {
		for j, s := range []*udpio.Socket{x.b, x.s} {
			if err := p.Add(s, uint32(2*i+j)); err != nil {
				b.Error(err)
			}
		}
	}
	r := udpio.NewReader()
	buf := make([]byte, 2048)
	var m udpio.Message
	var delays []int64
	for !stop.Load() {
		n, _, err := p.Wait(10*time.Millisecond, false)
		if err != nil {
			b.Error(err)
			return delays
		}
		now := int64(time.Since(base))
		for i := range n {
			k := p.Ready(i)
			x := all[k/2]
			s := x.b
			if k%2 == 1 {
				s = x.s
			}
			for r.ReadOne(s, buf, &m) {
				if k%2 == 1 && buf[1] == 8 {
					delays = append(delays, now-int64(binary.BigEndian.Uint64(buf[rtp.HeaderLen:])))
				}
			}
		}
	}
	return delays
}

// threadCPU is the CPU time of the first worker's thread.
func threadCPU(e *Engine) (d time.Duration) {
	e.workers[0].do(func() {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err == nil {
			d = time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	})
	return d
}
