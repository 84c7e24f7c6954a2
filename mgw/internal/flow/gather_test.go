package flow

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestWhatHasBeenReadGoesBeforeCommands: a datagram that was read before a command came is forwarded under the state before it, and nothing is left of it.
func TestWhatHasBeenReadGoesBeforeCommands(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	read := func() {
		b := r.w.reads[r.w.used][:bufferSize]
		r.w.cores = append(r.w.cores, gathered{c: r.c.core, b: r.fill(b, 8), from: sipAddr})
		r.w.used++
	}
	read()
	r.w.post(func() {
		if err := r.c.configure(2, both(Inactive, core.Recv, core.Send, core.SendDTMF)); err != nil {
			t.Error(err)
		}
	})
	r.w.runCommands()
	if r.c.in.packets != 1 || r.a.out.packets != 1 || len(r.w.cores) != 0 {
		t.Errorf("%d packets in, %d out, %d left; dropped %v", r.c.in.packets, r.a.out.packets, len(r.w.cores), r.c.in.drops.Map())
	}
	read()
	r.w.runCommands() // none
	if len(r.w.cores) != 1 {
		t.Error("forwarded without need")
	}
	r.w.forward()
	if r.c.in.drops[gate.Mode] != 1 || r.a.out.packets != 1 {
		t.Errorf("after the command: %d packets out, dropped %v", r.a.out.packets, r.c.in.drops.Map())
	}
	for _, g := range r.w.cores[:cap(r.w.cores)] {
		if g.c != nil || g.b != nil {
			t.Fatal("a termination is held by what has been forwarded")
		}
	}
}

// TestParcelOfCorePeersIsForwardedBeforeMoreIsRead: nothing that has been read waits for the arena.
func TestParcelOfCorePeersIsForwardedBeforeMoreIsRead(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	for i := range parcel {
		b := r.w.reads[r.w.used][:bufferSize]
		r.w.cores = append(r.w.cores, gathered{c: r.c.core, b: r.fill(b, 8), from: sipAddr})
		r.w.used++
		if r.w.sendParcel(); (r.c.in.packets != 0) != (i == parcel-1) {
			t.Fatalf("%d packets forwarded when %d were read", r.c.in.packets, i+1)
		}
	}
	if r.w.used != 0 || r.a.out.packets != parcel || r.w.count.sent.Load() != parcel {
		t.Errorf("%d buffers in use, %d packets out, %d sent", r.w.used, r.a.out.packets, r.w.count.sent.Load())
	}
}
