//go:build linux && !portable

package flow

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// TestQueuedPacketsOutliveLaterLooks: in a round that plays frames a core socket is looked at again and again, while what was forwarded after the first look
// is still in its buffers. Each packet arrives, once and in order.
func TestQueuedPacketsOutliveLaterLooks(t *testing.T) {
	const waiting = 20
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	browser, phone := r.sockets()
	if _, err := r.w.watch(r.c.core.rtp, sockRef{core: r.c.core}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, bufferSize)
	for range waiting {
		if err := phone.SendTo(r.fill(buf, 8), r.c.core.rtp.Local()); err != nil {
			t.Fatal(err)
		}
	}
	ready, _, err := r.w.poll.Wait(0, false)
	if err != nil {
		t.Fatal(err)
	}
	r.w.begin()
	c := coder{w: r.w}
	c.pulse.of = &c
	r.w.clock.set(&c.pulse, r.w.now)
	if got := r.w.readAll(ready); got != waiting {
		t.Fatalf("%d of %d datagrams read", got, waiting)
	}
	r.w.flush()
	var m udpio.Message
	n, last := 0, uint16(0)
	for ; r.w.reader.ReadOne(browser, buf, &m); n++ {
		p, err := r.peerRx.OpenRTP(buf[:m.N:bufferSize])
		if err != nil {
			t.Fatalf("packet %d: %v", n, err)
		}
		if seq := rtp.Packet(p).Seq(); n > 0 && seq != last+1 {
			t.Errorf("number %d after %d", seq, last)
		}
		last = rtp.Packet(p).Seq()
	}
	if n != waiting {
		t.Errorf("%d of %d packets arrived", n, waiting)
	}
}

// TestCutDatagramsAreDropped: one that is longer than a buffer is counted and goes nowhere, whichever side it is from, and the next one is taken.
func TestCutDatagramsAreDropped(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	browser, phone := r.sockets()
	as := &accessSock{sock: socket(t), paths: r.a.access.sock.paths, w: r.w}
	for s, ref := range map[*udpio.Socket]sockRef{r.c.core.rtp: {core: r.c.core}, as.sock: {access: as}} {
		if _, err := r.w.watch(s, ref); err != nil {
			t.Fatal(err)
		}
	}
	long := func() []byte {
		b := make([]byte, readSize+1)
		r.fill(b, 8)
		return b
	}
	protect := func(b []byte) []byte {
		b, err := r.peerTx.ProtectRTP(b)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		from       *udpio.Socket
		to         *udpio.Socket
		long, next []byte
		in, out    *term
	}{
		{phone, r.c.core.rtp, long(), r.fill(make([]byte, bufferSize), 8), r.c, r.a},
		{browser, as.sock, protect(long()[:readSize]), protect(r.fill(make([]byte, bufferSize), 8)), r.a, r.c},
	} {
		for i, b := range [][]byte{c.long, c.next} {
			if err := c.from.SendTo(b, c.to.Local()); err != nil {
				t.Fatal(err)
			}
			ready, _, err := r.w.poll.Wait(0, false)
			if err != nil {
				t.Fatal(err)
			}
			r.w.begin()
			if got := r.w.readAll(ready); got != 1 || c.in.in.packets != uint64(i) || c.out.out.packets != uint64(i) {
				t.Errorf("%s, datagram %d: %d read, %d taken, %d leave; dropped %v", c.in.owner.ID(), i, got, c.in.in.packets, c.out.out.packets, c.in.in.drops.Map())
			}
			r.w.flush()
		}
	}
	if n, m := r.c.in.drops[gate.Malformed], r.w.count.stray.Load(); n != 1 || m != 1 {
		t.Errorf("%d and %d counted", n, m)
	}
	if n := r.w.load.urgent; n != 2 {
		t.Errorf("%d packets count as relayed, want both that were", n)
	}
}
