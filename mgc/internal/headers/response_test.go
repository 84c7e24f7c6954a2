package headers

import (
	"slices"
	"testing"
)

// TestRFC3261_12_1_1_RecordRouteComesBack: a response that may make a dialog has the route set of its request, in order; no other has.
func TestRFC3261_12_1_1_RecordRouteComesBack(t *testing.T) {
	req := Msg{Method: "INVITE", RequestURI: "sip:alice@gw.example"}
	for _, f := range [][2]string{{"Via", "SIP/2.0/UDP p.example;branch=z9hG4bK1"}, {"Record-Route", "<sip:p2.example;lr>, <sip:p1.example;lr>"},
		{"Record-Route", "<sip:p0.example;lr>"}, {"From", "<sip:b@x.example>;tag=1"}, {"To", "<sip:a@x.example>"}, {"Call-ID", "c"}, {"CSeq", "1 INVITE"}} {
		req.Add(f[0], f[1])
	}
	want := []string{"<sip:p2.example;lr>", "<sip:p1.example;lr>", "<sip:p0.example;lr>"}
	for status, has := range map[int]bool{100: false, 180: true, 183: true, 200: true, 302: false, 486: false} {
		resp := NewResponse(&req, status, "")
		if got := List(&resp, "Record-Route"); has && !slices.Equal(got, want) || !has && len(got) > 0 {
			t.Errorf("%d has Record-Route %q", status, got)
		}
	}
}
