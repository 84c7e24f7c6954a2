package callcore

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// TestR3264_8_2_BrowserKeepsTheFirstLine: an offer of a browser without its first line is refused while others live, and the call goes on: the line carries the transport.
func TestR3264_8_2_BrowserKeepsTheFirstLine(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "sendrecv")
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "", "sendrecv")))
	b.saw("access> 488")
	if w := b.field("access 488", "Warning"); !strings.Contains(w, `304 isthmus "no audio offered"`) {
		t.Errorf("Warning %q", w)
	}
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	if b.s.Ended() || b.s.d.Media.Line(offeranswer.Access).Off {
		t.Error("the line is given up")
	}
}

// TestR3264_8_2_PhoneGivesTheFirstLineUp: a phone gives its first line up while another goes on, and the browser's is held; it may come back. With the last line there
// is no call any more that could be had, and the offer is refused.
func TestR3264_8_2_PhoneGivesTheFirstLineUp(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "sendrecv")
	b.request(LegCore, "s2", b.phone("INVITE", 2, twoPhone(2, "", "sendrecv")))
	b.says("access INVITE", "on on") // a browser would end a transceiver that is rejected
	b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(3, "inactive", "sendrecv"), "actpass", "active"))
	b.saw("access> INVITE", "access> ACK", "core> 200", "mgw> Modify Modify")
	b.says("core 200", "0 on")
	if got := b.modes(); got != "1:inactive,2:sendrecv 1:inactive,2:sendrecv" {
		t.Error(got)
	}
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 2, "")})
	b.saw()
	f := b.s.Facts()
	if s := f.Sides[LegCore]; s.At(0) != nil || s.At(1) == nil || s.Lines[0].Used || !s.Lines[1].Used {
		t.Errorf("facts %+v", s)
	}
	if !b.s.plays(LegCore) || !b.s.plays(LegAccess) || b.s.digitOrder(LegCore).Stream != 1 || b.s.digitOrder(LegAccess).Stream != 1 {
		t.Error("digits have their place in the second line of both")
	}
	// The browser holds the other one: our offer keeps the first at port 0.
	b.request(LegAccess, "h1", b.browser("INVITE", 2, twoWeb(4, "sendrecv", "sendonly")))
	b.says("core INVITE", "0 on")
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "", "recvonly"))
	b.says("access 200", "on on")
	if got := b.modes(); got != "1:inactive,2:recvonly 1:inactive,2:sendonly" {
		t.Error(got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.log = nil
	_, body := b.s.d.Media.Repeat(offeranswer.Core)
	if strings.Count(string(body), "m=audio 0 ") != 1 {
		t.Errorf("a refresh says\n%s", body)
	}
	b.request(LegCore, "s3", b.phone("INVITE", 3, twoPhone(3, "", "")))
	b.saw("core> 488")
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 3, "")})
	// Another is left, with no codec that could be joined.
	b.log = nil
	odd := twoPhone(4, "", "sendrecv")
	i := strings.LastIndex(odd, "m=audio")
	b.request(LegCore, "s5", b.phone("INVITE", 4, odd[:i]+"m=audio 4010 RTP/AVP 99\r\na=rtpmap:99 X-nothing/8000\r\n"))
	b.saw("core> 488")
	if w := b.field("core 488", "Warning"); !strings.Contains(w, "the first audio line is given up, and no other can be joined") {
		t.Errorf("Warning %q", w)
	}
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 4, "")})
	// Refused by the other side, all is as it was.
	before := b.s.d.Media
	b.request(LegCore, "s4", b.phone("INVITE", 5, twoPhone(5, "sendrecv", "")))
	b.answers(LegAccess, "INVITE", 488, "")
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 5, "")})
	if l := b.s.d.Media.Line(offeranswer.Core); !l.Off || l.More[0].Off || l.Dir != before.Line(offeranswer.Core).Dir {
		t.Errorf("after a refusal: first off %v, second off %v", l.Off, l.More[0].Off)
	}
	// It comes back.
	b.log = nil
	b.request(LegCore, "s6", b.phone("INVITE", 6, twoPhone(6, "sendrecv", "recvonly")))
	b.says("access INVITE", "on on")
	b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(5, "sendrecv", "sendonly"), "actpass", "active"))
	b.saw("access> INVITE", "access> ACK", "core> 200", "mgw> Modify Modify")
	b.says("core 200", "on on")
	if got := b.modes(); got != "1:sendrecv,2:recvonly 1:sendrecv,2:sendonly" {
		t.Error(got)
	}
}
