package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// TestR8445_4_ReportsHoldThePathsOpen: in a call on hold, where no media passes for ten minutes, something leaves for either peer every 15 s at
// most (RFC 8445 §11), so that NATs and gates on the way stay open; towards the browser only as long as it consents.
func TestR8445_4_ReportsHoldThePathsOpen(t *testing.T) {
	access, core := relaySettings()
	access.Mode, core.Mode = Inactive, Inactive
	r := newRig(t, srtp.AES128GCM, access, core)
	var last, sent [2]int64
	now := int64(1)
	count := func(i int, x *term) {
		if n := int64(x.leg.Statistics().ReportsSent); n > sent[i] {
			sent[i], last[i] = n, now
		}
		if now-last[i] > int64(15*time.Second) {
			t.Fatalf("nothing to peer %d for %v", i, time.Duration(now-last[i]))
		}
	}
	for now < int64(10*time.Minute) {
		now += int64(sweepEvery)
		r.a.access.check(now, 1, ice.Check{From: browserAddr})
		r.a.sweep(now)
		r.c.sweep(now)
		r.w.flush()
		count(0, r.a)
		count(1, r.c)
	}
	if sent[0] < 60 || sent[1] < 60 {
		t.Errorf("%d reports in ten minutes", sent)
	}
	before := sent[0]
	for range 10 * 60 * 5 {
		now += int64(sweepEvery)
		r.a.sweep(now)
		r.w.flush()
	}
	if n := int64(r.a.leg.Statistics().ReportsSent) - before; n > 20 {
		t.Errorf("%d reports without consent, want those of its last 30 s", n)
	}
}
