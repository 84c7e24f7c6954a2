//go:build linux && !portable

package udpio

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// wait lets d pass: it is what is measured here, nothing is hoped to happen meanwhile.
func wait(p *Poller, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		p.Nap(time.Until(end), false)
	}
}

// settled calls try until the kernel stamps at arrival, which it begins to a moment after the first socket of the machine has asked for it.
func settled(t *testing.T, try func() (stamp int64, sent time.Time)) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if stamp, sent := try(); stamp != 0 && stamp <= sent.UnixNano() {
			return
		}
	}
	t.Fatal("the kernel never stamps at arrival")
}

// TestStampIsTheTimeOfArrival: a datagram that has waited in the kernel is stamped with the time at which it came there, not with that of reading.
func TestStampIsTheTimeOfArrival(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			a := netip.MustParseAddr(ip)
			rx, tx, p, r := open(t, a), open(t, a), poller(t), NewReader()
			bufs, msgs := [][]byte{make([]byte, 64), make([]byte, 64), make([]byte, 64)}, make([]Message, 3)
			send := func() (before, after time.Time) {
				t.Helper()
				before = time.Now()
				if err := tx.SendTo([]byte("x"), rx.Local()); err != nil {
					t.Fatal(err)
				}
				return before, time.Now()
			}
			read := func() []Message {
				t.Helper()
				n, err := r.ReadBatch(rx, bufs, msgs)
				if err != nil {
					t.Fatal(err)
				}
				return msgs[:n]
			}
			send()
			if m := read(); len(m) != 1 || m[0].Stamp != 0 {
				t.Fatalf("nobody has asked: %+v", m)
			}
			rx.StampArrivals(true)
			settled(t, func() (int64, time.Time) {
				_, sent := send()
				return read()[0].Stamp, sent
			})
			var from, to [2]time.Time
			for i := range from {
				from[i], to[i] = send()
				wait(p, 10*time.Millisecond)
			}
			got := read()
			if len(got) != 2 {
				t.Fatalf("%d datagrams", len(got))
			}
			for i, m := range got {
				if m.Stamp < from[i].UnixNano() || m.Stamp > to[i].UnixNano() {
					t.Errorf("datagram %d: stamped %v after it was sent, which took %v", i, time.Duration(m.Stamp-from[i].UnixNano()), to[i].Sub(from[i]))
				}
				if m.N != 1 || m.From != tx.Local() {
					t.Errorf("datagram %d: %+v", i, m)
				}
			}
			before, after := send()
			wait(p, 10*time.Millisecond)
			r = NewReader()
			var one Message
			if !r.ReadOne(rx, bufs[0], &one) || one.Stamp < before.UnixNano() || one.Stamp > after.UnixNano() || one.N != 1 || one.From != tx.Local() || one.Truncated {
				t.Errorf("alone: %+v", one)
			}
			if err := tx.SendTo(make([]byte, 65), rx.Local()); err != nil {
				t.Fatal(err)
			}
			if !r.ReadOne(rx, bufs[0], &one) || !one.Truncated {
				t.Errorf("too long: %+v", one)
			}
			if r.ReadOne(rx, bufs[0], &one) {
				t.Errorf("nothing has come: %+v", one)
			}
			rx.StampArrivals(false)
			send()
			if m := read(); len(m) != 1 || m[0].Stamp != 0 {
				t.Errorf("nobody asks any more: %+v", m)
			}
			send()
			if one.Stamp = 1; !r.ReadOne(rx, bufs[0], &one) || one.Stamp != 0 {
				t.Errorf("nobody asks any more, alone: %+v", one)
			}
		})
	}
}

// TestStreamStampIsTheTimeOfArrival is the same for a connection: the stamp is that of the newest segment read.
func TestStreamStampIsTheTimeOfArrival(t *testing.T) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	peer, err := net.DialTCP("tcp4", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStream(c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	p := poller(t)
	if err := p.Add(&s.Socket, 1); err != nil {
		t.Fatal(err)
	}
	send := func() (before, after time.Time) {
		t.Helper()
		before = time.Now()
		if _, err := peer.Write(framed([]byte("hello"))); err != nil {
			t.Fatal(err)
		}
		return before, time.Now()
	}
	fill := func() (packets int) {
		t.Helper()
		waitReady(t, p)
		if !s.Fill() {
			t.Fatal("closed")
		}
		for {
			b, err := s.Next(100)
			if err != nil {
				t.Fatal(err)
			}
			if b == nil {
				return packets
			}
			packets++
		}
	}
	send()
	if n := fill(); n != 1 || s.Stamp != 0 {
		t.Fatalf("nobody has asked: %d packets, stamp %d", n, s.Stamp)
	}
	s.StampArrivals(true)
	settled(t, func() (int64, time.Time) {
		_, sent := send()
		fill()
		return s.Stamp, sent
	})
	send()
	wait(p, 5*time.Millisecond)
	from, to := send()
	wait(p, 10*time.Millisecond)
	if n := fill(); n != 2 || s.Stamp < from.UnixNano() || s.Stamp > to.UnixNano() {
		t.Errorf("%d packets, stamped %v after the second was sent, which took %v", n, time.Duration(s.Stamp-from.UnixNano()), to.Sub(from))
	}
}
