package flow

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestForgedControlOfTheBrowser: RTCP counts from a validated pair only, and only what its keys protect: neither before there are keys nor without them.
func TestForgedControlOfTheBrowser(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	report := func(lost byte) []byte { return lossReport(0xbb, r.a.out.stamp.SSRC(), lost) }
	sealed, err := r.peerTx.ProtectRTCP(report(64))
	if err != nil {
		t.Fatal(err)
	}
	as, keys := r.a.access.sock, r.a.in.rx
	r.w.accessPacket(as, append(make([]byte, 0, 128), sealed...), sipAddr) // repeated by a stranger
	if n := r.a.leg.RemoteLoss(); n != 0 || r.w.count.stray.Load() != 1 {
		t.Errorf("from an address without a check: loss of %d %%, %d strays", n, r.w.count.stray.Load())
	}
	r.w.accessPacket(as, report(128), browserAddr)
	r.a.in.rx = nil
	r.w.accessPacket(as, report(128), browserAddr)
	r.a.in.rx = keys
	if n := r.a.leg.RemoteLoss(); n != 0 || r.a.in.drops[gate.Unauthenticated] != 2 {
		t.Errorf("without keys: loss of %d %%, refused %v", n, r.a.in.drops.Map())
	}
	r.w.accessPacket(as, sealed, browserAddr)
	if n := r.a.leg.RemoteLoss(); n != 25 {
		t.Errorf("the peer's own: loss of %d %%", n)
	}
}
