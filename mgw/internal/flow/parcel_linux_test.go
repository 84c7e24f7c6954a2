//go:build linux && !portable

package flow

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// sockets gives the rig a browser and a phone that have sockets.
func (r *rig) sockets() (browser, phone *udpio.Socket) {
	r.t.Helper()
	browser, phone = socket(r.t), socket(r.t)
	r.a.access.check(1, 1, ice.Check{From: browser.Local(), Nominated: true})
	if err := r.c.core.setRemote(0, CoreRemote{RTP: phone.Local()}); err != nil {
		r.t.Fatal(err)
	}
	return browser, phone
}

// TestBacklogLeavesInParcels: of what has gathered during a stall the first packets are with their receivers before the last are read, both ways, and
// all of them arrive in order.
func TestBacklogLeavesInParcels(t *testing.T) {
	const waiting = 3*udpio.MaxBatch + 8 // below maxBursts batches, so that one round reads it
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	browser, phone := r.sockets()
	buf, seq := make([]byte, bufferSize), uint16(0)
	arrived := func(at *udpio.Socket, secure bool) (n int) {
		var m udpio.Message
		for ; r.w.reader.ReadOne(at, buf, &m); n++ {
			b := buf[:m.N:bufferSize]
			if secure {
				var err error
				if b, err = r.peerRx.OpenRTP(b); err != nil {
					t.Fatal(err)
				}
			}
			if p := rtp.Packet(b); seq != 0 && p.Seq() != seq+1 {
				t.Fatalf("number %d after %d", p.Seq(), seq)
			}
			seq = rtp.Packet(b).Seq()
		}
		return n
	}
	round := func(name string, to *udpio.Socket, secure bool, most int) {
		t.Helper()
		for left := waiting; left > 0; { // rounds, each of as many ready sockets as the poller tells of
			ready, _, err := r.w.poll.Wait(0, false)
			if err != nil || ready == 0 {
				t.Fatalf("%s: %d wait and nothing is ready: %v", name, left, err)
			}
			r.w.begin()
			got := r.w.readAll(ready)
			early := arrived(to, secure)
			if got-early > most || got == 0 {
				t.Errorf("%s: of %d packets %d wait for the end of the round, want %d at most", name, got, got-early, most)
			}
			r.w.flush()
			if late := arrived(to, secure); early+late != got {
				t.Errorf("%s: %d of %d arrived", name, early+late, got)
			}
			left -= got
		}
	}

	as := r.a.access.sock
	if _, err := r.w.watch(as.sock, sockRef{access: as}); err != nil {
		t.Fatal(err)
	}
	for range waiting {
		b, err := r.peerTx.ProtectRTP(r.fill(make([]byte, bufferSize), 8))
		if err != nil {
			t.Fatal(err)
		}
		if err := browser.SendTo(b, as.sock.Local()); err != nil {
			t.Fatal(err)
		}
	}
	round("browser to core", phone, false, udpio.MaxBatch)

	seq = 0
	for range waiting { // each on a socket of its own, as calls have it
		c := *r.c.core
		c.rtp = socket(t)
		if _, err := r.w.watch(c.rtp, sockRef{core: &c}); err != nil {
			t.Fatal(err)
		}
		if err := phone.SendTo(r.fill(make([]byte, bufferSize), 8), c.rtp.Local()); err != nil {
			t.Fatal(err)
		}
	}
	round("core to browser", browser, true, udpio.MaxBatch)
}
