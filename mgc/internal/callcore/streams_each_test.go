package callcore

import (
	"strings"
	"testing"
)

// TestMO18_R8445_RestartOfTwoLinesWhileHeld: what a browser that is held offers of its second line is no wish of its own either.
func TestMO18_R8445_RestartOfTwoLinesWhileHeld(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "sendrecv")
	b.request(LegCore, "p1", b.phone("INVITE", 1, twoPhone(2, "sendonly", "sendonly")))
	b.answers(LegAccess, "INVITE", 200, active(3, "recvonly", "recvonly"))
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 1, "")})
	b.request(LegAccess, "w1", b.browser("INVITE", 2, twoWeb(4, "recvonly", "recvonly")))
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.log = nil
	b.request(LegCore, "p2", b.phone("INVITE", 2, twoPhone(3, "sendrecv", "sendrecv")))
	b.saw("access> INVITE")
	if n := strings.Count(string(b.last["access INVITE"].Body), "a=sendrecv"); n != 2 {
		t.Errorf("%d lines of the browser are asked to send", n)
	}
	b.answers(LegAccess, "INVITE", 200, active(5, "sendrecv", "sendrecv"))
	if got := b.modes(); got != "1:sendrecv,2:sendrecv 1:sendrecv,2:sendrecv" {
		t.Error(got)
	}
}

// TestCOD07_EachLineIsToldOfItsLongestPacket: what a phone takes at most on its second line the browser is told of its second.
func TestCOD07_EachLineIsToldOfItsLongestPacket(t *testing.T) {
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	b.reply()
	b.callee(200, twoPhone(1, "sendrecv", "sendrecv")+"a=maxptime:30\r\n")
	body := string(b.last["access 200"].Body)
	if lines := strings.Split(body, "m=audio"); len(lines) != 3 || strings.Contains(lines[1], "a=maxptime") || !strings.Contains(lines[2], "a=maxptime:30\r\n") {
		t.Errorf("answered\n%s", body)
	}
}
