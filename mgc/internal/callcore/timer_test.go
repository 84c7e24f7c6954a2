package callcore

import (
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// timedCall is a call of the browser whose core side has a session of 1800 s that we refresh.
func timedCall(t *testing.T, allow string) *bench {
	b := timers(t)
	b.invited()
	b.response("core INVITE", 200, "r1", coreSDP(1, "10.0.0.7"), "Session-Expires: 1800;refresher=uac", "Allow: "+allow)
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.log = nil
	return b
}

func hold(seq int) headers.Msg {
	return browser("INVITE", seq, strings.Replace(strings.Replace(browserOffer, "a=sendrecv", "a=sendonly", 1), "4611 2", "4611 3", 1))
}

func TestMO13_R4028_422ToAReinvite(t *testing.T) {
	b := timedCall(t, "INVITE")
	b.step(RequestIn{Leg: LegAccess, Tx: "h1", Msg: hold(3)})
	first := string(b.last["core INVITE"].Body)
	b.response("core INVITE", 422, "r1", "", "Min-SE: 3600")
	b.ladder("core> INVITE", "core> INVITE") // again, not a 422 to the browser
	b.has("core INVITE", "Session-Expires: 3600;refresher=uac", "Min-SE: 3600")
	if again := string(b.last["core INVITE"].Body); again != first {
		t.Errorf("the repeated offer differs:\n%s\n%s", first, again)
	}
	b.response("core INVITE", 200, "r1", coreSDP(2, "10.0.0.7", "a=recvonly"), "Session-Expires: 3600;refresher=uac")
	b.ladder("core> ACK", "access> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 3, "")})
	b.hangUp(4)
}

// A refresh by re-INVITE repeats what is agreed, not an offer that was refused.
func TestMO13_R4028_RefreshRepeatsWhatIsAgreed(t *testing.T) {
	b := timedCall(t, "INVITE")
	b.step(RequestIn{Leg: LegAccess, Tx: "h1", Msg: hold(3)})
	b.has("core INVITE", "a=sendonly")
	b.response("core INVITE", 488, "r1", "")
	b.ladder("core> INVITE", "access> 488")
	b.step(TimerFired{Name: timerRefresh(LegCore)})
	b.has("core INVITE", "a=sendrecv")
	d, err := sdp.Parse(b.last["core INVITE"].Body)
	if err != nil || d.Origin.Version != 3 {
		t.Errorf("o= version of a description that differs from the one refused: %v %v", d.Origin, err)
	}
	b.response("core INVITE", 200, "r1", coreSDP(1, "10.0.0.7"), "Session-Expires: 1800;refresher=uac")
	b.ladder("core> INVITE", "core> ACK")
	b.hangUp(4)
}

// The peer uses the refresh to give its events another payload type, and nothing else.
func TestMO13_R4028_RefreshChangesTheEventFormat(t *testing.T) {
	b := timedCall(t, "INVITE")
	b.step(TimerFired{Name: timerRefresh(LegCore)})
	b.response("core INVITE", 200, "r1", strings.ReplaceAll(coreSDP(2, "10.0.0.7"), "101", "96"), "Session-Expires: 1800;refresher=uac")
	b.ladder("core> INVITE", "core> ACK", "mgw> Modify Modify")
	if got := b.iq.String(); !strings.Contains(got, "payload_type:96") {
		t.Errorf("the MGW is not told: %s", got)
	}
	b.reply()
	b.response("core INVITE", 200, "r1", coreSDP(2, "10.0.0.7"))
	b.ladder("core> ACK")
	b.hangUp(3)
}

func TestMO13_R4028_RefreshOfTheBrowsersDialogByReinvite(t *testing.T) {
	b := newBench(t)
	m := browser("INVITE", 1, browserOffer)
	m.Set("Supported", "timer")
	m.Set("Session-Expires", "90;refresher=uas")
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: m})
	b.reply()
	b.callee(200, coreSDP(1, "10.0.0.7"))
	b.has("access 200", "Session-Expires: 90;refresher=uas")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.log = nil
	b.step(TimerFired{Name: timerRefresh(LegAccess)})
	b.ladder("access> INVITE")
	b.has("access INVITE", "a=setup:actpass", "Session-Expires: 90;refresher=uac") // RFC 8842 §5.2: in every offer
	b.response("access INVITE", 488, "f1", "")
	if left := b.s.Timers()[timerRefresh(LegAccess)].Sub(b.now); left < 25*time.Second || left > 35*time.Second {
		t.Errorf("once more in %v", left)
	}
	b.step(TimerFired{Name: timerExpire(LegAccess)})
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended expired")
}

func TestR4028_WhoKnowsNoTimerIsNotRefusedForIt(t *testing.T) {
	b := timers(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Session-Expires: 60")}) // a proxy's
	b.reply()
	b.ladder("mgw> Add Add", "access> INVITE")
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.has("core 200", "Session-Expires: 60;refresher=uas", "!Require")
}

// An offer that is refused refreshes nothing.
func TestR4028_RefusedReinviteIsNoRefresh(t *testing.T) {
	b := timedCall(t, "INVITE, UPDATE")
	before := b.s.Timers()[timerExpire(LegCore)]
	b.step(RequestIn{Leg: LegCore, Tx: "x1", Msg: b.inFork("INVITE", "r1", "1", coreSDP(2, "10.0.0.7", "a=sendonly"), "Session-Expires: 600", "Supported: timer")})
	b.response("access INVITE", 488, "f1", "")
	b.ladder("access> INVITE", "core> 488")
	if after := b.s.Timers()[timerExpire(LegCore)]; !after.Equal(before) {
		t.Errorf("expiry moved from %v to %v", before, after)
	}
}

// The peer took the part of the refresher over while our refresh was under way: its failure is no matter of ours any more.
func TestR4028_RefresherChangesDuringARefresh(t *testing.T) {
	b := timedCall(t, "INVITE, UPDATE")
	b.step(TimerFired{Name: timerRefresh(LegCore)})
	b.step(RequestIn{Leg: LegCore, Tx: "u1", Msg: b.inFork("UPDATE", "r1", "1", "", "Session-Expires: 1800;refresher=uac", "Supported: timer")})
	b.response("core UPDATE", 491, "r1", "")
	b.ladder("core> UPDATE", "core> 200")
	if _, ok := b.s.Timers()[timerRefresh(LegCore)]; ok {
		t.Error("both refresh")
	}
	b.hangUp(3)
}

// A call that ends takes no session timer from a response that comes then.
func TestREL04_NoTimerInACallThatEnds(t *testing.T) {
	b := timedCall(t, "INVITE")
	b.step(TimerFired{Name: timerRefresh(LegCore)})
	b.step(RequestIn{Leg: LegAccess, Tx: "bye", Msg: browser("BYE", 3, "")})
	b.response("core INVITE", 200, "r1", coreSDP(2, "10.0.0.8"), "Session-Expires: 1800;refresher=uac")
	for name := range b.s.Timers() {
		if name != timerGuard {
			t.Errorf("timer %s", name)
		}
	}
	b.done("core> INVITE", "access> 200", "core> BYE", "mgw> Subtract", "core> ACK", "ended hangup_access")
}

// The dialog whose 2xx waits for its ACK is gone: nothing is repeated in it.
func TestRFC3261_15_NoRepetitionInADialogThatIsGone(t *testing.T) {
	b := newBench(t)
	b.establish()
	b.step(RequestIn{Leg: LegAccess, Tx: "i1", Msg: browser("INFO", 3, "")})
	re := b.inFork("INVITE", "r1", "1", coreSDP(2, "10.0.0.7"))
	b.step(RequestIn{Leg: LegCore, Tx: "r1", Msg: re})
	b.reply()
	b.log = nil
	b.response("core INFO", 481, "r1", "")
	if got := b.s.Timers(); len(got) != 1 {
		t.Errorf("timers %v", got)
	}
	b.done("access> 481", "access> BYE", "mgw> Subtract", "ended timeout")
}

// The other side has agreed before the offer fails: the MGW is told what it agreed to.
func TestRFC3264_8_FailedOfferAfterTheOtherSideAgreed(t *testing.T) {
	b := newBench(t)
	b.establish()
	m := hold(3)
	m.Body = []byte(strings.NewReplacer("EsAw", "Fresh", "P2uYro0UCOQ4zxjKXaWCBui1", "P2uYro0UCOQ4zxjKXaWCBui2").Replace(string(m.Body)))
	b.step(RequestIn{Leg: LegAccess, Tx: "h1", Msg: m})
	b.callee(200, strings.Replace(coreSDP(2, "10.0.0.7"), "8000\r\n", "8000\r\na=recvonly\r\n", 1))
	b.log = nil
	b.step(IqReply{ID: b.iq.GetTransactionId(), Err: &IqError{Code: 510}}) // no ICE restart
	b.ladder("access> 503", "mgw> Modify Modify", "core> INVITE")
	if got := b.iq.String(); !strings.Contains(got, "MODE_SENDONLY") {
		t.Errorf("the MGW is not told what the core agreed to: %s", got)
	}
}
