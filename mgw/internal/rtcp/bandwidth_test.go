package rtcp

import (
	"testing"
	"time"
)

// RFC 3556 §2, RFC 3550 §6.3.1: a small share makes reports rarer, a large one never more frequent than the minimum; senders without a share of
// their own use that of receivers (COD-11, TS 26.114: b=RS:0, b=RR:2000).
func TestIQ11_COD11_RFC3556_SharesOfBandwidth(t *testing.T) {
	const second = int64(time.Second)
	for _, c := range []struct {
		name    string
		b       Bandwidth
		sends   bool
		atLeast float64 // mean interval, s
		atMost  float64
	}{
		{"none", Bandwidth{}, true, 4.9, 5.1},
		{"RS:0 RR:2000", Bandwidth{0, 2000}, true, 4.9, 5.1},
		{"RS:0 RR:100", Bandwidth{0, 100}, true, 10, 20},
		{"RS:100 RR:2000", Bandwidth{100, 2000}, true, 10, 20},
		{"RS:100 RR:2000, receiving only", Bandwidth{100, 2000}, false, 4.9, 5.1},
		{"RS:2000 RR:100, receiving only", Bandwidth{2000, 100}, false, 10, 20},
		{"RR:1", Bandwidth{0, 1}, true, 1000, 3600},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := New(0, Config{SSRC: 1, CNAME: "0123456789ab", OutClock: 8000, InClock: 8000})
			if err != nil {
				t.Fatal(err)
			}
			l.SetBandwidth(c.b)
			out := make([]byte, MaxReport)
			var now, first int64
			const reports = 400
			for i := range reports {
				now = l.Due()
				if i == 0 {
					first = now
				}
				if c.sends {
					l.Sent(160)
				}
				l.Build(now, 0, out)
			}
			mean := float64(now-first) / (reports - 1) / float64(second) * compensation // the schedule is shorter by this (RFC 3550 §6.3.1)
			if mean < c.atLeast*0.95 || mean > c.atMost*1.05 {
				t.Errorf("mean interval %.1f s, want %.1f to %.1f", mean, c.atLeast, c.atMost)
			}
		})
	}
}
