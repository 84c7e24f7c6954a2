package flow

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestDTLSOnAnotherValidPairMovesNothing: once a pair is selected, answers go over that one, whichever valid pair a datagram came on.
func TestDTLSOnAnotherValidPairMovesNothing(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	s := r.a.access
	s.link = dtls.NewLink(testPool, func([]byte) error { return nil })
	t.Cleanup(func() { _ = s.link.Close() })
	s.check(2, 1, checkFrom(sipAddr)) // valid, not nominated
	r.w.accessPacket(s.sock, append(make([]byte, 0, 128), 22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), sipAddr)
	if n := r.w.count.stray.Load(); n != 0 {
		t.Errorf("%d strays", n)
	}
	if to := *s.peer.Load(); to != browserAddr {
		t.Errorf("DTLS goes to %s", to)
	}
}
