package callcore

import (
	"strings"
	"testing"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// rearmed are the terminations that the last transaction gives events.
func (b *bench) rearmed() string {
	var out []string
	for _, c := range b.sent[len(b.sent)-1].GetActions()[0].GetCommands() {
		if c.GetModify().GetDescriptor_().GetEvents() != nil {
			out = append(out, c.GetModify().GetTermination().GetId())
		}
	}
	return strings.Join(out, " ")
}

// TestDigitRefusedDuringAReoffer: the media gateway is not told then what is not agreed yet; the digits go into the media at once, and the orders with what ends
// the offer, however it ends.
func TestDigitRefusedDuringAReoffer(t *testing.T) {
	for _, status := range []int{200, 488} {
		b := talking(t, Digits{Core: DigitsInfo})
		b.pressed(LegAccess, "1")
		b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendonly", 3, "")))
		b.answers(LegCore, "INFO", 415, "")
		if got := b.modified(); got != "ip/1 dg/d1 100ms" {
			t.Errorf("after 415: %s", got)
		}
		b.reply()
		body := ""
		if status == 200 {
			body = phoneSDP("recvonly", 2)
		}
		b.answers(LegCore, "INVITE", status, body)
		if got := b.modified(); got != "ip/0; ip/1 DIGITS_PLAY" || b.rearmed() != "ip/0" {
			t.Errorf("after %d: %s, events of %s", status, got, b.rearmed())
		}
	}
	// An offer of ours in a 2xx, whose answer is missing.
	b := talking(t, Digits{Core: DigitsInfo})
	b.pressed(LegAccess, "1")
	b.request(LegAccess, "w1", b.browser("INVITE", 2, ""))
	if b.s.d.Reoffer == nil {
		t.Fatalf("no offer: %v", b.log)
	}
	b.answers(LegCore, "INFO", 415, "")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	if got := b.modified(); got != "ip/0; ip/1 DIGITS_PLAY" {
		t.Errorf("after an ACK without answer: %s", got)
	}
}

// TestRestartThatTheGatewayRefuses: the restart of one side says nothing of digits - what is told on one side is kept out on the other, in one Modify - and
// however it ends the next Modify does.
func TestRestartThatTheGatewayRefuses(t *testing.T) {
	b := talking(t, Digits{Core: DigitsInfo})
	b.pressed(LegAccess, "1")
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("recvonly", 3, "new1")))
	b.answers(LegCore, "INFO", 415, "")
	b.reply()
	b.answers(LegCore, "INVITE", 200, phoneSDP("sendonly", 2))
	if b.rearmed() != "" {
		t.Fatalf("restart gives events to %q", b.rearmed())
	}
	b.refused(510)
	if got := b.modified(); got != "ip/0; ip/1 DIGITS_PLAY" || b.rearmed() != "ip/0" {
		t.Errorf("then %s, events of %s", got, b.rearmed())
	}
}

// TestR2976_DigitThatIsToldLate: what the media gateway was told when a digit was pressed decides, not what holds when the digit comes to be known: kept out of
// the media it is played there, since the peer takes no INFO any more; let through it does not come again.
func TestR2976_DigitThatIsToldLate(t *testing.T) {
	told := func(b *bench, request uint64, key string) {
		b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: "ip/0", RequestId: request, Events: []*iqv1.ObservedEvent{{
			Type: iqv1.EventType_EVENT_TYPE_DTMF, Params: map[string]string{"digit": key, "duration_ms": "100"}}}}})
	}
	b := talking(t, Digits{Core: DigitsInfo})
	b.pressed(LegAccess, "1")
	b.answers(LegCore, "INFO", 415, "")
	told(b, toldApart, "2") // pressed before the Modify was performed
	b.reply()
	b.reply()
	if got := b.modified(); got != "ip/1 dg/d2 100ms" {
		t.Errorf("after 415: %s", got)
	}
	b.reply()
	sent := len(b.sent)
	if told(b, armed, "3"); len(b.sent) != sent {
		t.Errorf("a digit that was in the media is played: %s", b.modified())
	}
	// The order to tell digits has left, what is pressed meanwhile is let through.
	b = talking(t, Digits{Core: DigitsInfo})
	b.log = nil
	if told(b, armed, "4"); len(b.log) > 0 {
		t.Errorf("a digit that was in the media: %v", b.log)
	}
	// A record of a controller that did not name the request.
	b.s.d.Orders[LegAccess].Named = false
	if told(b, armed, "5"); b.infos(LegCore) != "5" {
		t.Errorf("a digit of a call from before: %v", b.log)
	}
}

// TestR2976_DigitsWaitForWhoeverAnswers: digits that were pressed before the answer go to the fork that answers, whichever was heard then.
func TestR2976_DigitsWaitForWhoeverAnswers(t *testing.T) {
	b := earlyForInfo(t)
	b.pressed(LegAccess, "7")
	b.response("core INVITE", 180, "r2", "")
	b.pressed(LegAccess, "8")
	b.response("core INVITE", 200, "r1", "")
	b.log = nil
	if got := b.infos(LegCore); got != "78" {
		t.Errorf("%q has come: %v", got, b.log)
	}
}
