package callcore

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestARC02_MediaIsNegotiatedByOffersOnly: bodies and fields that would tell of media beside the session description change nothing of it,
// and the media gateway hears nothing of them (TS 23.228 §U.1.1).
func TestARC02_MediaIsNegotiatedByOffersOnly(t *testing.T) {
	b := up(t)
	media := func() string {
		raw, err := json.Marshal(b.s.d.Media)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	before := media()
	for i, c := range [][2]string{
		{"application/media_control+xml", "<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>"},
		{"application/sdp", webSDP("sendonly", 3, "other")}, // an INFO or MESSAGE carries no offer (RFC 3264 §4)
		{"application/trickle-ice-sdpfrag", "a=ice-ufrag:other\r\na=candidate:1 1 udp 1 192.0.2.9 9 typ host\r\n"},
		{"application/json", `{"codec":"PCMU","iceServers":[]}`},
	} {
		for j, method := range []string{"INFO", "MESSAGE"} {
			b.request(LegAccess, fmt.Sprint("w", i, j), b.browser(method, 10+2*i+j, c[1], headers.Field{Name: "Content-Type", Value: c[0]}))
			b.answers(LegCore, method, 200, "")
			b.saw("core> "+method, "access> 200")
		}
	}
	if after := media(); after != before {
		t.Errorf("media changed from\n%s\nto\n%s", before, after)
	}
	for _, typ := range []string{"application/media_control+xml", "multipart/mixed", "application/json"} {
		b = newBench(t)
		m := browser("INVITE", 1, browserOffer)
		m.Set("Content-Type", typ)
		b.request(LegAccess, "s1", m)
		b.done("access> 415", "ended refused")
	}
}

// TestMO09_RefusalTellsWhatIsAcceptable: the 488 to an offer that the policy does not allow describes what it does allow, in the call as before
// it, and the call goes on.
func TestMO09_RefusalTellsWhatIsAcceptable(t *testing.T) {
	described := func(b *bench, message, proto string, codecs ...string) {
		t.Helper()
		m := b.last[message]
		d, err := sdp.Parse(m.Body)
		if err != nil || headers.MediaType(&m) != "application/sdp" || len(d.Media) != 1 || d.Media[0].Port != 0 || d.Media[0].Type != "audio" || d.Media[0].Proto != proto {
			t.Fatalf("%s: %v, %+v\n%s", message, err, m.Fields, m.Body)
		}
		var names []string
		for _, c := range d.Media[0].Codecs {
			names = append(names, fmt.Sprintf("%s/%d", c.Name, c.ClockRate))
		}
		if strings.Join(names, " ") != strings.Join(codecs, " ") || m.Get("Warning") == "" {
			t.Errorf("%s allows %v, Warning %q", message, names, m.Get("Warning"))
		}
	}
	web := []string{"opus/48000", "PCMA/8000", "telephone-event/48000", "telephone-event/8000"}
	b := newBench(t)
	b.s.d.Cfg.Policy.Media.Access, b.s.d.Cfg.Policy.Media.Core = []string{"opus", "PCMA"}, []string{"PCMA"}
	b.request(LegAccess, "s1", browser("INVITE", 1, strings.Replace(browserOffer, "SAVPF 111 8 110 126", "SAVPF 13", 1)))
	b.done("access> 488", "ended media")
	described(b, "access 488", "UDP/TLS/RTP/SAVPF", web...)

	b = newBench(t)
	b.s.d.Cfg.Policy.Media.Core = []string{"PCMA"}
	b.request(LegCore, "s1", caller("INVITE", 1, strings.Replace(coreSDP(1, "10.0.0.7"), "AVP 8", "AVP 3", 1)))
	b.done("core> 488", "ended media")
	described(b, "core 488", "RTP/AVP", "PCMA/8000", "telephone-event/8000")

	b = newBench(t)
	b.request(LegAccess, "s1", browser("INVITE", 1, "")) // no offer, nothing that could be answered
	if m := b.last["access 488"]; len(m.Body) > 0 {
		t.Errorf("an answer without an offer:\n%s", m.Body)
	}

	b = newBench(t)
	b.s.d.Cfg.Policy.Media.Core = []string{"PCMA"}
	b.establish()
	b.log = nil
	b.request(LegCore, "p1", b.phone("INVITE", 1, strings.Replace(phoneSDP("sendrecv", 2), "AVP 8", "AVP 0", 1)))
	b.saw("core> 488")
	described(b, "core 488", "RTP/AVP", "PCMA/8000", "telephone-event/8000")
	b.request(LegAccess, "w1", b.browser("UPDATE", 2, "hello"))
	b.saw("access> 488")
	b.request(LegCore, "p2", b.phone("INFO", 2, ""))
	b.saw("access> INFO")
}

// rung brings a call of the core to the browser, which rings.
func rung(t *testing.T, body string, fields ...string) *bench {
	b := newBench(t)
	b.request(LegCore, "s1", caller("INVITE", 1, body, fields...))
	b.reply()
	b.ladder("mgw> Add Add", "access> INVITE")
	b.response("access INVITE", 180, "w1", "")
	b.ladder("core> 180") // the media gateway is told nothing: no early media
	return b
}

// TestMT06_MT07_RingingAndAnswer: 180 is reliable only when it has to be, and the answer to the caller's offer is in the 200 unless a
// reliable response has carried it (the ladder with preconditions is PRE-04).
func TestMT06_MT07_RingingAndAnswer(t *testing.T) {
	answered := func(b *bench) {
		t.Helper()
		b.response("access INVITE", 200, "w1", browserAnswer)
		b.ladder("access> ACK", "core> 200", "mgw> Modify Modify")
		if got := b.iq.String(); strings.Count(got, "MODE_SENDRECV") != 2 || !strings.Contains(got, "EsAw") {
			t.Errorf("access termination is not configured: %s", got)
		}
		b.has("core 200", "RTP/AVP 8", "a=sendrecv", "!RSeq")
	}
	b := rung(t, coreSDP(1, "10.0.0.7"))
	b.has("core 180", "!RSeq", "!Require", "!m=audio")
	answered(b)

	b = rung(t, coreSDP(1, "10.0.0.7"), "Supported: 100rel") // it may be, and without a description need not
	b.has("core 180", "!RSeq", "!m=audio")
	answered(b)

	b = rung(t, coreSDP(1, "10.0.0.7"), "Require: 100rel")
	b.has("core 180", "RSeq: ", "Require: 100rel", "!m=audio")
	b.request(LegCore, "p1", caller("PRACK", 2, "", "RAck: "+b.field("core 180", "RSeq")+" 1 INVITE"))
	b.ladder("core> 200")
	answered(b)

	b = newBench(t) // a description of the browser's in an unreliable 18x is none of the caller's
	b.request(LegCore, "s1", caller("INVITE", 1, coreSDP(1, "10.0.0.7")))
	b.reply()
	b.response("access INVITE", 183, "w1", browserAnswer)
	b.ladder("mgw> Add Add", "access> INVITE", "core> 183")
	b.has("core 183", "!m=audio")
	answered(b)
}

// TestR8839_SIP_AnswerIsRepeated: the browser's answer with all its ICE lines comes in the first unreliable 18x and again, octet by octet, in
// the later ones and in the 200 (RFC 8839 §4.4.1.1 with RFC 3261 §13.2.1).
func TestR8839_SIP_AnswerIsRepeated(t *testing.T) {
	b := newBench(t)
	b.invited()
	var bodies []string
	for _, status := range []int{183, 180, 200} {
		body := ""
		if status != 180 {
			body = coreSDP(1, "10.0.0.7")
		}
		b.response("core INVITE", status, "r1", body)
		if b.iq != nil {
			b.reply()
		}
		message := fmt.Sprint("access ", status)
		b.has(message, "a=ice-lite", "a=ice-ufrag:mGw1", "a=ice-pwd:", "a=candidate:1 1 udp 2130706431 10.0.0.1 7430 typ host", "a=end-of-candidates", "!RSeq")
		m := b.last[message]
		bodies = append(bodies, string(m.Body))
	}
	if bodies[0] != bodies[1] || bodies[0] != bodies[2] {
		t.Errorf("the answer changes:\n%s\n%s\n%s", bodies[0], bodies[1], bodies[2])
	}
}

// TestR8840_CandidatesMayComeLater: an offer without candidates is taken; INFO with candidates is answered here and nobody else is told, in
// the early dialog too.
func TestR8840_CandidatesMayComeLater(t *testing.T) {
	field := func(n, v string) headers.Field { return headers.Field{Name: n, Value: v} }
	fragment := "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2130706431 192.0.2.3 41000 typ host\r\na=end-of-candidates\r\n"
	tell := func(b *bench, tx string, seq int, more ...headers.Field) {
		t.Helper()
		b.request(LegAccess, tx, b.browser("INFO", seq, fragment, append([]headers.Field{field("Info-Package", "trickle-ice"), field("Content-Type", "application/trickle-ice-sdpfrag"),
			field("Content-Disposition", "Info-Package")}, more...)...))
	}
	b := newBench(t)
	offer := browser("INVITE", 1, strings.Replace(browserOffer, "a=setup", "a=ice-options:trickle\r\na=setup", 1)) // and no candidate
	offer.Add("Require", "trickle-ice")
	offer.Add("Recv-Info", "trickle-ice")
	b.request(LegAccess, "s1", offer)
	b.reply()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7"))
	b.reply()
	b.ladder("mgw> Add Add", "core> INVITE", "mgw> Modify Modify", "access> 183")
	b.has("core INVITE", "!trickle")
	b.has("access 183", "Recv-Info: trickle-ice", "Supported: trickle-ice", "a=end-of-candidates")
	tell(b, "w1", 2)
	b.ladder("access> 200")
	b.response("core INVITE", 200, "r1", "")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.has("access 200", "Recv-Info: trickle-ice")
	b.log = nil
	tell(b, "w2", 3)
	b.saw("access> 200")
	tell(b, "w3", 4, field("Content-Type", "application/sdp"))
	b.saw("access> 415")
	b.has("access 415", "Accept: application/trickle-ice-sdpfrag")
	b.request(LegCore, "p1", b.phone("INFO", 1, fragment, field("Info-Package", "trickle-ice"), field("Content-Type", "application/trickle-ice-sdpfrag")))
	b.saw("core> 469")
	b.request(LegCore, "p2", b.phone("INFO", 2, "x", field("Info-Package", "dtmf")))
	b.saw("access> INFO")

	b = newBench(t)
	b.request(LegCore, "s1", caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Recv-Info: dtmf, trickle-ice"))
	b.reply()
	b.has("access INVITE", "Recv-Info: dtmf, trickle-ice", "Supported: trickle-ice")
	b.response("access INVITE", 180, "w1", "", "Recv-Info: trickle-ice")
	b.has("core 180", "!Recv-Info")
}

// TestR8840_IQ24_CandidatesReachAFullAgent: the media gateway whose agent checks by itself is told of candidates that come by INFO, in the early dialog
// too; its refusal does not harm the call. Nothing is told after the end.
func TestR8840_IQ24_CandidatesReachAFullAgent(t *testing.T) {
	field := func(n, v string) headers.Field { return headers.Field{Name: n, Value: v} }
	fragment := func(port int) string {
		return fmt.Sprintf("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2130706431 192.0.2.3 %d typ host\r\n", port)
	}
	b := newBench(t)
	tell := func(tx string, seq, port int) {
		t.Helper()
		b.request(LegAccess, tx, b.browser("INFO", seq, fragment(port), field("Info-Package", "trickle-ice"), field("Content-Type", "application/trickle-ice-sdpfrag")))
	}
	b.request(LegAccess, "s1", browser("INVITE", 1, browserOffer))
	b.full = true
	b.reply()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.7"))
	b.reply()
	b.has("access 183", "!a=ice-lite", "a=ice-options:ice2")
	b.log = nil
	tell("w1", 2, 41000)
	b.saw("access> 200", "mgw> Modify")
	d := b.iq.GetActions()[0].GetCommands()[0].GetModify().GetDescriptor_()
	if cs := d.GetTransport().GetRemoteIce().GetCandidates(); d.GetStreams() != nil || len(cs) != 1 || cs[0].GetPort() != 41000 {
		t.Errorf("told %v", d)
	}
	b.refused(449)
	tell("w2", 3, 41000)
	b.saw("access> 200") // nothing new
	b.response("core INVITE", 200, "r1", "")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.log = nil
	tell("w3", 4, 41001)
	b.saw("access> 200", "mgw> Modify")
	b.reply()
}

// TestR3840_FeatureTagsCross: what a Contact says of its user agent stands in our Contact on the other side; what identifies the browser or
// belongs to its registration does not.
func TestR3840_FeatureTagsCross(t *testing.T) {
	const mmtel = `;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"`
	b := newBench(t)
	m := browser("INVITE", 1, browserOffer)
	m.Set("Contact", "<sip:alice@df7.invalid;transport=ws>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=600;q=0.5;audio;methods=\"INVITE,BYE\""+mmtel)
	b.request(LegAccess, "s1", m)
	b.reply()
	contact := func(message, want string) {
		t.Helper()
		if got := b.field(message, "Contact"); got != want {
			t.Errorf("%s with Contact %s, want %s", message, got, want)
		}
	}
	contact("core INVITE", `<sip:ct@c.example>;audio;methods="INVITE,BYE"`+mmtel)
	answer := func(status int, contact string) {
		req := b.last["core INVITE"]
		r := headers.NewResponse(&req, status, "")
		r.Set("To", "<sip:bob@x.example>;tag=r1")
		r.Add("Contact", contact)
		if status == 200 {
			r.Add("Content-Type", "application/sdp")
			r.Body = []byte(coreSDP(1, "10.0.0.7"))
		}
		b.step(ResponseIn{Leg: LegCore, Tx: b.tx["core INVITE"], Msg: r})
	}
	answer(180, "<sip:bob@10.0.0.7:5060>;isfocus")
	contact("access 180", "<sip:at@a.example>;isfocus")
	answer(200, "<sip:bob@10.0.0.7:5060>;+sip.ice")
	contact("access 200", "<sip:at@a.example>;+sip.ice")
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.request(LegCore, "p1", b.phone("INVITE", 1, phoneSDP("sendonly", 2), headers.Field{Name: "Contact", Value: "<sip:conf@10.0.0.7:5060>;isfocus"}))
	contact("access INVITE", "<sip:at@a.example>;isfocus") // it has become a conference
	long := browser("INVITE", 1, browserOffer)
	long.Set("Contact", "<sip:alice@df7.invalid>;+x=\""+strings.Repeat("y", 4000)+"\"")
	b = newBench(t)
	b.request(LegAccess, "s1", long)
	b.reply()
	contact("core INVITE", "<sip:ct@c.example>")
}

// TestMO20_R5393_MaxBreadth: a request that may go on to nobody is refused; who calls one target only passes the breadth on whole.
func TestMO20_R5393_MaxBreadth(t *testing.T) {
	for value, want := range map[string]string{"60": "60", "1": "1", "": ""} {
		b := newBench(t)
		m := browser("INVITE", 1, browserOffer)
		if value != "" {
			m.Add("Max-Breadth", value)
		}
		b.request(LegAccess, "s1", m)
		b.reply()
		if got := b.field("core INVITE", "Max-Breadth"); got != want {
			t.Errorf("Max-Breadth %q becomes %q", value, got)
		}
	}
	for _, l := range []Leg{LegAccess, LegCore} {
		b := newBench(t)
		m := caller("INVITE", 1, coreSDP(1, "10.0.0.7"), "Max-Breadth: 0")
		b.request(l, "s1", m)
		b.done(l.String()+"> 440", "ended refused")
	}
}

// TestREL01_LossWhileBeingEstablished: the callee is cancelled and the caller told, both with the reason (TS 24.229 §5.2.8.1.1), whatever was
// lost and whoever called.
func TestREL01_LossWhileBeingEstablished(t *testing.T) {
	ice := IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_ICE_RESULT, Params: map[string]string{"result": "failed"}}}}}
	for name, c := range map[string]struct {
		ev     Event
		status int
		text   string
		ladder []string
	}{
		"WebSocket":     {FlowLost{}, 480, "WebSocket lost", []string{"mgw> Subtract"}},
		"media gateway": {Release{Status: 503, Reason: "Media gateway lost", Dead: true}, 503, "Media gateway lost", nil},
		"media":         {ice, 480, "ICE failed", []string{"mgw> Subtract"}},
	} {
		reason := fmt.Sprintf("SIP;cause=%d;text=%q", c.status, c.text)
		b := newBench(t)
		b.invited()
		b.response("core INVITE", 180, "r1", "")
		b.log = nil
		b.step(c.ev)
		b.saw(append([]string{fmt.Sprint("access> ", c.status), "core> CANCEL"}, c.ladder...)...)
		if got := b.field(fmt.Sprint("access ", c.status), "Reason"); got != reason || b.cancelled != reason {
			t.Errorf("%s lost: caller told %q, callee %q, want %q", name, got, b.cancelled, reason)
		}
		b.response("core INVITE", 487, "r1", "")
		b.done("ended " + string(b.s.Record().Cause))

		b = rung(t, coreSDP(1, "10.0.0.7"))
		b.step(c.ev)
		b.saw(append([]string{fmt.Sprint("core> ", c.status), "access> CANCEL"}, c.ladder...)...)
		if got := b.field(fmt.Sprint("core ", c.status), "Reason"); got != reason || b.cancelled != reason {
			t.Errorf("%s lost: caller of the core told %q, browser %q, want %q", name, got, b.cancelled, reason)
		}
		b.response("access INVITE", 487, "w1", "")
		b.done("ended " + string(b.s.Record().Cause))
	}
	b := newBench(t) // who gives up is told no reason
	b.invited()
	b.step(CancelIn{Leg: LegAccess, Tx: "s1", Msg: &headers.Msg{Method: "CANCEL", Fields: []headers.Field{{Name: "Reason", Value: "SIP;cause=200"}}}})
	if b.field("access 487", "Reason") != "" || b.cancelled != "SIP;cause=200" {
		t.Errorf("caller that gave up told %q, callee %q", b.field("access 487", "Reason"), b.cancelled)
	}
}

// TestREL05_RestartWithinTheGrace: a browser that has lost its network has 15 s to come back with an ICE restart, and then again for the
// checks of the new pair; if they do not succeed the call ends.
func TestREL05_RestartWithinTheGrace(t *testing.T) {
	lost := func() *bench {
		b := up(t)
		b.notify(iqv1.EventType_EVENT_TYPE_CONSENT_LOST, nil)
		if d := b.s.Timers()[timerConsent].Sub(b.now); d != 15*time.Second {
			t.Errorf("grace of %s", d)
		}
		b.now = b.now.Add(14 * time.Second)
		b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendrecv", 3, "new1")))
		b.saw("mgw> Modify")
		b.restarted("mGw2")
		b.saw("access> 200", "mgw> Modify Modify")
		b.reply()
		b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
		if d := b.s.Timers()[timerConsent].Sub(b.now); d < 14*time.Second || d > 15*time.Second {
			t.Errorf("%s left for the new pair", d)
		}
		return b
	}
	b := lost()
	b.notify(iqv1.EventType_EVENT_TYPE_ICE_RESULT, map[string]string{"result": "connected"})
	if b.saw(); len(b.s.Timers()) != 0 {
		t.Errorf("connected, and timers run: %v", b.s.Timers())
	}
	b = lost()
	b.fires(timerConsent)
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended consent_lost")
	b = up(t) // a restart without loss has no such limit
	b.request(LegAccess, "w1", b.browser("INVITE", 2, webSDP("sendrecv", 3, "new1")))
	b.restarted("mGw2")
	if _, runs := b.s.Timers()[timerConsent]; runs {
		t.Error("grace without a loss")
	}
}
