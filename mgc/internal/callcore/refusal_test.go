package callcore

import (
	"fmt"
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

func TestMT10_REL01_LossWhileRinging(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"))})
	b.reply()
	b.response("access INVITE", 180, "w1", "")
	b.step(FlowLost{})
	b.has("core 480", `Reason: SIP;cause=480;text="WebSocket lost"`)
	b.response("access INVITE", 487, "w1", "")
	b.done("mgw> Add Add", "access> INVITE", "core> 180", "core> 480", "access> CANCEL", "mgw> Subtract", "ended unreachable")

	b = newBench(t)
	b.invited()
	b.step(Release{Status: 503, Reason: "RELEASE_CAUSE"})
	b.has("access 503", `Reason: SIP;cause=503;text="RELEASE_CAUSE"`)
	b.response("core INVITE", 487, "r1", "")
	b.done("access> 503", "core> CANCEL", "mgw> Subtract", "ended released")
}

// The status, the Reason and its Q.850 cause of the callee reach the caller as they are, those of a CANCEL the callee.
func TestMO15_R3326_StatusAndReasonCross(t *testing.T) {
	for _, status := range []int{404, 486, 503, 603, 380, 305} {
		b := newBench(t)
		b.invited()
		b.response("core INVITE", status, "r1", "", "Reason: Q.850;cause=17")
		b.has(fmt.Sprintf("access %d", status), "Reason: Q.850;cause=17")
		b.done(fmt.Sprintf("access> %d", status), "mgw> Subtract", "ended rejected")
	}
	b := newBench(t)
	b.invited()
	b.response("core INVITE", 180, "r1", "")
	b.log = nil
	c := browser("CANCEL", 1, "")
	c.Set("Reason", `SIP;cause=200;text="elsewhere"`)
	b.step(CancelIn{Leg: LegAccess, Tx: "s1", Msg: &c})
	if b.cancel.Reason != `SIP;cause=200;text="elsewhere"` {
		t.Errorf("Reason of the CANCEL %q", b.cancel.Reason)
	}
	b.response("core INVITE", 487, "r1", "")
	b.done("access> 487", "core> CANCEL", "mgw> Subtract", "ended cancelled")
}

// Offers that cross are refused with 491 on each leg by itself; a request of another dialog is none of this call's.
func TestMO17_GlareOnEachLeg(t *testing.T) {
	b := newBench(t)
	b.establish()
	b.log = nil
	b.step(RequestIn{Leg: LegAccess, Tx: "h1", Msg: hold(3)})
	b.step(RequestIn{Leg: LegCore, Tx: "g1", Msg: b.inFork("INVITE", "r1", "1", coreSDP(2, "10.0.0.8"))})
	b.ladder("core> INVITE", "core> 491")
	b.response("core INVITE", 491, "r1", "")
	b.ladder("access> 491")
	b.step(RequestIn{Leg: LegCore, Tx: "g2", Msg: b.inFork("INVITE", "r9", "2", coreSDP(2, "10.0.0.8"))})
	b.ladder("core> 481")
	b.step(RequestIn{Leg: LegCore, Tx: "g3", Msg: b.inFork("INVITE", "r1", "3", coreSDP(3, "10.0.0.8"))})
	b.ladder("core> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.inFork("ACK", "r1", "3", "")})
	b.hangUp(4)
}
