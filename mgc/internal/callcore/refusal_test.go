package callcore

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Extensions that are not understood are refused in a dialog as outside of one, and the call goes on.
func TestRFC3261_8_2_2_3_RequireInDialog(t *testing.T) {
	b := newBench(t)
	b.establish()
	for i, method := range []string{"INFO", "INVITE"} {
		m := browser(method, 3+i, browserOffer)
		m.Add("Require", "nothing-known, another")
		b.step(RequestIn{Leg: LegAccess, Tx: "r" + method, Msg: m})
		if b.final["r"+method] != 1 || b.field("access 420", "Unsupported") != "nothing-known, another" {
			t.Errorf("%s: %v, Unsupported %q", method, b.final, b.field("access 420", "Unsupported"))
		}
	}
	if b.s.Ended() {
		t.Error("the call has ended")
	}
}

func TestRFC3261_8_2_3_BodyOfAnotherType(t *testing.T) {
	b := newBench(t)
	m := browser("INVITE", 1, browserOffer)
	m.Set("Content-Type", "application/isup")
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: m})
	b.done("access> 415", "ended refused")
	if got := b.field("access 415", "Accept"); got != "application/sdp" {
		t.Errorf("Accept %q", got)
	}
	if headers.ReasonPhrase(415) == "" {
		t.Error("415 has no reason phrase")
	}
}
