package callcore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// group is the BUNDLE group of a message.
func (b *bench) group(message string) string {
	b.t.Helper()
	m := b.last[message]
	for l := range strings.SplitSeq(string(m.Body), "\r\n") {
		if mids, ok := strings.CutPrefix(l, "a=group:BUNDLE "); ok {
			return mids
		}
	}
	return ""
}

// TestR3264_8_2_FirstLineIsGivenUp: a browser gives its first line up while another goes on: that one carries the transport from then on (RFC 9143 §7.5.3), the
// phone's first line is held, and the first one may come back.
func TestR3264_8_2_FirstLineIsGivenUp(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "sendrecv")
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "", "sendrecv")))
	b.saw("core> INVITE")
	b.says("core INVITE", "on on") // a line of the phone's is held, not given up (ADR 008)
	if body := string(b.last["core INVITE"].Body); strings.Count(body, "a=inactive\r\n") != 1 || strings.Count(body, "a=sendrecv\r\n") != 1 ||
		strings.Index(body, "a=inactive") > strings.Index(body, "a=sendrecv") {
		t.Errorf("the phone is offered\n%s", body)
	}
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "inactive", "sendrecv"))
	b.saw("core> ACK", "access> 200", "mgw> Modify Modify")
	b.says("access 200", "0 on")
	if got := b.group("access 200"); got != "1" {
		t.Errorf("group %q", got)
	}
	if body := string(b.last["access 200"].Body); strings.Count(body, "a=ice-ufrag:") != 1 || strings.Count(body, "a=fingerprint:") != 1 || strings.Count(body, "a=candidate:") == 0 {
		t.Errorf("answered\n%s", body)
	}
	if got := b.modes(); got != "1:inactive,2:sendrecv 1:inactive,2:sendrecv" {
		t.Error(got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	f := b.s.Facts()
	if s := f.Sides[LegAccess]; s.At(0) != nil || s.At(1) == nil || s.Lines[0].Used || !s.Lines[1].Used {
		t.Errorf("facts %+v", s)
	}
	if b.s.plays(LegAccess) || !b.s.plays(LegCore) {
		t.Error("digits have no place in a line that is given up")
	}
	// The phone holds the other one: our offer keeps the first at port 0.
	b.log = nil
	b.request(LegCore, "s3", b.phone("INVITE", 3, twoPhone(3, "inactive", "sendonly")))
	b.says("access INVITE", "0 on")
	if got := b.group("access INVITE"); got != "1" {
		t.Errorf("group %q", got)
	}
	b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(4, "", "recvonly"), "actpass", "active"))
	b.saw("access> INVITE", "access> ACK", "core> 200", "mgw> Modify Modify")
	if got := b.modes(); got != "1:inactive,2:sendonly 1:inactive,2:recvonly" {
		t.Error(got)
	}
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 3, "")})
	// It comes back.
	b.log = nil
	b.request(LegAccess, "s4", b.browser("INVITE", 4, twoWeb(5, "sendrecv", "recvonly")))
	b.saw("access> 200", "mgw> Modify Modify") // the phone wants it inactive, as it was told
	b.says("access 200", "on on")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 4, "")})
	b.request(LegCore, "s5", b.phone("INVITE", 5, twoPhone(4, "sendrecv", "sendonly")))
	b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(6, "sendrecv", "recvonly"), "actpass", "active"))
	if got := b.modes(); !strings.HasPrefix(got, "1:sendrecv,2:") {
		t.Error(got)
	}
}

// TestR3264_8_2_PhoneGivesTheFirstLineUp: so does a phone; with the last line there is no call any more that could be had, and the offer is refused.
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
}

// TestR3264_8_2_FirstLineRestartsTheTransport: the offer that gives the first line up adds another, with new ICE credentials: the transport is taken from that which goes on.
func TestR3264_8_2_FirstLineRestartsTheTransport(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.InactivityGrace = time.Minute
	b.establishTwo("sendrecv", "sendrecv")
	b.silenceOf(LegAccess, fallsSilent, 2)
	offer := strings.ReplaceAll(twoWeb(3, "", "sendrecv", "sendrecv"), "a=ice-ufrag:", "a=ice-ufrag:new")
	b.request(LegAccess, "s2", b.browser("INVITE", 2, offer))
	if r := b.s.d.Reoffer; r != nil && r.Streams {
		b.reply()
	}
	b.says("core INVITE", "on on on")
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "inactive", "sendrecv", "sendrecv"))
	restart := b.iq.GetActions()[0].GetCommands()
	if len(restart) != 1 || !strings.HasPrefix(restart[0].GetModify().GetDescriptor_().GetTransport().GetRemoteIce().GetUfrag(), "new") {
		t.Fatalf("the MGW is told %v", restart)
	}
	b.restarted("mGw2")
	b.says("access 200", "0 on on")
	if body := string(b.last["access 200"].Body); !strings.Contains(body, "a=ice-ufrag:mGw2") {
		t.Errorf("answered\n%s", body)
	}
	if got := b.group("access 200"); got != "1 2" {
		t.Errorf("group %q", got)
	}
	if got := b.modes(); got != "1:inactive,2:sendrecv,3:sendrecv 1:inactive,2:sendrecv,3:sendrecv" {
		t.Error(got)
	}
	if _, runs := b.s.Timers()[timerInactive]; runs {
		t.Error("the third line speaks")
	}
	if needs := b.s.Needs(); !slices.Equal(needs, []string{FeatureStreams}) {
		t.Errorf("needs %v", needs)
	}
}
