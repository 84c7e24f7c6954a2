package rtcp

import "testing"

// Everything that is sent begins with a report and names its source, so that it may go to peers that have not agreed to less (RFC 3550 §6.1, RFC 5506 §3.4.1):
// regular reports, with and without media, extended ones and the last.
func TestR5506_WhatIsSentIsCompound(t *testing.T) {
	for name, setUp := range map[string]func(*Leg){
		"nothing yet": func(*Leg) {},
		"sending":     func(l *Leg) { l.Sent(160) },
		"extended":    func(l *Leg) { l.SetXR(true, true) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := New(0, Config{SSRC: 42, CNAME: "a", OutClock: 8000, InClock: 8000, Reduced: true})
			if err != nil {
				t.Fatal(err)
			}
			setUp(l)
			buf := make([]byte, MaxReport)
			for i := range 4 {
				now := l.Due()
				n := l.Build(now, 0, buf)
				if i == 3 {
					n = l.BuildBye(now, 0, buf)
				}
				var info Info
				if err := Parse(buf[:n], 7, false, &info); err != nil || info.Sender != 42 {
					t.Errorf("report %d: %v, %+v", i, err, info)
				}
				if _, rest, err := split(buf[:n]); err != nil || len(rest) < headLen || rest[1] != typeSDES {
					t.Errorf("report %d: % x, %v", i, buf[:n], err)
				}
			}
		})
	}
}
