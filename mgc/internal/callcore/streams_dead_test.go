package callcore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// dead are directions of n further lines that were given up, between the first and what is live.
func dead(n int, live ...string) []string {
	return slices.Concat([]string{"sendrecv"}, make([]string, n), live)
}

func on(dirs []string) string {
	var out []string
	for _, d := range dirs {
		out = append(out, map[bool]string{true: "0", false: "on"}[d == ""])
	}
	return strings.Join(out, " ")
}

// madeStreams are the highest numbers of streams that the MGW was told of.
func (b *bench) madeStreams() (most uint32) {
	for _, r := range b.sent {
		for _, c := range r.GetActions()[0].GetCommands() {
			for _, d := range []*iqv1.TerminationDescriptor{c.GetAdd().GetDescriptor_(), c.GetModify().GetDescriptor_()} {
				for _, s := range d.GetStreams() {
					most = max(most, s.GetStreamId())
				}
			}
		}
	}
	return most
}

// TestR3264_8_2_DeadLinesDoNotCount: a browser that never uses a line again once it has given it up adds lines for as long as there is room in the description, and
// not more than call.audio_streams live at once; the phone sees lines of its own go on, the MGW as many streams as may live. The 33rd line is refused
// with its reason, and the call goes on.
func TestR3264_8_2_DeadLinesDoNotCount(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.Media.Streams = 3
	b.establish()
	seq, version := 2, 3
	phone := []string{"sendrecv"}
	for n := range offeranswer.MaxLines - 2 {
		dirs := dead(n, "sendrecv")
		tx := fmt.Sprint("d", n)
		b.request(LegAccess, tx, b.browser("INVITE", seq, twoWeb(version, dirs...)))
		if r := b.s.d.Reoffer; r != nil && r.Streams {
			b.reply()
			phone = append(phone, "sendrecv")
		}
		if b.s.d.Reoffer != nil {
			b.says("core INVITE", on(phone))
			b.answers(LegCore, "INVITE", 200, twoPhone(version, phone...))
		}
		b.says("access 200", on(dirs))
		b.reply()
		b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", seq, "")})
		seq, version = seq+1, version+1
		if t.Failed() {
			t.Fatalf("with %d dead lines", n)
		}
	}
	if n := b.madeStreams(); n != 3 || len(phone) != 3 {
		t.Errorf("%d streams, the phone has %d lines", n, len(phone))
	}
	b.log = nil
	// One more than there may be in a description.
	dirs := dead(offeranswer.MaxLines-1, "sendrecv")
	b.request(LegAccess, "many", b.browser("INVITE", seq, twoWeb(version, dirs...)))
	b.saw("access> 488")
	if w := b.field("access 488", "Warning"); !strings.Contains(w, `399 isthmus "33 media lines, at most 32, rejected ones included"`) {
		t.Errorf("Warning %q", w)
	}
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", seq, "")})
	if b.s.Ended() {
		t.Error("the call has ended")
	}
}

// TestR3264_8_2_LiveLinesCount: more live lines than call.audio_streams are refused one by one, whatever is dead beside them; a line in the place of a dead one is heard.
func TestR3264_8_2_LiveLinesCount(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.Media.Streams = 2
	b.establishTwo("sendrecv", "sendrecv")
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "", "sendonly", "sendrecv")))
	b.saw("core> INVITE") // no stream is made
	b.says("core INVITE", "on on")
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "sendrecv", "recvonly"))
	b.says("access 200", "on 0 on 0")
	if got := b.modes(); got != "1:sendrecv,2:recvonly 1:sendrecv,2:sendonly" {
		t.Error(got)
	}
	if mid := b.iq.GetActions()[0].GetCommands()[0].GetModify().GetDescriptor_().GetStreams()[1].GetMid(); mid != "2" {
		t.Errorf("the second stream has mid %q", mid)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.log = nil
	// The dead line is asked for again, beside the one that took its place: there is room for one only.
	b.request(LegAccess, "s3", b.browser("INVITE", 3, twoWeb(4, "sendrecv", "sendrecv", "sendonly", "")))
	b.says("access 200", "on 0 on 0")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 3, "")})
	// And instead of it.
	b.request(LegAccess, "s4", b.browser("INVITE", 4, twoWeb(5, "sendrecv", "sendrecv", "", "")))
	b.says("core INVITE", "on on")
	b.direction("core INVITE", "sendrecv")
	b.answers(LegCore, "INVITE", 200, twoPhone(3, "sendrecv", "sendrecv"))
	b.says("access 200", "on on 0 0")
	if got := b.modes(); got != "1:sendrecv,2:sendrecv 1:sendrecv,2:sendrecv" {
		t.Error(got)
	}
}

// TestR3264_8_LinesOfOursHaveABound: what a browser would have to hear of in a 33rd line is refused to the phone.
func TestR3264_8_LinesOfOursHaveABound(t *testing.T) {
	b := newSeveral(t)
	b.establish()
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, dead(offeranswer.MaxLines-1)...)))
	b.says("access 200", on(dead(offeranswer.MaxLines-1)))
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.log = nil
	b.request(LegCore, "s3", b.phone("INVITE", 2, twoPhone(2, "sendrecv", "sendrecv")))
	if b.s.d.Reoffer != nil && b.s.d.Reoffer.Streams {
		b.reply()
	}
	b.says("core 200", "on 0")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 2, "")})
	if b.s.d.Media.Stale(offeranswer.Access) || b.s.d.Reoffer != nil {
		t.Error("the browser is to hear of it")
	}
	// Neither is it in an offer that the browser gets for something else.
	b.request(LegCore, "s4", b.phone("INVITE", 3, twoPhone(3, "sendonly", "sendrecv")))
	if b.s.d.Reoffer != nil && b.s.d.Reoffer.Streams {
		b.reply()
	}
	b.says("access INVITE", on(dead(offeranswer.MaxLines-1)))
}

// TestR4568_KeyOfALineInThePlaceOfAnother: a phone that gives a line up and adds one with another key has it heard from the first packet on: the media gateway, whose
// stream goes on, learns the key before the phone has its answer.
func TestR4568_KeyOfALineInThePlaceOfAnother(t *testing.T) {
	keyed := func(version int, dirs ...string) string {
		head, lines, _ := strings.Cut(twoPhone(version, dirs...), "m=audio")
		for i, l := range strings.Split(lines, "m=audio") {
			key := strings.Repeat(string(rune('A'+i)), 40)
			head += "m=audio" + strings.TrimSuffix(l, "\r\n") + "\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "\r\n"
		}
		return head
	}
	b := newSeveral(t)
	b.s.d.Cfg.Policy.Media.SRTP, b.s.d.Cfg.Policy.Media.Streams = offeranswer.SRTPOsrtp, 2
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: browser("INVITE", 1, keyed(1, "sendrecv", "sendrecv"))})
	b.reply()
	b.response("access INVITE", 200, "w1", strings.ReplaceAll(twoWeb(2, "sendrecv", "sendrecv"), "actpass", "active"))
	b.says("core 200", "on on")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: browser("ACK", 1, "")})
	b.log = nil
	m := browser("INVITE", 2, keyed(2, "sendrecv", "", "sendrecv"))
	m.Set("To", b.field("core 200", "To"))
	b.step(RequestIn{Leg: LegCore, Tx: "s2", Msg: m})
	b.saw("mgw> Modify")
	if got := b.iq.GetActions()[0].GetCommands()[0].GetModify().GetDescriptor_().GetStreams()[1].GetRemote().GetCryptos(); len(got) != 1 || got[0].GetKey()[0] != 2<<2 { // "C"
		t.Errorf("told of %v", got)
	}
	b.reply()
	b.saw("core> 200", "mgw> Modify Modify")
	b.says("core 200", "on 0 on")
}
