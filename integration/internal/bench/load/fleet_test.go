package load

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"
)

// echo is a system under test that sends back to each end what the other would send: a goroutine per call that relays plain packets and
// spoils some of them.
type echo struct {
	t     *testing.T
	spoil func(n int, b []byte) []byte // nil result: drop
	wg    sync.WaitGroup
	conns []*net.UDPConn
	mu    sync.Mutex // guards conns
}

func (e *echo) connect(_ context.Context, o Offer) (Answer, error) {
	var ends [2]*net.UDPConn
	for i := range ends {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return Answer{}, err
		}
		ends[i] = c
		e.mu.Lock()
		e.conns = append(e.conns, c)
		e.mu.Unlock()
	}
	relay := func(from, to *net.UDPConn, dst netip.AddrPort, change int) {
		buf := make([]byte, 2048)
		for n := 0; ; n++ {
			size, err := from.Read(buf)
			if err != nil {
				return
			}
			b := make([]byte, size+change)
			copy(b, buf[:size])
			if b = e.spoil(n, b); b != nil {
				_, _ = to.WriteToUDPAddrPort(b, dst)
			}
		}
	}
	e.wg.Go(func() { relay(ends[0], ends[1], o.Core, -srtpTag) })
	e.wg.Go(func() { relay(ends[1], ends[0], o.Browser, srtpTag) })
	addr := func(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
	return Answer{Access: addr(ends[0]), Core: addr(ends[1])}, nil
}

func (e *echo) close() {
	for _, c := range e.conns {
		_ = c.Close()
	}
	e.wg.Wait()
}

// through runs a small fleet through e.
func through(t *testing.T, spoil func(n int, b []byte) []byte) Window {
	t.Helper()
	e := &echo{t: t, spoil: spoil}
	defer e.close()
	f, err := New(t.Context(), Options{Calls: 3, Plain: true, Material: material, Connect: e.connect})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	used := time.Duration(0)
	w, err := f.Run(0, 600*time.Millisecond, func() (time.Duration, error) { used += time.Second; return used, nil })
	if err != nil {
		t.Fatal(err)
	}
	if w.Used != time.Second || w.Own <= 0 || w.Length != 600*time.Millisecond {
		t.Errorf("window %+v", w)
	}
	return w
}

func TestWindowCountsWhatArrives(t *testing.T) {
	w := through(t, func(_ int, b []byte) []byte { return b })
	for d, c := range w.Counts {
		// 600 ms of 3 calls at 50 packets per second.
		if c.Sent != 90 || c.Unsent != 0 || c.Repeated != 0 || c.Wrong != 0 || c.Delivered != 90 {
			t.Errorf("%s: %+v", Direction(d), c)
		}
	}
	if w.Delays.P50 <= 0 || w.Delays.P99 < w.Delays.P50 || w.Share() != 1 {
		t.Errorf("delays %+v, share %.2f", w.Delays, w.Share())
	}
}

func TestWindowSeesLossAndDamage(t *testing.T) {
	w := through(t, func(n int, b []byte) []byte {
		switch n % 10 {
		case 0, 5:
			return nil
		case 3:
			b[100] ^= 0x10
		}
		return b
	})
	for d, c := range w.Counts {
		if share := float64(c.Delivered) / float64(c.Sent); share < 0.6 || share > 0.8 {
			t.Errorf("%s: %.2f arrived of %+v, want 0.7", Direction(d), share, c)
		}
		if c.Wrong < 5 || c.Wrong > 13 {
			t.Errorf("%s: %d wrong, want 9", Direction(d), c.Wrong)
		}
	}
}

func TestFailedSetUpLeavesNothingAndTellsTheCall(t *testing.T) {
	no := errors.New("no port left")
	_, err := New(t.Context(), Options{Calls: 20, Plain: true, Material: material, Connect: func(_ context.Context, o Offer) (Answer, error) {
		if o.Call == 11 {
			return Answer{}, no
		}
		return Answer{Access: o.Core, Core: o.Browser}, nil
	}})
	if !errors.Is(err, no) || !strings.Contains(err.Error(), "call 11") {
		t.Errorf("%v", err)
	}
}

func TestMeterFailureEndsTheWindow(t *testing.T) {
	e := &echo{t: t, spoil: func(_ int, b []byte) []byte { return b }}
	defer e.close()
	f, err := New(t.Context(), Options{Calls: 1, Plain: true, Material: material, Connect: e.connect})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gone := errors.New("no such process")
	if _, err := f.Run(0, time.Second, func() (time.Duration, error) { return 0, gone }); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}

// Every browser end asks for consent at least once per Run, however short that is: runs are minutes apart when several systems take turns.
func TestEveryRunRefreshesAllConsents(t *testing.T) {
	listener, err := openSocket(0)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.close()
	f := &Fleet{o: Options{Calls: 30, Material: material}, began: time.Now()}
	for i := range f.o.Calls {
		b := browser{ice: newPeer()}
		if b.socket, err = openSocket(0); err != nil {
			t.Fatal(err)
		}
		defer b.socket.close()
		b.ice.remoteUfrag, b.ice.remotePwd = "abcd", "0123456789012345678901"
		b.aim(listener.local)
		f.calls = append(f.calls, &call{index: i, browser: b, material: material})
	}
	asked := map[string]bool{}
	r := &runner{f: f, warm: int64(restart)}
	for at := int64(0); at < int64(restart+time.Second); at += int64(slot) {
		r.base = time.Now().Add(-time.Duration(at)) // as if it were then
		r.refresh()
		var buf [256]byte
		for n := listener.receive(buf[:]); n > 0; n = listener.receive(buf[:]) {
			m := &stun.Message{Raw: append([]byte(nil), buf[:n]...)}
			var name stun.Username
			if err := m.Decode(); err != nil || name.GetFrom(m) != nil {
				t.Fatalf("no check: %v", err)
			}
			asked[name.String()] = true
		}
		if at < int64(restart)/2 && r.consent > f.o.Calls*3/4 {
			t.Fatalf("%d checks in the first half of the warm-up: not spread", r.consent)
		}
	}
	if len(asked) != f.o.Calls {
		t.Errorf("%d of %d calls asked", len(asked), f.o.Calls)
	}
	if r.consent > f.o.Calls+10 {
		t.Errorf("%d checks: one call asks more than once in 5 s", r.consent)
	}
}

// TestPauseIsOneOfTheClockToo: whatever the pause between two windows, a timestamp says when its packet leaves.
func TestPauseIsOneOfTheClockToo(t *testing.T) {
	f := &Fleet{began: time.Unix(1000, 0)}
	for _, pause := range []time.Duration{0, 1, frameTime - 1, frameTime, frameTime + 1, 12345678 * time.Microsecond} {
		now := f.began.Add(pause)
		base, clock := f.goOn(now)
		if wait := base.Sub(now); wait < 0 || wait >= frameTime {
			t.Errorf("after %v the stream goes on %v later", pause, wait)
		}
		if shift := base.Sub(f.began) - time.Duration(clock)*frameTime; shift != 0 {
			t.Errorf("after %v it is %v off its clock", pause, shift)
		}
	}
}
