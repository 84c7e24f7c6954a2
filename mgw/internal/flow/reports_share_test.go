package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestIQ11_RFC3556_ShareOfThePeersDescription: what the peer's description allots to RTCP is what its reports keep to, from when it is told on.
func TestIQ11_RFC3556_ShareOfThePeersDescription(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	const now = int64(time.Minute)
	next := func() time.Duration {
		r.c.leg.Build(now, 0, make([]byte, bufferSize))
		return time.Duration(r.c.leg.Due() - now)
	}
	const latest = 7 * time.Second // 1.5 times the usual interval, less the compensation of RFC 3550 §6.3.1
	if d := next(); d > latest {
		t.Errorf("without a share the next report is due after %v", d)
	}
	core.RTCPShare = rtcp.Bandwidth{Senders: 50, Receivers: 50} // bit/s: a report of 100 octets takes 16 s, and half of it is ours
	if err := r.c.configure(now, core); err != nil {
		t.Fatal(err)
	}
	if d := next(); d <= latest {
		t.Errorf("with 50 bit/s the next report is due after %v", d)
	}
	core.RTCPShare = rtcp.Bandwidth{}
	if err := r.c.configure(now, core); err != nil {
		t.Fatal(err)
	}
	if d := next(); d > latest {
		t.Errorf("after the share has gone the next report is due after %v", d)
	}
}
