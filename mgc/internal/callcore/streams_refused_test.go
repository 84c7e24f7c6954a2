package callcore

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// TestR3264_6_PhoneRefusesTheFirstLine: a phone answers with its second line alone. The call goes on with that one; the browser's first line is inactive, and is used once the
// phone offers its own.
func TestR3264_6_PhoneRefusesTheFirstLine(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("", "sendrecv")
	if b.s.d.Phase != phaseUp || b.s.Ended() {
		t.Fatalf("phase %v", b.s.d.Phase)
	}
	b.says("access 200", "on on")
	if got := b.modesOf(b.sent[len(b.sent)-1]); got != "1:inactive,2:sendrecv 1:inactive,2:sendrecv" {
		t.Error(got)
	}
	if body := string(b.last["access 200"].Body); strings.Index(body, "a=inactive") > strings.Index(body, "a=sendrecv") || !strings.Contains(body, "a=inactive") {
		t.Errorf("answered\n%s", body)
	}
	_, line, _ := strings.Cut(string(b.last["core INVITE"].Body), "m=audio ")
	offered := strings.Fields(line)[2]
	if _, body := b.s.d.Media.Repeat(offeranswer.Core); !strings.Contains(string(body), "m=audio 0 RTP/AVP "+offered) { // a line has formats when it is off, too (RFC 8866 §5.14)
		t.Errorf("repeated\n%s", body)
	}
	if r := b.s.d.Rec; r.AccessCodec == "" || r.CoreCodec == "" || r.MediaPath == "" {
		t.Errorf("recorded %+v", r)
	}
	// The browser offers both again: nothing is news to the phone.
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv")))
	b.saw("access> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.log = nil
	// The phone takes it up.
	b.request(LegCore, "s3", b.phone("INVITE", 3, twoPhone(2, "sendrecv", "sendrecv")))
	b.says("access INVITE", "on on")
	b.answers(LegAccess, "INVITE", 200, active(4, "sendrecv", "sendrecv"))
	b.saw("access> INVITE", "access> ACK", "core> 200", "mgw> Modify Modify")
	b.says("core 200", "on on")
	if got := b.modes(); got != "1:sendrecv,2:sendrecv 1:sendrecv,2:sendrecv" {
		t.Error(got)
	}
}

// TestR3264_6_PhoneRefusesTheFirstLineInTheCall: so does its answer to an offer inside the call; an answer without any line is none, and ends the call.
func TestR3264_6_PhoneRefusesTheFirstLineInTheCall(t *testing.T) {
	for _, second := range []string{"recvonly", ""} {
		b := newSeveral(t)
		b.establishTwo("sendrecv", "sendrecv")
		b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendonly", "sendonly")))
		b.says("core INVITE", "on on")
		b.answers(LegCore, "INVITE", 200, twoPhone(2, "", second))
		if second == "" {
			b.saw("core> INVITE", "core> ACK", "access> 488", "access> BYE", "core> BYE", "mgw> Subtract")
			continue
		}
		b.saw("core> INVITE", "core> ACK", "access> 200", "mgw> Modify Modify")
		b.says("access 200", "on on")
		if got := b.modes(); got != "1:inactive,2:recvonly 1:inactive,2:sendonly" {
			t.Error(got)
		}
		if p := b.iq.GetActions()[0].GetCommands()[1].GetModify().GetDescriptor_().GetStreams()[0].GetRemote().GetPort(); p != 0 {
			t.Errorf("the phone's first line has port %d", p)
		}
	}
}

// TestR3264_6_R3311_EarlyMediaWithoutTheFirstLine: early media of a phone that refuses the first line are heard in the other one, and its UPDATE is no glare with our
// first offer, which it has answered.
func TestR3264_6_R3311_EarlyMediaWithoutTheFirstLine(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.EarlyMedia = EarlyMediaAlways
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	b.reply()
	b.log = nil
	b.callee(183, twoPhone(1, "", "sendrecv"))
	b.saw("mgw> Modify Modify", "access> 183")
	if got := b.modes(); got != "1:inactive,2:sendonly 1:inactive,2:recvonly" {
		t.Error(got)
	}
	b.reply()
	b.request(LegCore, "u1", b.phone("UPDATE", 2, twoPhone(2, "", "sendonly")))
	b.saw("core> 200", "mgw> Modify Modify")
	b.says("core 200", "0 on")
}

// TestR3264_6_OlderRecordRefusesTheFirstLine: a record of an older controller does not say the formats of the line that we offered first; it has some when it is refused all the same.
func TestR3264_6_OlderRecordRefusesTheFirstLine(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "sendrecv")
	b.s.d.Media.Lines[offeranswer.Core].Slots[0].Formats = nil
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendonly", "sendonly")))
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "", "recvonly"))
	if _, body := b.s.d.Media.Repeat(offeranswer.Core); strings.Contains(string(body), "m=audio 0 RTP/AVP \r\n") {
		t.Errorf("repeated\n%s", body)
	}
}
