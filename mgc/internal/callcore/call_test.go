package callcore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const browserOffer = "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 8 110 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
	"a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n" +
	"a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\n" +
	"a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n"

const coreAnswer = "v=0\r\no=- 1 %d IN IP4 10.0.0.7\r\ns=-\r\nc=IN IP4 10.0.0.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=%s\r\n"

// bench drives a State as an executor would, and revives it from its stored form before each event; the run of the revived
// one must be the same as that of the one that lived on.
type bench struct {
	t     *testing.T
	s     *State
	now   time.Time
	log   []string
	final map[string]int // final responses by server transaction
	last  map[string]headers.Msg
	tx    map[string]string // "leg METHOD" -> last client transaction
	iq    *iqv1.TransactionRequest
	ended int
	full  bool // the media gateway's ICE agent is a full one

	sent []*iqv1.TransactionRequest // all of them
	lost []Leg                      // of digits

	cancelled string     // Reason of the last CANCEL
	cancel    SendCancel // the last one
}

func newBench(t *testing.T) *bench {
	cfg := Config{Key: "k1", Instance: "i", Seed: "0123456789abcdef0123456789abcdef", AccessContact: "sip:at@a.example", CoreContact: "sip:ct@c.example",
		AccessTag: "at", CoreTag: "ct", AccessRealm: "access", CoreRealm: "core", Policy: DefaultPolicy()}
	return &bench{t: t, s: New(cfg), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), final: map[string]int{}, last: map[string]headers.Msg{}, tx: map[string]string{}}
}

func (b *bench) step(ev Event) {
	b.t.Helper()
	b.now = b.now.Add(10 * time.Millisecond)
	raw, err := json.Marshal(b.s)
	if err != nil {
		b.t.Fatal(err)
	}
	revived := &State{}
	if err := json.Unmarshal(raw, revived); err != nil {
		b.t.Fatal(err)
	}
	want := b.s.Step(b.now, ev)
	got := revived.Step(b.now, ev)
	if fmt.Sprint(got) != fmt.Sprint(want) && !reflect.DeepEqual(got, want) {
		b.t.Fatalf("revived state acts otherwise on %T:\n%v\n%v", ev, got, want)
	}
	a, _ := json.Marshal(b.s)
	c, _ := json.Marshal(revived)
	if !bytes.Equal(a, c) {
		b.t.Fatalf("revived state differs after %T:\n%s\n%s", ev, a, c)
	}
	b.s = revived
	for _, e := range got {
		b.note(e)
	}
}

func (b *bench) note(e Effect) {
	switch e := e.(type) {
	case SendRequest:
		b.log = append(b.log, fmt.Sprintf("%s> %s", e.Leg, e.Msg.Method))
		b.last[e.Leg.String()+" "+e.Msg.Method] = e.Msg
		if e.Tx != "" {
			b.tx[e.Leg.String()+" "+e.Msg.Method] = e.Tx
		}
	case SendCancel:
		b.cancel = e
		b.log = append(b.log, fmt.Sprintf("%s> CANCEL", e.Leg))
		b.cancelled = e.Reason
	case SendResponse:
		b.log = append(b.log, fmt.Sprintf("%s> %d", e.Leg, e.Msg.Status))
		b.last[fmt.Sprintf("%s %d", e.Leg, e.Msg.Status)] = e.Msg
		if e.Msg.Status >= 200 && !e.Retransmission {
			b.final[e.Tx]++
		}
	case Transact:
		b.iq, b.sent = e.Req, append(b.sent, e.Req)
		b.log = append(b.log, "mgw> "+kinds(e.Req))
	case DigitLost:
		b.lost = append(b.lost, e.Leg)
	case Ended:
		b.ended++
		b.log = append(b.log, "ended "+string(e.Cause))
	}
}

func kinds(r *iqv1.TransactionRequest) string {
	var out []string
	for _, c := range r.GetActions()[0].GetCommands() {
		switch {
		case c.GetAdd() != nil:
			out = append(out, "Add")
		case c.GetModify() != nil:
			out = append(out, "Modify")
		case c.GetSubtract() != nil:
			out = append(out, "Subtract")
		}
	}
	return strings.Join(out, " ")
}

// reply answers the outstanding transaction as an MGW would.
func (b *bench) reply() {
	b.t.Helper()
	req := b.iq
	b.iq = nil
	a := &iqv1.ActionReply{ContextId: "cx1", Revision: 1}
	for i, c := range req.GetActions()[0].GetCommands() {
		r := &iqv1.CommandReply{TerminationId: fmt.Sprintf("ip/%d", i)}
		if add := c.GetAdd(); add != nil {
			r.Resolved = &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 1, Local: &iqv1.MediaDescription{
				Address: "10.0.0.1", Port: 20000, RtcpPort: 20001, Ssrc: 7, Cname: "c"}}}}
			for _, c := range add.GetDescriptor_().GetStreams()[0].GetLocal().GetCryptos() {
				key := bytes.Repeat([]byte{7}, sdp.Suite(c.GetSuite()).KeyLength())
				r.Resolved.Streams[0].Local.Cryptos = append(r.Resolved.Streams[0].Local.Cryptos, &iqv1.SrtpCrypto{Suite: c.GetSuite(), Key: key})
			}
			if i == 0 {
				r.Resolved.Transport = &iqv1.TransportGroup{
					LocalIce: &iqv1.IceParameters{Ufrag: "mGw1", Pwd: "k3v0Qe9m2Jx7Zt5Wb8Rr4Yp6", Candidates: []*iqv1.Candidate{{
						Foundation: "1", Component: 1, Transport: "udp", Priority: 2130706431, Address: "10.0.0.1", Port: 7430, Type: "host"}}},
					LocalDtls: &iqv1.DtlsParameters{Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: strings.Repeat("AB:", 31) + "AB"}}},
				}
				if b.full {
					r.Resolved.Transport.IceMode = iqv1.TransportGroup_ICE_MODE_FULL
				}
			}
		}
		further(&peertest.Gateway{}, c, i, r)
		a.Commands = append(a.Commands, r)
	}
	b.step(IqReply{ID: req.GetTransactionId(), MGW: "g1", BootID: "b1", Reply: &iqv1.TransactionReply{TransactionId: req.GetTransactionId(), BootId: "b1", Actions: []*iqv1.ActionReply{a}}})
}

func browser(method string, seq int, body string) headers.Msg {
	m := headers.Msg{Method: method, RequestURI: "sip:bob@x.example", Body: []byte(body)}
	to := "<sip:bob@x.example>"
	if seq > 1 || method == "ACK" {
		to += ";tag=at"
	}
	for _, f := range [][2]string{{"From", "<sip:alice@x.example>;tag=f1"}, {"To", to}, {"Call-ID", "c1"}, {"CSeq", fmt.Sprintf("%d %s", seq, method)},
		{"Max-Forwards", "70"}, {"Contact", "<sip:alice@df7.invalid;transport=ws>"}, {"Content-Type", "application/sdp"}} {
		m.Add(f[0], f[1])
	}
	return m
}

// field returns a header field of the last message of the kind.
func (b *bench) field(message, name string) string {
	m := b.last[message]
	return m.Get(name)
}

// callee answers the client transaction of the INVITE on the core leg.
func (b *bench) callee(status int, body string) {
	b.t.Helper()
	req := b.last["core INVITE"]
	m := headers.NewResponse(&req, status, "")
	m.Set("To", req.Get("To")+";tag=r1")
	m.Set("To", strings.Replace(m.Get("To"), ";tag=r1;tag=r1", ";tag=r1", 1))
	m.Add("Contact", "<sip:bob@10.0.0.7:5060>")
	m.Add("Content-Type", "application/sdp")
	m.Body = []byte(body)
	b.step(ResponseIn{Leg: LegCore, Tx: b.tx["core INVITE"], Msg: m})
}

// done answers what is left and checks the invariants of every call.
func (b *bench) done(want ...string) {
	b.t.Helper()
	for range 20 {
		if b.iq != nil {
			b.reply()
			continue
		}
		for _, leg := range []string{"access", "core"} {
			if tx := b.tx[leg+" BYE"]; tx != "" {
				delete(b.tx, leg+" BYE")
				l := LegAccess
				if leg == "core" {
					l = LegCore
				}
				req := b.last[leg+" BYE"]
				b.step(ResponseIn{Leg: l, Tx: tx, Msg: headers.NewResponse(&req, 200, "")})
			}
		}
	}
	if b.ended != 1 || !b.s.Ended() {
		b.t.Errorf("ended %d times", b.ended)
	}
	for tx, n := range b.final {
		if n != 1 {
			b.t.Errorf("%s got %d final responses", tx, n)
		}
	}
	if got := strings.Join(b.log, ", "); got != strings.Join(want, ", ") {
		b.t.Errorf("ladder\n got %s\nwant %s", got, strings.Join(want, ", "))
	}
}

func (b *bench) establish() {
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(180, "")
	b.callee(200, fmt.Sprintf(coreAnswer, 1, "sendrecv"))
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}}}})
}

var established = []string{"mgw> Add Add", "core> INVITE", "access> 180", "core> ACK", "access> 200", "mgw> Modify Modify"}

func TestR7092_R7879_BrowserCallsAndHangsUp(t *testing.T) {
	b := newBench(t)
	b.establish()
	offer, answer := string(b.last["core INVITE"].Body), string(b.last["access 200"].Body)
	for _, leak := range []string{"candidate", "ice-", "fingerprint", "setup", "mid", "group", "SAVPF", "rtcp-mux"} {
		if strings.Contains(offer, leak) {
			t.Errorf("%q crosses to the core:\n%s", leak, offer)
		}
	}
	for _, need := range []string{"a=ice-lite", "a=setup:passive", "a=fingerprint:sha-256", "a=group:BUNDLE 0", "a=mid:0", "a=rtcp-mux", "a=candidate:"} {
		if !strings.Contains(answer, need) {
			t.Errorf("answer to the browser lacks %q:\n%s", need, answer)
		}
	}
	if got := b.field("core INVITE", "Max-Forwards"); got != "69" {
		t.Errorf("Max-Forwards %s", got)
	}
	if len(b.s.Timers()) != 0 {
		t.Errorf("timers left in a settled call: %v", b.s.Timers())
	}
	b.step(RequestIn{Leg: LegAccess, Tx: "s2", Msg: browser("BYE", 3, "")})
	b.done(append(append([]string{}, established...), "access> 200", "core> BYE", "mgw> Subtract", "ended hangup_access")...)
}

func TestCallerGivesUp(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(180, "")
	b.step(CancelIn{Leg: LegAccess, Tx: "s1"})
	b.callee(487, "")
	b.done("mgw> Add Add", "core> INVITE", "access> 180", "access> 487", "core> CANCEL", "mgw> Subtract", "ended cancelled")
}

func TestAnswerRacesCancel(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.step(CancelIn{Leg: LegAccess, Tx: "s1"})
	b.callee(200, fmt.Sprintf(coreAnswer, 1, "sendrecv"))
	b.done("mgw> Add Add", "core> INVITE", "access> 487", "core> CANCEL", "mgw> Subtract", "core> ACK", "core> BYE", "ended cancelled")
}

func TestCancelBeforeTheContextExists(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.step(CancelIn{Leg: LegAccess, Tx: "s1"})
	b.done("mgw> Add Add", "access> 487", "mgw> Subtract", "ended cancelled")
}

func TestCalleeIsBusy(t *testing.T) {
	b := newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(486, "")
	b.done("mgw> Add Add", "core> INVITE", "access> 486", "mgw> Subtract", "ended rejected")
}

func TestFailuresOfTheGateway(t *testing.T) {
	for code, status := range map[uint32]int{510: 503, 515: 488, 0: 503} {
		b := newBench(t)
		b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
		b.step(IqReply{ID: b.iq.GetTransactionId(), Err: &IqError{Code: code}})
		b.iq = nil
		b.done("mgw> Add Add", fmt.Sprintf("access> %d", status), "ended media_gateway")
		if status == 503 && b.field("access 503", "Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
}

func TestUnusableOffers(t *testing.T) {
	for name, body := range map[string]string{"none": "", "garbage": "hello", "video": strings.Replace(browserOffer, "m=audio", "m=video", 1)} {
		b := newBench(t)
		b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, body)})
		b.done("access> 488", "ended media")
		w := b.field("access 488", "Warning")
		if w == "" || strings.Contains(w, "line 1") != (name == "garbage") {
			t.Errorf("%s: Warning %q", name, w)
		}
	}
}

// An answer that cannot be used is the callee's mistake: it is hung up, and the caller is told why, without a word of the answer itself.
func TestMO09_UnusableAnswers(t *testing.T) {
	good := fmt.Sprintf(coreAnswer, 1, "sendrecv")
	for body, why := range map[string]string{
		"": `399 isthmus "no description in the answer"`,
		strings.Replace(good, "a=sendrecv", "a=ptime:soon", 1):       `399 isthmus "session description not understood, line`,
		strings.Replace(good, "c=IN IP4 ", "c=IN IP6 2001:db8::", 1): `301 isthmus "an IPv6 address for media over IPv4"`,
	} {
		b := newBench(t)
		b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
		b.reply()
		b.callee(200, body)
		b.done("mgw> Add Add", "core> INVITE", "core> ACK", "access> 488", "core> BYE", "mgw> Subtract", "ended media")
		if w := b.field("access 488", "Warning"); !strings.HasPrefix(w, why) || strings.Contains(w, "2001:") || strings.Contains(w, "soon") {
			t.Errorf("Warning %q, want %q", w, why)
		}
	}
}

func TestR8827_R8122_WrongFingerprintEndsTheCall(t *testing.T) {
	b := newBench(t)
	b.establish()
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "failed", "reason": "fingerprint"}}}}})
	b.done(append(append([]string{}, established...), "access> BYE", "core> BYE", "mgw> Subtract", "ended dtls_failed")...)
	if r := b.field("access BYE", "Reason"); !strings.Contains(r, "fingerprint") {
		t.Errorf("Reason %q", r)
	}
}

func TestRFC3264_8_4_HoldFromBrowser(t *testing.T) {
	b := newBench(t)
	b.establish()
	hold := strings.Replace(strings.Replace(browserOffer, "a=sendrecv", "a=sendonly", 1), "4611 2", "4611 3", 1)
	b.step(RequestIn{Leg: LegAccess, Tx: "s3", Msg: browser("INVITE", 3, hold)})
	if !strings.Contains(string(b.last["core INVITE"].Body), "a=sendonly") {
		t.Errorf("core is not told of the hold:\n%s", b.last["core INVITE"].Body)
	}
	b.callee(200, fmt.Sprintf(coreAnswer, 2, "recvonly"))
	if !strings.Contains(string(b.last["access 200"].Body), "a=recvonly") {
		t.Errorf("answer:\n%s", b.last["access 200"].Body)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 3, "")})
	b.step(RequestIn{Leg: LegAccess, Tx: "s4", Msg: browser("BYE", 4, "")})
	b.done(append(append([]string{}, established...), "core> INVITE", "core> ACK", "access> 200", "mgw> Modify Modify", "access> 200", "core> BYE", "mgw> Subtract", "ended hangup_access")...)
}

func TestMO17_ForeignDialogIsRefused(t *testing.T) {
	b := newBench(t)
	b.establish()
	stranger := browser("BYE", 9, "")
	stranger.Set("From", "<sip:mallory@x.example>;tag=zz")
	b.step(RequestIn{Leg: LegAccess, Tx: "s9", Msg: stranger})
	if b.last["access 481"].Status != 481 || b.s.Ended() {
		t.Error("a BYE with another From tag was taken")
	}
	b.step(RequestIn{Leg: LegAccess, Tx: "s2", Msg: browser("BYE", 3, "")})
	b.done(append(append([]string{}, established...), "access> 481", "access> 200", "core> BYE", "mgw> Subtract", "ended hangup_access")...)
}
