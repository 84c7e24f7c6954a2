package callcore

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// inFork is a request of the callee's fork with the tag.
func (b *bench) inFork(method, tag string, seq, body string, fields ...string) headers.Msg {
	m := caller(method, 2, body, fields...)
	m.Set("From", "<sip:bob@x.example>;tag="+tag)
	m.Set("Call-ID", b.s.d.Legs[LegCore].CallID)
	m.Set("CSeq", seq+" "+method)
	return m
}

func TestR3262_1_PrackAfterTheAnswer(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Require: 100rel")})
	b.reply()
	b.response("access INVITE", 180, "w1", "")
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.ladder("mgw> Add Add", "access> INVITE", "core> 180", "access> ACK", "core> 200", "mgw> Modify Modify") // no description waits
	b.reply()
	rack := "RAck: " + b.field("core 180", "RSeq") + " 1 INVITE"
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, "", rack)}) // RFC 3262 §3: it must be prepared for it
	b.step(RequestIn{Leg: LegCore, Tx: "p2", Msg: caller("PRACK", 3, "", rack)}) // but not twice
	b.ladder("core> 200", "core> 481")
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, "")})
	b.hangUpCore(4)
}

func (b *bench) hangUpCore(seq int) {
	b.t.Helper()
	b.log = nil
	b.step(RequestIn{Leg: LegCore, Tx: "bye", Msg: caller("BYE", seq, "")})
	b.done("core> 200", "access> BYE", "mgw> Subtract", "ended hangup_core")
}

// The first reliable response has our offer; those that wait behind it do not repeat it, nor does one that the answer overtakes leave.
func TestR3262_1_OnlyOneReliableResponseHasTheDescription(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "", "Require: 100rel")})
	b.reply()
	b.response("access INVITE", 180, "w1", "")
	b.response("access INVITE", 183, "w1", "")
	b.ladder("mgw> Add Add", "access> INVITE", "core> 180") // the 183 waits
	rack := func(n string) string { return "RAck: " + b.field("core "+n, "RSeq") + " 1 INVITE" }
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, coreSDP(1, "10.0.0.7"), rack("180"))})
	b.ladder("core> 200", "core> 183")
	b.has("core 183", "!application/sdp", "Require: 100rel")
	b.step(RequestIn{Leg: LegCore, Tx: "p2", Msg: caller("PRACK", 3, "", rack("183"))})
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.has("core 200", "!application/sdp")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, "")})
	b.hangUpCore(4)
}

func TestR3262_1_AnswerOvertakesResponsesThatWait(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "", "Require: 100rel")})
	b.reply()
	b.response("access INVITE", 180, "w1", "")
	b.response("access INVITE", 183, "w1", "") // waits for the PRACK of the 180
	b.response("access INVITE", 200, "w1", strings.Replace(browserAnswer, "a=sendrecv", "a=recvonly", 1))
	b.reply()
	b.log = nil
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, coreSDP(1, "10.0.0.7"), "RAck: "+b.field("core 180", "RSeq")+" 1 INVITE")})
	b.ladder("core> 200", "mgw> Modify Modify", "core> 200") // no 183, and no re-INVITE before the dialog is up
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, "")})
	b.ladder("core> INVITE") // now the browser's direction is told
	n, _ := strconv.Atoi(b.field("core 180", "RSeq"))
	b.step(RequestIn{Leg: LegCore, Tx: "p2", Msg: caller("PRACK", 3, "", fmt.Sprintf("RAck: %d 1 INVITE", n+1))}) // of the 183, which was never sent
	b.ladder("core> 481")
	b.response("core INVITE", 200, "b1", coreSDP(2, "10.0.0.7", "a=sendonly"))
	b.reply()
	b.hangUpCore(4)
}

func TestR3262_2_OutOfOrderAndForeignResponses(t *testing.T) {
	b := newBench(t)
	b.invited()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7"), "RSeq: 5") // without Require it is not reliable
	b.ladder("mgw> Modify Modify", "access> 183")
	b.reply()
	b.response("core INVITE", 486, "r1", "")
	b.done("access> 486", "mgw> Subtract", "ended rejected")

	b = newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"))})
	b.reply()
	b.response("access INVITE", 180, "w1", "", "Require: 100rel", "RSeq: 1") // no browser is sent a PRACK (MO-11)
	b.step(RequestIn{Leg: LegAccess, Tx: "p", Msg: func() headers.Msg {
		m := browser("PRACK", 2, "")
		m.Set("From", "<sip:alice@x.example>;tag=w1")
		m.Set("Call-ID", b.s.d.Legs[LegAccess].CallID)
		return m
	}()})
	b.ladder("mgw> Add Add", "access> INVITE", "core> 180", "access> 405")
	b.has("access 405", "!PRACK,", "Allow: INVITE")
	b.response("access INVITE", 486, "w1", "")
	b.done("core> 486", "mgw> Subtract", "ended rejected")
}

func TestR3311_UpdateBeforeTheFirstExchangeIsOver(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Supported: 100rel")})
	b.step(RequestIn{Leg: LegCore, Tx: "u1", Msg: caller("UPDATE", 2, coreSDP(2, "10.0.0.8"))})
	b.has("core 500", "Retry-After: ") // its own offer is not answered (RFC 3311 §5.2)
	b.reply()
	b.response("access INVITE", 180, "w1", "")
	u := browser("UPDATE", 2, browserOffer)
	u.Set("From", "<sip:alice@x.example>;tag=w1")
	u.Set("Call-ID", b.s.d.Legs[LegAccess].CallID)
	b.step(RequestIn{Leg: LegAccess, Tx: "u2", Msg: u}) // ours is not answered
	b.ladder("mgw> Add Add", "core> 500", "access> INVITE", "core> 180", "access> 491")
	b.response("access INVITE", 486, "w1", "")
	b.done("core> 486", "mgw> Subtract", "ended rejected")
}

// A fork that offers anew is not heard for that; when it answers, its new address counts, and the description of its 183 does not come back.
func TestMO14_R3311_UpdateOfAForkThatIsNotHeard(t *testing.T) {
	b := newBench(t)
	b.invited()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.11"), "Require: 100rel", "RSeq: 1")
	b.reply()
	b.response("core PRACK", 200, "r1", "")
	b.response("core INVITE", 183, "r2", coreSDP(1, "10.0.0.12"), "Require: 100rel", "RSeq: 1")
	b.reply()
	b.response("core PRACK", 200, "r2", "")
	b.log = nil
	b.step(RequestIn{Leg: LegCore, Tx: "u1", Msg: b.inFork("UPDATE", "r1", "1", coreSDP(2, "10.0.0.21"))})
	b.ladder("core> 200") // no Modify: r2 is heard
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.11"), "Require: 100rel", "RSeq: 2")
	b.ladder("core> PRACK", "access> 183")
	b.response("core PRACK", 200, "r1", "")
	b.response("core INVITE", 200, "r1", coreSDP(1, "10.0.0.11")) // RFC 3261 §13.2.1: to be ignored
	if got := b.iq.String(); !strings.Contains(got, "10.0.0.21") || strings.Contains(got, "10.0.0.11") {
		t.Errorf("the MGW is not on the line of the UPDATE: %s", got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.log = nil
	b.hangUp(3)
}

func TestMO10_MO14_AuthorisationOfEachFork(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Policy.EarlyMedia = EarlyMediaAuthorised
	b.invited()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.11"), "P-Early-Media: sendonly")
	b.reply()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.11")) // without the field it holds on (RFC 5009 §8)
	if got := b.iq.String(); strings.Count(got, "MODE_SENDONLY") != 1 {
		t.Errorf("the authorisation is gone: %s", got)
	}
	b.reply()
	b.response("core INVITE", 183, "r2", coreSDP(1, "10.0.0.12"))
	b.ladder("mgw> Modify Modify", "access> 183", "mgw> Modify Modify", "access> 183", "access> 183") // r2 is not heard
	b.response("core INVITE", 180, "r2", "", "P-Early-Media: sendonly")
	b.ladder("mgw> Modify Modify", "access> 180")
	if got := b.iq.String(); !strings.Contains(got, "10.0.0.12") || strings.Count(got, "MODE_SENDONLY") != 1 {
		t.Errorf("the fork authorised last is not heard: %s", got)
	}
	b.reply()
	b.response("core INVITE", 486, "r1", "")
	b.done("access> 486", "mgw> Subtract", "ended rejected")
}

// A fork that answers too late is ended with the next number of its own dialog.
func TestMO14_RFC3261_12_2_1_1_ByeOfALateForkHasItsOwnNumber(t *testing.T) {
	b := newBench(t)
	b.invited()
	for _, n := range []string{"1", "2", "3"} {
		b.response("core INVITE", 183, "r1", "", "Require: 100rel", "RSeq: "+n)
		b.response("core PRACK", 200, "r1", "")
	}
	b.response("core INVITE", 200, "r2", coreSDP(1, "10.0.0.12"))
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.response("core INVITE", 200, "r1", coreSDP(1, "10.0.0.11"))
	b.has("core BYE", "CSeq: 5 BYE", ";tag=r1")
	b.response("core BYE", 200, "r1", "")
	b.log = nil
	b.hangUp(3)
	b.has("core BYE", "CSeq: 2 BYE", ";tag=r2")
}

func TestPRE01_NoPreconditionsWithout100rel(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Policy.Media.Preconditions, b.s.d.Cfg.Policy.Reliable = offeranswer.PreconditionsFull, false
	b.invited()
	b.has("core INVITE", "!a=curr", "!precondition", "!100rel")

	b = newBench(t)
	b.s.d.Cfg.Policy.Media.Preconditions = offeranswer.PreconditionsFull
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "", "Supported: 100rel")})
	b.reply()
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.has("core 200", "!a=curr") // the caller of a late offer has not asked for them
}

func TestPRE06_FailedFromTheStart(t *testing.T) {
	b := preconditions(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7", "a=curr:qos local none", "a=des:qos failure local sendrecv"), "Supported: 100rel, precondition")})
	b.reply()
	b.has("core 580", "a=des:qos failure remote sendrecv")
	b.done("mgw> Add Add", "core> 580", "mgw> Subtract", "ended refused")
}

func TestPRE06_MandatoryAndNotUnderstood(t *testing.T) {
	offer := coreSDP(1, "10.0.0.7", "a=curr:qos e2e none", "a=des:qos mandatory e2e sendrecv")
	b := preconditions(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, offer, "Supported: 100rel, precondition")})
	b.reply()
	b.has("core 580", "a=des:qos unknown e2e sendrecv")
	b.done("mgw> Add Add", "core> 580", "mgw> Subtract", "ended refused")

	b = newBench(t) // who does not use preconditions does not read their lines
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, offer, "Supported: 100rel, precondition")})
	b.reply()
	b.ladder("mgw> Add Add", "access> INVITE")
}
