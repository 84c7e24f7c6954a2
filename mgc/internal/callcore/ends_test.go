package callcore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestREL02_REL05_ConsentLost(t *testing.T) {
	for _, back := range []iqv1.EventType{iqv1.EventType_EVENT_TYPE_ICE_RESULT, iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE} {
		b := up(t)
		b.notify(iqv1.EventType_EVENT_TYPE_CONSENT_LOST, nil)
		b.notify(back, map[string]string{"result": "connected"})
		if b.saw(); len(b.s.Timers()) != 0 {
			t.Errorf("consent is back, and timers run: %v", b.s.Timers())
		}
	}
	b := up(t)
	b.notify(iqv1.EventType_EVENT_TYPE_CONSENT_LOST, nil)
	b.fires(timerConsent)
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended consent_lost")
	if r := b.field("core BYE", "Reason"); !strings.Contains(r, "consent") {
		t.Errorf("Reason %q", r)
	}
}

func TestREL01_REL06_FlowLostAndBack(t *testing.T) {
	b := up(t)
	b.step(FlowLost{})
	b.step(FlowBack{})
	b.request(LegCore, "p1", b.phone("INFO", 1, ""))
	b.saw("access> INFO")
	b.step(FlowLost{})
	b.answers(LegAccess, "INFO", 200, "")
	b.saw("core> 200")
	b.fires(timerFlow)
	b.saw("access> BYE", "core> BYE", "mgw> Subtract")
	b.step(TxFailed{Leg: LegAccess, Tx: b.tx["access BYE"]}) // nobody is there
	delete(b.tx, "access BYE")
	b.done("ended unreachable")
	b = newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.step(FlowLost{})
	b.callee(487, "")
	b.done("mgw> Add Add", "core> INVITE", "access> 480", "core> CANCEL", "mgw> Subtract", "ended unreachable")
}

func TestRequestsInTheDialog(t *testing.T) {
	b := up(t)
	field := func(n, v string) headers.Field { return headers.Field{Name: n, Value: v} }
	for i, method := range []string{"INFO", "MESSAGE", "OPTIONS", "NOTIFY", "REFER"} {
		m := b.browser(method, 2+i, "Signal=5\r\n", field("Content-Type", "application/dtmf-relay"), field("Max-Forwards", "12"), field("Info-Package", "x"))
		b.request(LegAccess, fmt.Sprint("w", i), m)
		b.saw("core> " + method)
		out := b.last["core "+method]
		if string(out.Body) != "Signal=5\r\n" || out.Get("Content-Type") != "application/dtmf-relay" || out.Get("Max-Forwards") != "11" || out.Get("Info-Package") != "x" {
			t.Errorf("%s crosses as %+v", method, out)
		}
		b.answers(LegCore, method, 202, "")
		b.saw("access> 202")
	}
	refused := []struct {
		status int
		msg    headers.Msg
	}{
		{483, b.phone("MESSAGE", 1, "", field("Max-Forwards", "0"))},
		{500, b.phone("INFO", 1, "")},  // the same CSeq again (RFC 3261 §12.2.2)
		{400, b.phone("PRACK", 2, "")}, // without RAck
		{405, b.phone("SUBSCRIBE", 3, "")},
		{501, b.phone("FANCY", 4, "")},
		{420, b.phone("INFO", 5, "", field("Require", "fancy"))},
		{481, b.phone("INFO", 6, "", field("From", "<sip:bob@x.example>;tag=other"))},
		{488, b.phone("INVITE", 8, "hello")},
		{488, b.phone("INVITE", 9, strings.Replace(phoneSDP("sendrecv", 2), "RTP/AVP 8", "RTP/AVP 18", 1))},
	}
	for i, c := range refused {
		b.request(LegCore, fmt.Sprint("r", i), c.msg)
		b.saw(fmt.Sprintf("core> %d", c.status))
	}
	if got := b.field("core 420", "Unsupported"); got != "fancy" {
		t.Errorf("420 with Unsupported %q", got)
	}
	b.request(LegAccess, "w8", b.browser("INFO", 8, ""))
	b.step(TxFailed{Leg: LegCore, Tx: b.tx["core INFO"], Timeout: true})
	b.request(LegAccess, "w9", b.browser("NOTIFY", 9, ""))
	b.answers(LegCore, "NOTIFY", 481, "") // a subscription's affair (RFC 5057 §5.1)
	b.saw("core> INFO", "access> 408", "core> NOTIFY", "access> 481")
	b.request(LegAccess, "w10", b.browser("INFO", 10, ""))
	b.answers(LegCore, "INFO", 481, "") // the call is gone there
	b.done("core> INFO", "access> 481", "access> BYE", "mgw> Subtract", "ended timeout")
}

func TestMO20_MaxForwards(t *testing.T) {
	b := newBench(t)
	m := browser("INVITE", 1, browserOffer)
	m.Set("Max-Forwards", "0")
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: m})
	b.done("access> 483", "ended refused")
}

func TestRFC3261_15_ByeWaitsForTheAck(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(200, phoneSDP("sendrecv", 1))
	b.reply()
	b.log = nil
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 7, "")}) // of another INVITE
	b.fires(timerAck)
	b.saw("access> 200") // so it is repeated (RFC 3261 §13.3.1.4)
	b.request(LegCore, "p1", b.phone("BYE", 1, ""))
	b.saw("core> 200", "mgw> Subtract")
	b.fires(timerAck)
	b.saw("access> 200")
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.done("access> BYE", "ended hangup_core")

	b = newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(200, phoneSDP("sendrecv", 1))
	b.reply()
	b.log = nil
	start := b.now
	var gaps []time.Duration
	for last := b.now; b.s.Timers()[timerAck].Before(b.s.Timers()[timerAckEnd]); last = b.now {
		b.fires(timerAck)
		gaps = append(gaps, b.now.Sub(last).Round(100*time.Millisecond))
	}
	if got := fmt.Sprint(gaps[:5]); got != "[500ms 1s 2s 4s 4s]" {
		t.Errorf("2xx repeated after %s", got)
	}
	b.log = nil
	b.notify(iqv1.EventType_EVENT_TYPE_DTLS_STATE, map[string]string{"state": "connected"})
	b.fires(timerAckEnd)
	if d := b.now.Sub(start).Round(time.Second); d != 32*time.Second {
		t.Errorf("given up after %s", d)
	}
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended timeout")
}

func TestCoreCallsTheBrowser(t *testing.T) {
	b := newBench(t)
	m := browser("INVITE", 1, phoneSDP("sendrecv", 1))
	m.Add("P-Asserted-Identity", "<sip:alice@x.example>")
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: m})
	b.reply()
	b.saw("mgw> Add Add", "access> INVITE")
	invite := b.last["access INVITE"]
	if invite.Get("P-Asserted-Identity") == "" || !strings.Contains(string(invite.Body), "a=setup:actpass") {
		t.Errorf("INVITE to the browser: %+v", invite)
	}
	r := headers.NewResponse(&invite, 180, "")
	r.Set("To", invite.Get("To")+";tag=w1")
	b.step(ResponseIn{Leg: LegAccess, Tx: b.tx["access INVITE"], Msg: r})
	r = headers.NewResponse(&invite, 200, "")
	r.Set("To", invite.Get("To")+";tag=w1")
	r.Add("Content-Type", "application/sdp")
	r.Body = []byte(webAnswer("sendrecv", 2))
	b.step(ResponseIn{Leg: LegAccess, Tx: b.tx["access INVITE"], Msg: r})
	b.saw("core> 180", "access> ACK", "core> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: browser("ACK", 1, "")})
	b.fires(timerSetUp) // the browser never connects
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended ice_failed")
}

func TestOverlapDuringSetUp(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(180, "")
	b.log = nil
	b.request(LegAccess, "w1", b.browser("UPDATE", 2, webSDP("sendonly", 3, ""))) // its own offer is not answered (RFC 3311 §5.2)
	b.request(LegAccess, "w2", b.browser("INFO", 3, ""))
	b.request(LegAccess, "w3", b.browser("BYE", 4, "")) // of the early dialog
	b.saw("access> 500", "access> 480", "access> 200", "access> 487", "core> CANCEL", "mgw> Subtract")
	b.callee(487, "")
	b.done("ended hangup_access")
}

func TestReleaseAndGuard(t *testing.T) {
	b := up(t)
	b.step(Release{Status: 503, Reason: "drain"})
	b.saw("access> BYE", "core> BYE", "mgw> Subtract")
	b.reply()
	b.fires(timerGuard) // nobody answers the BYEs
	b.saw("ended released")
	b = up(t)
	b.request(LegAccess, "w1", b.browser("INFO", 2, ""))
	b.step(Release{Dead: true})
	b.saw("core> INFO", "access> BYE", "core> BYE") // nothing to subtract
	b.fires(timerGuard)
	b.saw("access> 408", "ended released") // a request that passed has its final response in any case
}

// BYEs cross, and the one to the browser went out over a connection that is dead: the call is over with the browser's, not 32 s later.
func TestRFC3261_15_ByesCross(t *testing.T) {
	b := up(t)
	b.notify(iqv1.EventType_EVENT_TYPE_DTLS_STATE, map[string]string{"state": "closed"})
	b.saw("access> BYE", "core> BYE", "mgw> Subtract")
	b.answers(LegCore, "BYE", 200, "")
	b.reply()
	if b.s.Ended() {
		t.Fatal("nobody has answered the BYE to the browser")
	}
	b.request(LegAccess, "w3", b.browser("BYE", 3, ""))
	b.saw("access> 200", "ended dtls_failed")
	if !b.s.Ended() {
		t.Error("the browser has said BYE, and its answer to ours is waited for")
	}
}
