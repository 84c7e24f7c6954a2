package callcore

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
)

// TestIQ35_CancelledRevivalLeavesNothing: an offer that brings a line back and adds another is cancelled while the MGW makes the stream of the latter: nothing
// of it is in what either side is told later.
func TestIQ35_CancelledRevivalLeavesNothing(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "")
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv", "sendrecv")))
	b.step(CancelIn{Leg: LegAccess, Tx: "s2"})
	b.reply()
	b.saw("mgw> Modify Modify", "access> 487")
	if b.s.d.Media.Stale(offeranswer.Core) || b.s.d.Media.Stale(offeranswer.Access) {
		t.Error("something is left of the offer")
	}
	for _, l := range []offeranswer.Side{offeranswer.Access, offeranswer.Core} {
		_, body := b.s.d.Media.Repeat(l)
		for i, line := range strings.Split(string(body), "m=audio ")[1:] {
			if strings.HasPrefix(line, "0 ") != (i > 0) {
				t.Errorf("side %d, line %d:\n%s", l, i+1, line)
			}
		}
	}
}

// TestIQ35_OneLineWhereTwoCannotBeHad: a call whose two streams no MGW makes is tried with one; further lines are refused, never the call.
func TestIQ35_OneLineWhereTwoCannotBeHad(t *testing.T) {
	for name, refuse := range map[string]func(*bench){
		"by the media gateway": func(b *bench) { b.refused(uint32(gwerr.InsufficientResources)) },
		"none has it":          func(b *bench) { b.refused(0) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newSeveral(t)
			b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
			refuse(b)
			b.saw("mgw> Add Add", "mgw> Add Add")
			if needs := b.s.Needs(); slices.Contains(needs, FeatureStreams) {
				t.Errorf("needs %v", needs)
			}
			b.reply()
			b.says("core INVITE", "on")
			b.callee(200, phoneSDP("sendrecv", 1))
			b.says("access 200", "on 0")
			b.reply()
			b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
		})
	}
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.refused(uint32(gwerr.InsufficientResources))
	b.saw("mgw> Add Add", "access> 503", "ended media_gateway")
}

// TestIQ35_ForkWithMoreLines: the browser was answered after a branch that refuses its line; the branch that answers has taken it, and learns that nobody is
// behind it, once.
func TestIQ35_ForkWithMoreLines(t *testing.T) {
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	b.reply()
	b.response("core INVITE", 183, "r1", twoPhone(1, "sendrecv", ""))
	b.says("access 183", "on 0")
	b.reply()
	b.response("core INVITE", 200, "r2", twoPhone(1, "sendrecv", "sendrecv"))
	if got := b.modes(); got != "1:sendrecv,2:inactive 1:sendrecv,2:sendrecv" && got != "1:sendrecv,2:inactive 1:sendrecv,2:inactive" {
		t.Error(got)
	}
	b.reply()
	b.log = nil
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.direction("core INVITE", "inactive")
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "sendrecv", "inactive"))
	b.saw("core> ACK", "mgw> Modify Modify")
	b.reply()
	b.saw()
	if got := b.modesOf(b.sent[len(b.sent)-1]); got != "1:sendrecv,2:inactive 1:sendrecv,2:inactive" {
		t.Error(got)
	}
}

// TestR3261_GlareWithALine: while a line of one side is being made or offered, an offer of the other side is refused with 491, and the call goes on with
// what either has agreed to.
func TestR3261_GlareWithALine(t *testing.T) {
	b := newSeveral(t)
	b.establish()
	b.log = nil
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv")))
	b.request(LegCore, "g1", b.phone("INVITE", 2, twoPhone(2, "sendrecv", "sendrecv")))
	b.saw("mgw> Modify Modify", "core> 491")
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 2, "")})
	b.reply()
	b.saw("core> INVITE")
	b.request(LegCore, "g2", b.phone("INVITE", 3, twoPhone(3, "sendrecv", "sendrecv")))
	b.saw("core> 491")
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 3, "")})
	b.answers(LegCore, "INVITE", 491, "")
	b.saw("access> 491")
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.saw()
	b.request(LegCore, "g3", b.phone("INVITE", 4, twoPhone(4, "sendrecv", "sendrecv"))) // the stream is there
	b.saw("access> INVITE")
	b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(4, "sendrecv", "sendrecv"), "actpass", "active"))
	b.saw("access> ACK", "core> 200", "mgw> Modify Modify")
	if got := b.modes(); got != "1:sendrecv,2:sendrecv 1:sendrecv,2:sendrecv" {
		t.Error(got)
	}
}

// TestR3261_14_1_NoLineWhileAnInviteIsOpen: an offer that the other side has to hear of, with a new line or without, is refused with 491 before the media gateway
// hears of it, while an INVITE there is not acknowledged yet.
func TestR3261_14_1_NoLineWhileAnInviteIsOpen(t *testing.T) {
	for name, offer := range map[string]string{"a line is added": twoPhone(2, "sendrecv", "sendrecv"), "hold": phoneSDP("sendonly", 2)} {
		t.Run(name, func(t *testing.T) {
			b := newSeveral(t)
			b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
			b.reply()
			b.callee(200, phoneSDP("sendrecv", 1))
			b.reply()
			b.log = nil
			b.request(LegCore, "g1", b.phone("INVITE", 1, offer))
			b.saw("core> 491")
			b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 1, "")})
			b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
			b.request(LegCore, "g2", b.phone("INVITE", 2, offer))
			if name == "hold" {
				b.saw("access> INVITE")
				return
			}
			b.saw("mgw> Modify Modify")
			b.reply()
			b.saw("access> INVITE")
		})
	}
}

// TestR3261_14_1_NoInviteOfOursWhileALineIsMade: what we have to tell the other side by an INVITE of its own waits while the media gateway makes a stream, and then goes
// with the offer that has the line.
func TestR3261_14_1_NoInviteOfOursWhileALineIsMade(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.SessionExpires = 0
	b.establish()
	b.log = nil
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv")))
	b.step(elsewhere) // the peer takes no UPDATE
	b.saw("mgw> Modify Modify")
	b.reply()
	b.saw("core> INVITE")
	b.says("core INVITE", "on on")
	b.has("core INVITE", "Contact: <sip:ct@c2.example:5070>")
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "sendrecv", "sendrecv"))
	b.saw("core> ACK", "access> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.saw() // the offer had our new Contact
}

// TestIQ35_BareReinviteWithTwoLines: our offer has both lines; an answer that refuses the second holds it for the browser; none leaves all as it was.
func TestIQ35_BareReinviteWithTwoLines(t *testing.T) {
	for answer, want := range map[string]string{twoPhone(2, "sendrecv", ""): "1:sendrecv,2:sendrecv 1:sendrecv,2:inactive", "": ""} {
		b := newSeveral(t)
		b.establishTwo("sendrecv", "sendrecv")
		b.request(LegCore, "s2", b.phone("INVITE", 2, ""))
		b.saw("core> 200")
		b.says("core 200", "on on")
		b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 2, answer)})
		if want == "" {
			b.saw()
			continue
		}
		b.saw("mgw> Modify Modify", "access> INVITE")
		if got := b.modes(); got != want && got != "1:sendrecv,2:inactive 1:sendrecv,2:inactive" {
			t.Error(got)
		}
		b.reply()
		b.direction("access INVITE", "inactive")
		b.says("access INVITE", "on on")
		b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(4, "sendrecv", "inactive"), "actpass", "active"))
		b.saw("access> ACK", "mgw> Modify Modify")
		if got := b.modes(); got != "1:sendrecv,2:inactive 1:sendrecv,2:inactive" {
			t.Error(got)
		}
		b.reply()
		b.saw()
	}
}

// TestIQ35_EarlyOfferBringsNoLineBack: a line that the core has refused and asks for in an UPDATE before the answer stays refused: the browser does not hear of it.
func TestIQ35_EarlyOfferBringsNoLineBack(t *testing.T) {
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	b.reply()
	b.response("core INVITE", 183, "r1", twoPhone(1, "sendrecv", ""))
	b.reply()
	b.says("access 183", "on 0")
	b.request(LegCore, "u1", b.phone("UPDATE", 1, twoPhone(2, "sendrecv", "sendrecv")))
	b.says("core 200", "on 0")
	b.response("core INVITE", 200, "r1", "")
	b.reply()
	b.log = nil
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.saw()
}

// TestIQ35_CallEndsWhileALineIsMade: whoever ends it, nothing of the offer goes on when the MGW has made the stream after all.
func TestIQ35_CallEndsWhileALineIsMade(t *testing.T) {
	for name, ends := range map[string]func(*bench){
		"hangup_access": func(b *bench) { b.step(RequestIn{Leg: LegAccess, Tx: "b1", Msg: b.browser("BYE", 3, "")}) },
		"hangup_core":   func(b *bench) { b.step(RequestIn{Leg: LegCore, Tx: "b1", Msg: b.phone("BYE", 2, "")}) },
		"released":      func(b *bench) { b.step(Release{Status: 503, Reason: "stopping"}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newSeveral(t)
			b.establish()
			b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv")))
			ends(b)
			if b.final["s2"] != 1 {
				t.Errorf("the offer has %d final responses", b.final["s2"])
			}
			b.log = nil
			b.reply()
			b.saw("mgw> Subtract")
			b.done("ended " + name)
		})
	}
}

// TestR8643_KeysOfOneLineOnly: a phone that answers one line with SRTP and the other without has them so; one that answers with another protocol than was
// offered has that line taken back, once.
func TestR8643_KeysOfOneLineOnly(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.Media.SRTP = offeranswer.SRTPOsrtp
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	b.reply()
	plain := twoPhone(1, "sendrecv", "sendrecv")
	i := strings.LastIndex(plain, "m=audio")
	key := "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
	b.callee(200, plain[:i]+key+strings.Replace(plain[i:], "RTP/AVP", "RTP/SAVPF", 1))
	streams := b.iq.GetActions()[0].GetCommands()[1].GetModify().GetDescriptor_().GetStreams()
	if n := len(streams[0].GetRemote().GetCryptos()); n != 1 {
		t.Errorf("%d keys of the first line", n)
	}
	if got := b.modes(); !strings.HasSuffix(got, " 1:sendrecv,2:inactive") {
		t.Error(got)
	}
	b.reply()
	b.says("access 200", "on 0")
	b.says("core INVITE", "on 0")
	b.log = nil
	b.answers(LegCore, "INVITE", 200, plain[:i]+key+strings.Replace(plain[i:], "4010", "0", 1))
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.saw("core> ACK", "mgw> Modify Modify")
	b.reply()
	b.saw()
}
