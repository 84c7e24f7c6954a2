package udpio

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

func open(t *testing.T, a netip.Addr) *Socket {
	t.Helper()
	s, err := Open(netip.AddrPortFrom(a, 0), Options{ReceiveBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func poller(t *testing.T) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// waitReady polls until a socket is ready.
func waitReady(t *testing.T, p *Poller) uint32 {
	t.Helper()
	end := time.Now().Add(5 * time.Second)
	for time.Now().Before(end) {
		n, _, err := p.Wait(100*time.Millisecond, false)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return p.Ready(0)
		}
	}
	t.Fatal("no socket became ready")
	return 0
}

func TestBatchKeepsOrderSourceAndLength(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			a := netip.MustParseAddr(ip)
			rx, tx1, tx2 := open(t, a), open(t, a), open(t, a)
			p := poller(t)
			if err := p.Add(rx, 7); err != nil {
				t.Fatal(err)
			}
			w := NewWriter()
			to1, to2 := tx1.Addr(rx.Local()), tx2.Addr(rx.Local())
			const count = 100 // more than one batch
			for i := range count {
				w.Queue(tx1, &to1, fmt.Appendf(nil, "a%d", i), 0)
			}
			w.Queue(tx2, &to2, []byte("single"), 0)
			if got := w.Flush(); got != count+1 {
				t.Fatalf("sent %d", got)
			}
			if k := waitReady(t, p); k != 7 {
				t.Fatalf("key %d", k)
			}
			r := NewReader()
			bufs := make([][]byte, MaxBatch)
			for i := range bufs {
				bufs[i] = make([]byte, 64)
			}
			msgs := make([]Message, MaxBatch)
			next, single := 0, 0
			for {
				n, err := r.ReadBatch(rx, bufs, msgs)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				for i := range n {
					text := string(bufs[i][:msgs[i].N])
					switch msgs[i].From {
					case tx1.Local():
						if want := fmt.Sprintf("a%d", next); text != want {
							t.Fatalf("got %q, want %q", text, want)
						}
						next++
					case tx2.Local():
						single++
					default:
						t.Fatalf("source %v", msgs[i].From)
					}
				}
			}
			w.Queue(tx1, &to1, []byte("again"), 0)
			w.Queue(tx2, &to2, []byte("again"), 0)
			if got := w.Flush(); got != 2 {
				t.Errorf("second flush sent %d", got)
			}
			if w.Flush() != 0 || w.Room() != MaxQueue {
				t.Error("queue is not empty after Flush")
			}
			if next != count || single != 1 {
				t.Errorf("received %d and %d", next, single)
			}
		})
	}
}

func TestReadOneAndTruncation(t *testing.T) {
	rx, tx := open(t, loopback), open(t, loopback)
	p := poller(t)
	if err := p.Add(rx, 1); err != nil {
		t.Fatal(err)
	}
	r := NewReader()
	var m Message
	buf := make([]byte, 8)
	if r.ReadOne(rx, buf, &m) {
		t.Fatal("read from an empty socket")
	}
	if err := tx.SendTo([]byte("12345678"), rx.Local()); err != nil {
		t.Fatal(err)
	}
	if err := tx.SendTo([]byte("123456789"), rx.Local()); err != nil {
		t.Fatal(err)
	}
	waitReady(t, p)
	if !r.ReadOne(rx, buf, &m) || m.Truncated || m.N != 8 || m.From != tx.Local() {
		t.Errorf("first: %+v", m)
	}
	waitReady(t, p)
	if !r.ReadOne(rx, buf, &m) || !m.Truncated {
		t.Errorf("second: %+v, want truncated", m)
	}
}

func TestWakeFromAnotherGoroutine(t *testing.T) {
	p := poller(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Wake()
	}()
	_, woken, err := p.Wait(5*time.Second, false)
	<-done
	if err != nil || !woken {
		t.Fatalf("woken %v, err %v", woken, err)
	}
	if _, woken, _ = p.Wait(0, false); woken {
		t.Error("one wake counted twice")
	}
}

func TestWaitTimesOut(t *testing.T) {
	p := poller(t)
	start := time.Now()
	n, woken, err := p.Wait(2*time.Millisecond, false)
	if n != 0 || woken || err != nil {
		t.Fatalf("%d %v %v", n, woken, err)
	}
	if d := time.Since(start); d < 2*time.Millisecond {
		t.Errorf("returned after %v", d)
	}
}

func TestAddrOfOtherFamilyIsZero(t *testing.T) {
	s := open(t, loopback)
	a := s.Addr(netip.MustParseAddrPort("[::1]:5000"))
	if !a.IsZero() {
		t.Error("IPv6 destination on an IPv4 socket")
	}
	b := s.Addr(netip.MustParseAddrPort("[::ffff:127.0.0.1]:5000"))
	if b.IsZero() {
		t.Error("mapped IPv4 destination refused")
	}
}

func TestSendOnClosedSocket(t *testing.T) {
	s, err := Open(netip.AddrPortFrom(loopback, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.SendTo([]byte("x"), netip.AddrPortFrom(loopback, 9)); !errors.Is(err, ErrClosed) {
		t.Errorf("err %v", err)
	}
}
