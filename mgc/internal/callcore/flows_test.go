package callcore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// saw compares what came out since it was called last.
func (b *bench) saw(want ...string) {
	b.t.Helper()
	if got := strings.Join(b.log, ", "); got != strings.Join(want, ", ") {
		b.t.Fatalf("ladder\n got %s\nwant %s", got, strings.Join(want, ", "))
	}
	b.log = nil
}

// up establishes a call from the browser and forgets how.
func up(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.establish()
	b.log = nil
	return b
}

// phone is a request of the callee in the dialog.
func (b *bench) phone(method string, seq int, body string, fields ...headers.Field) headers.Msg {
	m := b.requestOf("<sip:bob@x.example>;tag=r1", "<sip:alice@x.example>;tag=ct", method, seq, body, fields)
	invite := b.last["core INVITE"]
	m.Set("Call-ID", invite.Get("Call-ID"))
	return m
}

// browser is a request of the caller in the dialog.
func (b *bench) browser(method string, seq int, body string, fields ...headers.Field) headers.Msg {
	m := b.requestOf("<sip:alice@x.example>;tag=f1", "<sip:bob@x.example>;tag=at", method, seq, body, fields)
	m.Set("Call-ID", "c1")
	return m
}

func (b *bench) requestOf(from, to, method string, seq int, body string, fields []headers.Field) headers.Msg {
	m := headers.Msg{Method: method, RequestURI: "sip:x@isthmus.example", Body: []byte(body)}
	for _, f := range [][2]string{{"From", from}, {"To", to}, {"Call-ID", ""}, {"CSeq", fmt.Sprintf("%d %s", seq, method)}, {"Max-Forwards", "70"}} {
		m.Add(f[0], f[1])
	}
	if body != "" {
		m.Add("Content-Type", "application/sdp")
	}
	for _, f := range fields {
		m.Set(f.Name, f.Value)
	}
	return m
}

func (b *bench) request(l Leg, tx string, m headers.Msg) {
	b.t.Helper()
	b.step(RequestIn{Leg: l, Tx: tx, Msg: m})
}

// answers responds to our last request of the method on the leg.
func (b *bench) answers(l Leg, method string, status int, body string) {
	b.t.Helper()
	key := l.String() + " " + method
	req := b.last[key]
	m := headers.NewResponse(&req, status, "")
	if body != "" {
		m.Add("Content-Type", "application/sdp")
		m.Body = []byte(body)
	}
	b.step(ResponseIn{Leg: l, Tx: b.tx[key], Msg: m})
}

// fires lets a timer's time come.
func (b *bench) fires(name string) {
	b.t.Helper()
	at, ok := b.s.Timers()[name]
	if !ok {
		b.t.Fatalf("timer %s does not run: %v", name, b.s.Timers())
	}
	b.now = at
	b.step(TimerFired{Name: name})
}

func (b *bench) notify(typ iqv1.EventType, params map[string]string) {
	b.t.Helper()
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: typ, Params: params}}}})
}

// webSDP is the browser's description with another direction, version and, when not empty, user fragment.
func webSDP(dir string, version int, ufrag string) string {
	s := strings.Replace(strings.Replace(browserOffer, "a=sendrecv", "a="+dir, 1), "4611 2", fmt.Sprint("4611 ", version), 1)
	if ufrag != "" {
		s = strings.Replace(s, "EsAw", ufrag, 1)
	}
	return s
}

func webAnswer(dir string, version int) string {
	return strings.Replace(webSDP(dir, version, ""), "a=setup:actpass", "a=setup:active", 1)
}

func phoneSDP(dir string, version int) string { return fmt.Sprintf(coreAnswer, version, dir) }

func (b *bench) direction(message, want string) {
	b.t.Helper()
	if m := b.last[message]; !strings.Contains(string(m.Body), "a="+want+"\r\n") {
		b.t.Errorf("%s is not %s:\n%s", message, want, m.Body)
	}
}

func TestMO18_HoldFromTheCore(t *testing.T) {
	b := up(t)
	b.request(LegCore, "p1", b.phone("INVITE", 1, phoneSDP("sendonly", 2)))
	b.saw("access> INVITE")
	b.direction("access INVITE", "sendonly")
	b.answers(LegAccess, "INVITE", 200, webAnswer("recvonly", 3))
	b.saw("access> ACK", "core> 200", "mgw> Modify Modify")
	b.direction("core 200", "recvonly")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 1, "")})
	b.request(LegCore, "p2", b.phone("INVITE", 2, phoneSDP("sendrecv", 3)))
	b.answers(LegAccess, "INVITE", 200, webAnswer("sendrecv", 4))
	b.saw("access> INVITE", "access> ACK", "core> 200", "mgw> Modify Modify")
	b.direction("core 200", "sendrecv")
}

// A browser that is held and restarts ICE says recvonly, or inactive when it holds too: that is no wish to send nothing once the core resumes.
func TestMO18_R8445_RestartWhileHeldByTheCore(t *testing.T) {
	for offered, resumed := range map[string]string{"recvonly": "sendrecv", "inactive": "sendonly"} {
		t.Run(offered, func(t *testing.T) {
			b := up(t)
			b.request(LegCore, "p1", b.phone("INVITE", 1, phoneSDP("sendonly", 2)))
			b.answers(LegAccess, "INVITE", 200, webAnswer("recvonly", 3))
			b.saw("access> INVITE", "access> ACK", "core> 200", "mgw> Modify Modify")
			b.reply()
			b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 1, "")})
			b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP(offered, 4, "")))
			want := []string{"access> 200", "mgw> Modify Modify"}
			if offered == "inactive" { // the core is told that it is held, too
				b.answers(LegCore, "INVITE", 200, phoneSDP("inactive", 3))
				want = append([]string{"core> INVITE", "core> ACK"}, want...)
			}
			b.saw(want...)
			b.reply()
			b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
			b.request(LegCore, "p2", b.phone("INVITE", 2, phoneSDP("sendrecv", 4)))
			b.saw("access> INVITE")
			b.direction("access INVITE", map[string]string{"sendrecv": "sendrecv", "sendonly": "recvonly"}[resumed])
			b.answers(LegAccess, "INVITE", 200, webAnswer(resumed, 5))
			b.direction("core 200", resumed)
		})
	}
}

// A re-INVITE that changes nothing for the other side (a session refresh, a new address) stays on its own.
func TestR4028_RefreshStaysOnItsSide(t *testing.T) {
	b := up(t)
	first := string(b.last["access 200"].Body)
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendrecv", 2, "")))
	b.saw("access> 200", "mgw> Modify Modify")
	if got := string(b.last["access 200"].Body); got != first {
		t.Errorf("the same offer gets another answer:\n%s\n%s", first, got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.request(LegCore, "p1", b.phone("UPDATE", 1, strings.Replace(phoneSDP("sendrecv", 2), "c=IN IP4 10.0.0.7", "c=IN IP4 10.0.0.9", 1)))
	b.saw("core> 200", "mgw> Modify Modify")
	core := b.iq.GetActions()[0].GetCommands()[1].GetModify().GetDescriptor_().GetStreams()[0].GetRemote()
	if core.GetAddress() != "10.0.0.9" {
		t.Errorf("the MGW sends to %s", core.GetAddress())
	}
	b.reply()
	b.request(LegCore, "p2", b.phone("UPDATE", 2, ""))
	b.saw("core> 200")
	if len(b.last["core 200"].Body) > 0 {
		t.Error("an UPDATE without offer gets an answer")
	}
}

func TestMO17_RFC3261_14_2_Glare(t *testing.T) {
	b := up(t)
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendonly", 3, "")))
	b.request(LegCore, "p1", b.phone("INVITE", 1, phoneSDP("sendonly", 2))) // while our INVITE is on its way to it
	b.request(LegAccess, "w2", b.browser("UPDATE", 3, webSDP("inactive", 4, "")))
	b.saw("core> INVITE", "core> 491", "access> 500")
	if b.field("access 500", "Retry-After") == "" {
		t.Error("500 without Retry-After")
	}
	b.answers(LegCore, "INVITE", 491, "")
	b.saw("access> 491") // whoever offered tries again
	b.request(LegAccess, "w3", b.browser("INVITE", 4, webSDP("sendonly", 5, "")))
	b.answers(LegCore, "INVITE", 200, phoneSDP("recvonly", 2))
	b.saw("core> INVITE", "core> ACK", "access> 200", "mgw> Modify Modify")
}

// A cancelled hold that the other side has agreed to is undone by an offer of our own, also after glare.
func TestRFC3261_9_CancelledHoldIsUndone(t *testing.T) {
	b := up(t)
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendonly", 3, "")))
	b.step(CancelIn{Leg: LegAccess, Tx: "w1"})
	b.saw("core> INVITE", "access> 487", "core> CANCEL")
	b.answers(LegCore, "INVITE", 200, phoneSDP("recvonly", 2))
	b.saw("core> ACK", "mgw> Modify Modify", "core> INVITE")
	b.direction("core INVITE", "sendrecv")
	b.reply()
	b.answers(LegCore, "INVITE", 491, "")
	b.saw()
	b.fires(timerSettle)
	b.saw("core> INVITE")
	b.answers(LegCore, "INVITE", 200, phoneSDP("sendrecv", 3))
	b.saw("core> ACK", "mgw> Modify Modify")
	b.reply()
	if len(b.s.Timers()) != 0 {
		t.Errorf("timers %v", b.s.Timers())
	}
	b.request(LegAccess, "w2", b.browser("INVITE", 3, webSDP("inactive", 4, ""))) // cancelled in time
	b.step(CancelIn{Leg: LegAccess, Tx: "w2"})
	b.answers(LegCore, "INVITE", 487, "")
	b.saw("core> INVITE", "access> 487", "core> CANCEL")
}

// A side that refuses what we offer of our own is left alone.
func TestSettleGivesUp(t *testing.T) {
	b := up(t)
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendonly", 3, "")))
	b.step(CancelIn{Leg: LegAccess, Tx: "w1"})
	b.answers(LegCore, "INVITE", 200, phoneSDP("recvonly", 2))
	b.reply()
	b.answers(LegCore, "INVITE", 488, "")
	b.saw("core> INVITE", "access> 487", "core> CANCEL", "core> ACK", "mgw> Modify Modify", "core> INVITE")
	b.request(LegAccess, "w2", b.browser("INVITE", 3, webSDP("sendonly", 4, ""))) // which is what the core has agreed to
	b.saw("access> 200", "mgw> Modify Modify")
}

func TestMO14_ForksAreEndedOnce(t *testing.T) {
	b := up(t)
	fork := func(tag string) {
		invite := b.last["core INVITE"]
		m := headers.NewResponse(&invite, 200, "")
		m.Set("To", invite.Get("To")+";tag="+tag)
		m.Add("Contact", "<sip:bob@10.0.0.99:5060>")
		b.step(ResponseIn{Leg: LegCore, Tx: b.tx["core INVITE"], Msg: m, Retransmission: true})
	}
	fork("r1")
	b.saw("core> ACK")
	fork("r2")
	b.saw("core> ACK", "core> BYE")
	if bye := b.last["core BYE"]; headers.ToTag(&bye) != "r2" || bye.RequestURI != "sip:bob@10.0.0.99:5060" {
		t.Errorf("BYE to %s at %s", bye.Get("To"), bye.RequestURI)
	}
	fork("r2")
	b.saw("core> ACK")
	b.answers(LegCore, "BYE", 200, "")
	b.request(LegAccess, "w1", b.browser("INFO", 2, ""))
	if info := b.last["core INFO"]; headers.ToTag(&info) != "r1" {
		t.Errorf("INFO goes to %s", info.Get("To"))
	}
}

// The last fork that answers has another direction than the one that the browser was answered for.
func TestMO14_ForkWithAnotherDirection(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(183, phoneSDP("sendrecv", 1))
	b.reply()
	b.callee(200, phoneSDP("sendonly", 1))
	b.saw("mgw> Add Add", "core> INVITE", "mgw> Modify Modify", "access> 183", "core> ACK", "access> 200", "mgw> Modify Modify")
	if early, final := b.last["access 183"], b.last["access 200"]; string(early.Body) != string(final.Body) {
		t.Errorf("the answer changes from 183 to 200:\n%s\n%s", early.Body, final.Body)
	}
	b.reply()
	b.saw()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")}) // not before (RFC 3261 §14.1)
	b.saw("access> INVITE")
	b.direction("access INVITE", "sendonly")
	b.answers(LegAccess, "INVITE", 200, webAnswer("recvonly", 3))
	b.saw("access> ACK", "mgw> Modify Modify")
}

func TestMO15_FailuresOfTheCallee(t *testing.T) {
	ring := func() *bench {
		b := newBench(t)
		b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
		b.reply()
		b.callee(180, "")
		b.log = nil
		return b
	}
	for _, status := range []int{404, 480, 486, 500, 600, 603} {
		b := ring()
		b.callee(status, "")
		b.done(fmt.Sprintf("access> %d", status), "mgw> Subtract", "ended rejected")
	}
	b := ring()
	b.callee(302, "")
	b.saw("access> 302", "mgw> Subtract")
	if got := b.field("access 302", "Contact"); got != "<sip:bob@10.0.0.7:5060>" {
		t.Errorf("302 with Contact %q", got)
	}
	b = ring()
	b.step(TxFailed{Leg: LegCore, Tx: b.tx["core INVITE"], Timeout: true})
	b.done("access> 408", "mgw> Subtract", "ended timeout")
	b = ring()
	b.step(TxFailed{Leg: LegCore, Tx: b.tx["core INVITE"]})
	b.done("access> 503", "mgw> Subtract", "ended unreachable")
	b = ring()
	b.fires(timerNoAnswer)
	b.saw("access> 480", "core> CANCEL", "mgw> Subtract")
	b.callee(487, "")
	b.done("ended no_answer")
}

func TestR8445_3_ICERestart(t *testing.T) {
	b := up(t)
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendrecv", 3, "new1")))
	b.saw("mgw> Modify")
	if b.iq.GetActions()[0].GetCommands()[0].GetModify().GetDescriptor_().GetTransport().GetLocalIce() != nil {
		t.Error("a restart leaves no credentials to choose")
	}
	b.step(CancelIn{Leg: LegAccess, Tx: "w1"}) // too late: the answer comes
	b.restarted("mGw2")
	b.saw("access> 200", "mgw> Modify Modify")
	if m := b.last["access 200"]; !strings.Contains(string(m.Body), "a=ice-ufrag:mGw2") {
		t.Errorf("answer:\n%s", m.Body)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.request(LegAccess, "w2", b.browser("INVITE", 3, webSDP("sendonly", 4, "new2"))) // at once with hold
	b.saw("core> INVITE")
	b.answers(LegCore, "INVITE", 200, phoneSDP("recvonly", 2))
	b.saw("core> ACK", "mgw> Modify")
	b.restarted("mGw3")
	b.saw("access> 200", "mgw> Modify Modify")
	b.direction("access 200", "recvonly")
}

// restarted answers the Modify of an ICE restart.
func (b *bench) restarted(ufrag string) {
	b.t.Helper()
	id := b.iq.GetTransactionId()
	b.iq = nil
	b.step(IqReply{ID: id, Reply: &iqv1.TransactionReply{TransactionId: id, Actions: []*iqv1.ActionReply{{ContextId: "cx1", Commands: []*iqv1.CommandReply{{
		TerminationId: "ip/0",
		Resolved: &iqv1.TerminationDescriptor{Transport: &iqv1.TransportGroup{LocalIce: &iqv1.IceParameters{Ufrag: ufrag, Pwd: "k3v0Qe9m2Jx7Zt5Wb8Rr4Yp6",
			Candidates: []*iqv1.Candidate{{Foundation: "1", Component: 1, Transport: "udp", Priority: 1, Address: "10.0.0.1", Port: 7430, Type: "host"}}}}},
	}}}}}})
}

func (b *bench) refused(code uint32) {
	b.t.Helper()
	id := b.iq.GetTransactionId()
	b.iq = nil
	b.step(IqReply{ID: id, Err: &IqError{Code: code}})
}

func TestMGWRefuses(t *testing.T) {
	b := up(t)
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendrecv", 3, "new1")))
	b.refused(510)
	b.saw("mgw> Modify", "access> 503") // rolled back: the call goes on as it was
	b.request(LegAccess, "w2", b.browser("INVITE", 3, webSDP("sendrecv", 4, "new1")))
	b.refused(0)
	b.saw("mgw> Modify", "access> 503", "access> BYE", "core> BYE", "mgw> Subtract") // whether it was done is not known
	b = up(t)
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendrecv", 3, "")))
	b.refused(510)
	b.saw("access> 200", "mgw> Modify Modify", "core> BYE", "mgw> Subtract")
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.done("access> BYE", "ended media_gateway")
}
