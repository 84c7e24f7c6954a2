package callcore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// coreSDP is a description of the SIP user with further lines at media level.
func coreSDP(version int, addr string, lines ...string) string {
	s := fmt.Sprintf("v=0\r\no=- 1 %d IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n", version, addr, addr)
	for _, l := range lines {
		s += l + "\r\n"
	}
	return s
}

const browserAnswer = "v=0\r\no=- 77 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 110\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
	"a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n" +
	"a=setup:active\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:110 telephone-event/48000\r\n"

// caller is a request of the SIP user who called.
func caller(method string, seq int, body string, fields ...string) headers.Msg {
	m := headers.Msg{Method: method, RequestURI: "sip:alice@df7.invalid", Body: []byte(body)}
	to := "<sip:alice@x.example>"
	if seq > 1 || method == "ACK" {
		to += ";tag=ct"
	}
	for _, f := range [][2]string{{"From", "<sip:bob@x.example>;tag=b1"}, {"To", to}, {"Call-ID", "cc"}, {"CSeq", fmt.Sprintf("%d %s", seq, method)},
		{"Max-Forwards", "70"}, {"Contact", "<sip:bob@10.0.0.7:5060>"}, {"Content-Type", "application/sdp"}} {
		m.Add(f[0], f[1])
	}
	for _, f := range fields {
		n, v, _ := strings.Cut(f, ": ")
		m.Add(n, v)
	}
	return m
}

// response is one of the callee's fork with the tag to the last request of the kind, e.g. "core INVITE".
func (b *bench) response(to string, status int, tag, body string, fields ...string) {
	b.t.Helper()
	req := b.last[to]
	m := headers.NewResponse(&req, status, "")
	if headers.ToTag(&m) == "" {
		m.Set("To", req.Get("To")+";tag="+tag)
	}
	leg := LegAccess
	if strings.HasPrefix(to, "core") {
		leg = LegCore
	}
	m.Add("Contact", "<sip:"+tag+"@10.0.0.9:5060>")
	if body != "" {
		m.Add("Content-Type", "application/sdp")
		m.Body = []byte(body)
	}
	for _, f := range fields {
		n, v, _ := strings.Cut(f, ": ")
		m.Add(n, v)
	}
	b.step(ResponseIn{Leg: leg, Tx: b.tx[to], Msg: m})
}

func (b *bench) ladder(want ...string) {
	b.t.Helper()
	if got := strings.Join(b.log, ", "); got != strings.Join(want, ", ") {
		b.t.Errorf("ladder\n got %s\nwant %s", got, strings.Join(want, ", "))
	}
	b.log = nil
}

func (b *bench) has(message string, lines ...string) {
	b.t.Helper()
	m := b.last[message]
	raw, err := m.Bytes()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range lines {
		if not, found := strings.CutPrefix(l, "!"); found {
			if strings.Contains(string(raw), not) {
				b.t.Errorf("%s has %q:\n%s", message, not, raw)
			}
		} else if !strings.Contains(string(raw), l) {
			b.t.Errorf("%s lacks %q:\n%s", message, l, raw)
		}
	}
}

func (b *bench) invited() {
	b.t.Helper()
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.ladder("mgw> Add Add", "core> INVITE")
}

func (b *bench) hangUp(seq int) {
	b.t.Helper()
	b.step(RequestIn{Leg: LegAccess, Tx: "bye", Msg: browser("BYE", seq, "")})
	b.done("access> 200", "core> BYE", "mgw> Subtract", "ended hangup_access")
}

func TestMO11_R3262_2_ReliableProgressIsAcknowledged(t *testing.T) {
	b := newBench(t)
	b.invited()
	b.has("core INVITE", "Supported: 100rel", "PRACK")
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7"), "Require: 100rel", "RSeq: 5")
	b.ladder("core> PRACK", "mgw> Modify Modify", "access> 183")
	b.has("core PRACK", "RAck: 5 1 INVITE", "CSeq: 2 PRACK", "PRACK sip:r1@10.0.0.9:5060", ";tag=r1")
	b.has("access 183", "a=ice-lite", "!100rel", "!RSeq")
	b.reply()
	b.response("core PRACK", 200, "r1", "")
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7"), "Require: 100rel", "RSeq: 5") // repeated: nothing
	b.response("core INVITE", 180, "r1", "", "Require: 100rel", "RSeq: 7")                     // a gap: nothing
	b.ladder("")
	b.response("core INVITE", 180, "r1", "", "Require: 100rel", "RSeq: 6")
	b.ladder("core> PRACK", "access> 180")
	b.has("core PRACK", "RAck: 6 1 INVITE", "CSeq: 3 PRACK")
	b.response("core PRACK", 200, "r1", "")
	b.response("core INVITE", 200, "r1", "") // no description: it was in the 183
	b.ladder("core> ACK", "access> 200", "mgw> Modify Modify")
	b.has("core ACK", "CSeq: 1 ACK")
	b.has("access 200", "a=ice-lite")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.hangUp(3)
	b.has("core BYE", "CSeq: 4 BYE")
}

func TestMO14_ThreeForksWithEarlyMedia(t *testing.T) {
	b := newBench(t)
	b.invited()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.11"), "Require: 100rel", "RSeq: 1")
	b.ladder("core> PRACK", "mgw> Modify Modify", "access> 183")
	first := string(b.last["access 183"].Body)
	b.reply()
	b.response("core PRACK", 200, "r1", "")
	b.response("core INVITE", 183, "r2", coreSDP(1, "10.0.0.12"), "Require: 100rel", "RSeq: 100")
	b.ladder("core> PRACK", "mgw> Modify Modify", "access> 183")
	b.has("core PRACK", "RAck: 100 1 INVITE", "CSeq: 2 PRACK", "sip:r2@10.0.0.9", ";tag=r2")
	if second := string(b.last["access 183"].Body); second != first {
		t.Errorf("the browser's description changed by a fork:\n%s\n%s", first, second)
	}
	if got := b.iq.String(); !strings.Contains(got, "10.0.0.12") {
		t.Errorf("the MGW does not hear the second fork: %s", got)
	}
	b.reply()
	b.response("core PRACK", 200, "r2", "")
	b.response("core INVITE", 180, "r3", "")
	b.response("core INVITE", 180, "r1", "", "Require: 100rel", "RSeq: 2") // the first dialog goes on with its own numbers
	b.ladder("access> 180", "core> PRACK", "access> 180")
	b.has("core PRACK", "RAck: 2 1 INVITE", "CSeq: 3 PRACK", ";tag=r1")
	b.response("core PRACK", 200, "r1", "")
	b.response("core INVITE", 200, "r1", "") // the first one wins; its description is the one of its 183
	b.ladder("core> ACK", "access> 200", "mgw> Modify Modify")
	if got := b.iq.String(); !strings.Contains(got, "10.0.0.11") || strings.Contains(got, "10.0.0.12") {
		t.Errorf("the MGW hears another fork than the one that answered: %s", got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.response("core INVITE", 200, "r2", coreSDP(1, "10.0.0.12")) // a second 2xx: acknowledged and ended
	b.ladder("core> ACK", "core> BYE")
	b.has("core BYE", ";tag=r2")
	b.response("core BYE", 200, "r2", "")
	b.hangUp(3)
	b.has("core BYE", ";tag=r1")
}

func TestMO10_R5009_EarlyMediaIsGated(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Policy.EarlyMedia = EarlyMediaAuthorised
	b.invited()
	b.has("core INVITE", "P-Early-Media: supported")
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7"))
	if got := b.iq.String(); strings.Contains(got, "MODE_SEND") {
		t.Errorf("early media without authorisation: %s", got)
	}
	b.reply()
	b.response("core INVITE", 183, "r1", "", "P-Early-Media: sendonly")
	if got := b.iq.String(); strings.Count(got, "MODE_SENDONLY") != 1 || strings.Count(got, "MODE_RECVONLY") != 1 {
		t.Errorf("authorised one way: %s", got)
	}
	b.has("access 183", "!P-Early-Media")
	b.reply()
	b.response("core INVITE", 183, "r1", "", "P-Early-Media: sendrecv")
	if got := b.iq.String(); strings.Count(got, "MODE_SENDRECV") != 2 {
		t.Errorf("authorised both ways: %s", got)
	}
	b.reply()
	b.response("core INVITE", 486, "r1", "")
	b.reply()
	b.done("mgw> Modify Modify", "access> 183", "mgw> Modify Modify", "access> 183", "mgw> Modify Modify", "access> 183", "access> 486", "mgw> Subtract", "ended rejected")
}

func TestR3311_UpdateInAnEarlyDialog(t *testing.T) {
	b := newBench(t)
	b.invited()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7"), "Require: 100rel", "RSeq: 1")
	b.reply()
	b.response("core PRACK", 200, "r1", "")
	b.log = nil
	u := browser("UPDATE", 2, coreSDP(2, "10.0.0.8"))
	u.Set("From", "<sip:bob@x.example>;tag=r1")
	u.Set("To", "<sip:alice@x.example>;tag=ct")
	u.Set("Call-ID", b.s.d.Legs[LegCore].CallID)
	u.Set("CSeq", "1 UPDATE")
	b.step(RequestIn{Leg: LegCore, Tx: "u1", Msg: u})
	b.ladder("core> 200", "mgw> Modify Modify")
	b.has("core 200", "RTP/AVP 8", "a=sendrecv")
	if got := b.iq.String(); !strings.Contains(got, "10.0.0.8") {
		t.Errorf("the MGW is not told of the new address: %s", got)
	}
	b.reply()
	u.Set("From", "<sip:bob@x.example>;tag=r9")
	b.step(RequestIn{Leg: LegCore, Tx: "u2", Msg: u})
	b.ladder("core> 481")
	b.response("core INVITE", 200, "r1", "")
	b.ladder("core> ACK", "access> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.hangUp(3)
}

const (
	preNone     = "a=curr:qos local none\r\na=curr:qos remote none\r\na=des:qos mandatory local sendrecv\r\na=des:qos none remote sendrecv"
	preReserved = "a=curr:qos local sendrecv\r\na=curr:qos remote sendrecv\r\na=des:qos mandatory local sendrecv\r\na=des:qos mandatory remote sendrecv"
)

// preconditions is a bench whose policy answers preconditions.
func preconditions(t *testing.T) *bench {
	b := newBench(t)
	b.s.d.Cfg.Policy.Media.Preconditions = offeranswer.PreconditionsAnswer
	return b
}

func rack(b *bench) string { return "RAck: " + b.field("core 183", "RSeq") + " 1 INVITE" }

func TestPRE04_MT04_MT05_MT06_MT07_BrowserRingsOnlyAfterTheReservation(t *testing.T) {
	b := preconditions(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7", preNone), "Supported: 100rel, precondition")})
	b.reply()
	b.ladder("mgw> Add Add", "core> 183")
	b.has("core 183", "Require: precondition, 100rel", "a=curr:qos local sendrecv", "a=curr:qos remote none", "a=conf:qos remote sendrecv", "a=des:qos mandatory remote sendrecv")
	b.step(TimerFired{Name: timerRel}) // the PRACK is late
	b.ladder("core> 183")
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, "", rack(b))})
	b.ladder("core> 200")
	b.step(RequestIn{Leg: LegCore, Tx: "u1", Msg: caller("UPDATE", 3, coreSDP(2, "10.0.0.7", preReserved))})
	b.ladder("core> 200", "access> INVITE")
	b.has("core 200", "a=curr:qos remote sendrecv", "!a=conf")
	b.has("access INVITE", "!qos", "!100rel", "!precondition", "a=ice-lite")
	b.response("access INVITE", 180, "w1", "")
	b.ladder("core> 180")
	b.has("core 180", "!RSeq")
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.ladder("access> ACK", "core> 200", "mgw> Modify Modify")
	if m := b.last["core 200"]; len(m.Body) != 0 {
		t.Errorf("MT-07: the 200 repeats the answer:\n%s", m.Body)
	}
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, "")})
	b.step(RequestIn{Leg: LegCore, Tx: "bye", Msg: caller("BYE", 4, "")})
	b.done("core> 200", "access> BYE", "mgw> Subtract", "ended hangup_core")
}

func TestPRE05_CallerHasReserved(t *testing.T) {
	b := preconditions(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7", strings.Replace(preNone, "local none", "local sendrecv", 1)), "Supported: 100rel, precondition")})
	b.reply()
	b.ladder("mgw> Add Add", "access> INVITE")
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.ladder("access> ACK", "core> 200", "mgw> Modify Modify")
	b.has("core 200", "a=curr:qos local sendrecv", "a=curr:qos remote sendrecv")
	b.step(RequestIn{Leg: LegCore, Tx: "bye", Msg: caller("BYE", 2, "")})
	b.done("core> 200", "access> BYE", "mgw> Subtract", "ended hangup_core")
}

func TestPRE06_PreconditionsThatAreNotTaken(t *testing.T) {
	b := newBench(t) // policy off
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7", preNone), "Require: precondition, 100rel, x-new")})
	b.has("core 420", "Unsupported: precondition, x-new")
	b.done("core> 420", "ended refused")
}

func TestPRE07_ReservationNeverComes(t *testing.T) {
	b := preconditions(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7", preNone), "Supported: 100rel, precondition")})
	b.reply()
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, "", rack(b))})
	if b.s.Timers()[timerReserve].Sub(b.now) < 25*time.Second {
		t.Errorf("guard %v", b.s.Timers())
	}
	b.step(TimerFired{Name: timerReserve})
	b.has("core 580", "a=des:qos failure remote sendrecv")
	b.done("mgw> Add Add", "core> 183", "core> 200", "core> 580", "mgw> Subtract", "ended refused")
}

func TestPRE02_MO12_R3312_OfferWithPreconditions(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Policy.Media.Preconditions = offeranswer.PreconditionsFull
	b.invited()
	b.has("core INVITE", "Supported: 100rel, precondition", "a=curr:qos local sendrecv", "a=curr:qos remote none", "a=des:qos mandatory local sendrecv", "a=des:qos optional remote sendrecv")
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7", "a=curr:qos local none\r\na=curr:qos remote sendrecv\r\na=des:qos mandatory local sendrecv\r\na=des:qos mandatory remote sendrecv"), "Require: 100rel, precondition", "RSeq: 1")
	b.has("access 183", "!qos")
	b.reply()
	b.response("core PRACK", 200, "r1", "")
	b.response("core INVITE", 200, "r1", "")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.log = nil
	b.hangUp(3)
}

func TestR3262_1_LostPrackEndsTheCall(t *testing.T) {
	b := preconditions(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7", preNone), "Supported: 100rel, precondition")})
	b.reply()
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, "", "RAck: 1 1 INVITE")}) // another number
	b.step(RequestIn{Leg: LegCore, Tx: "p2", Msg: caller("PRACK", 3, "", "RAck: x")})
	b.step(TimerFired{Name: timerRelEnd})
	b.done("mgw> Add Add", "core> 183", "core> 481", "core> 400", "core> 504", "mgw> Subtract", "ended timeout")
}

func TestR3262_1_FinalResponseWaitsForThePrack(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Supported: 100rel")})
	b.reply()
	b.log = nil
	b.response("access INVITE", 183, "w1", browserAnswer) // a browser's description in a provisional response is not used early
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, "")})
	b.step(RequestIn{Leg: LegCore, Tx: "bye", Msg: caller("BYE", 2, "")})
	b.done("core> 183", "access> ACK", "core> 200", "mgw> Modify Modify", "core> 200", "access> BYE", "mgw> Subtract", "ended hangup_core")

	b = newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "", "Require: 100rel")})
	b.reply()
	b.response("access INVITE", 180, "w1", "")
	b.ladder("mgw> Add Add", "access> INVITE", "core> 180")
	b.has("core 180", "Require: 100rel", "RSeq: ", "RTP/AVP") // RFC 3262 §5: the first one carries the offer
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.ladder("access> ACK", "mgw> Modify Modify") // the 200 is held
	b.reply()
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, coreSDP(1, "10.0.0.7"), "RAck: "+b.field("core 180", "RSeq")+" 1 INVITE")})
	b.ladder("core> 200", "mgw> Modify Modify", "core> 200")
	b.step(RequestIn{Leg: LegCore, Tx: "bye", Msg: caller("BYE", 3, "")})
	b.done("core> 200", "access> BYE", "mgw> Subtract", "ended hangup_core")
}

func TestMO19_LateOffer(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "")})
	b.reply()
	b.ladder("mgw> Add Add", "access> INVITE")
	b.has("access INVITE", "opus/48000/2", "a=setup:actpass")
	b.response("access INVITE", 180, "w1", "")
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.ladder("core> 180", "access> ACK", "core> 200", "mgw> Modify Modify")
	b.has("core 200", "RTP/AVP", "PCMA/8000", "!opus", "!candidate")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, coreSDP(1, "10.0.0.7"))})
	b.ladder("mgw> Modify Modify")
	if got := b.iq.String(); !strings.Contains(got, "10.0.0.7") {
		t.Errorf("the answer in the ACK does not reach the MGW: %s", got)
	}
	b.reply()
	b.step(RequestIn{Leg: LegCore, Tx: "bye", Msg: caller("BYE", 3, "")})
	b.done("core> 200", "access> BYE", "mgw> Subtract", "ended hangup_core")
}

func TestMO19_LateOfferWithoutAnswer(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "")})
	b.reply()
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, "")})
	b.done("mgw> Add Add", "access> INVITE", "access> ACK", "core> 200", "mgw> Modify Modify", "access> BYE", "core> BYE", "mgw> Subtract", "ended media")
}

func TestMO19_ReinviteWithoutOffer(t *testing.T) {
	b := newBench(t)
	b.establish()
	b.log = nil
	re := func(seq int, body string) headers.Msg {
		m := caller("INVITE", 2, body)
		m.Set("From", "<sip:bob@x.example>;tag=r1")
		m.Set("Call-ID", b.s.d.Legs[LegCore].CallID)
		m.Set("CSeq", fmt.Sprintf("%d INVITE", seq))
		return m
	}
	b.step(RequestIn{Leg: LegCore, Tx: "r1", Msg: re(1, "")})
	b.ladder("core> 200")
	b.has("core 200", "RTP/AVP", "a=sendrecv")
	ack := re(1, coreSDP(2, "10.0.0.8", "a=sendonly"))
	ack.Method = "ACK"
	b.step(AckIn{Leg: LegCore, Msg: ack})
	b.ladder("mgw> Modify Modify", "access> INVITE") // the browser is told of the hold
	b.has("access INVITE", "a=sendonly")
	b.reply()
	b.response("access INVITE", 200, "f1", strings.Replace(strings.Replace(browserAnswer, "a=sendrecv", "a=recvonly", 1), "setup:active", "setup:actpass", 1))
	b.ladder("access> ACK", "mgw> Modify Modify")
	b.reply()
	b.hangUp(3)
}

func timers(t *testing.T) *bench {
	b := newBench(t)
	b.s.d.Cfg.Policy.SessionExpires = 1800
	return b
}

func TestMO13_R4028_SessionTimerIsRefreshed(t *testing.T) {
	b := timers(t)
	b.invited()
	b.has("core INVITE", "Session-Expires: 1800", "Supported: 100rel, timer")
	b.response("core INVITE", 422, "r1", "", "Min-SE: 3600")
	b.ladder("core> INVITE")
	b.has("core INVITE", "Session-Expires: 3600", "Min-SE: 3600", "CSeq: 2 INVITE")
	b.response("core INVITE", 200, "r1", coreSDP(1, "10.0.0.7"), "Session-Expires: 3600;refresher=uac", "Allow: INVITE, UPDATE")
	b.ladder("core> ACK", "access> 200", "mgw> Modify Modify")
	b.has("core ACK", "CSeq: 2 ACK")
	b.has("access 200", "!Session-Expires")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	if left := b.s.Timers()[timerRefresh(LegCore)].Sub(b.now); left < 29*time.Minute || left > 30*time.Minute {
		t.Errorf("refresh in %v", left)
	}
	b.step(TimerFired{Name: timerRefresh(LegCore)})
	b.ladder("core> UPDATE")
	b.has("core UPDATE", "Session-Expires: 3600;refresher=uac", "Supported: timer", "!application/sdp")
	b.response("core UPDATE", 200, "r1", "", "Session-Expires: 3600;refresher=uac")
	if _, ok := b.s.Timers()[timerRefresh(LegCore)]; !ok {
		t.Error("no further refresh")
	}
	b.step(TimerFired{Name: timerRefresh(LegCore)})
	b.response("core UPDATE", 501, "r1", "")
	b.ladder("core> UPDATE", "core> INVITE") // no UPDATE there: by INVITE
	b.has("core INVITE", "a=sendrecv", "Session-Expires")
	b.response("core INVITE", 200, "r1", coreSDP(1, "10.0.0.7"), "Session-Expires: 3600;refresher=uac")
	b.ladder("core> ACK")
	b.hangUp(3)
}

func TestREL04_SessionTimerExpires(t *testing.T) {
	b := timers(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s0", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Supported: timer", "Session-Expires: 60")})
	b.has("core 422", "Min-SE: 90")
	b.done("core> 422", "ended refused")

	b = timers(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Supported: timer", "Session-Expires: 900")})
	b.reply()
	b.response("access INVITE", 200, "w1", browserAnswer)
	b.has("core 200", "Session-Expires: 900;refresher=uac", "Require: timer")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: caller("ACK", 1, "")})
	b.step(RequestIn{Leg: LegCore, Tx: "u1", Msg: caller("UPDATE", 3, "", "Supported: timer", "Session-Expires: 900;refresher=uac")})
	b.has("core 200", "Session-Expires: 900;refresher=uac")
	b.log = nil
	b.step(TimerFired{Name: timerExpire(LegCore)})
	b.has("core BYE", "Session timer expired")
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended expired")
}

func TestMO06_MT02_WhatTheGatewayAsserts(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Outbound.Dialog = []headers.Field{{Name: "P-Charging-Vector", Value: "icid-value=\"1\""}}
	b.s.d.Cfg.Outbound.Answer = []headers.Field{{Name: "P-Asserted-Identity", Value: "<sip:alice@x.example>"}}
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "", "Require: 100rel", "Privacy: id", "P-Asserted-Identity: <sip:bob@x.example>", "P-Charging-Vector: icid-value=9")})
	b.reply()
	b.has("access INVITE", "Privacy: id", "!P-Asserted", "!P-Charging")
	b.response("access INVITE", 180, "w1", "")
	b.response("access INVITE", 200, "w1", browserAnswer, "P-Asserted-Identity: <sip:forged@x.example>")
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, coreSDP(1, "10.0.0.7"), "RAck: "+b.field("core 180", "RSeq")+" 1 INVITE")})
	m := b.last["core 200"]
	if got := m.Values("P-Asserted-Identity"); len(got) != 1 || got[0] != "<sip:alice@x.example>" {
		t.Errorf("P-Asserted-Identity of the answer: %q", got)
	}
	b.step(TimerFired{Name: timerAckEnd})
	b.has("core BYE", "P-Charging-Vector: icid-value=\"1\"")
	b.has("access BYE", "!P-Charging")
}
