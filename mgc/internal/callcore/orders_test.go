package callcore

import (
	"strings"
	"testing"
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

// TestRestartThatTheGatewayRefuses: what it was told with that does not hold; it is told again with the next Modify.
func TestRestartThatTheGatewayRefuses(t *testing.T) {
	b := talking(t, Digits{Core: DigitsInfo})
	b.pressed(LegAccess, "1")
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("recvonly", 3, "new1")))
	b.answers(LegCore, "INFO", 415, "")
	b.reply()
	b.answers(LegCore, "INVITE", 200, phoneSDP("sendonly", 2))
	if b.rearmed() != "ip/0" {
		t.Fatalf("restart gives events to %q", b.rearmed())
	}
	b.refused(510)
	if got := b.modified(); got != "ip/0; ip/1 DIGITS_PLAY" || b.rearmed() != "ip/0" {
		t.Errorf("then %s, events of %s", got, b.rearmed())
	}
}
