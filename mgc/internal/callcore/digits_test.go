package callcore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func typed(t string) headers.Field { return headers.Field{Name: "Content-Type", Value: t} }

// talking is a call that is up, with a policy for digits.
func talking(t *testing.T, p Digits) *bench {
	t.Helper()
	b := newBench(t)
	b.s.d.Cfg.Policy.Digits = p
	b.establish()
	b.log = nil
	return b
}

// modified are the parts of the last transaction that concern digits and signals, by leg.
func (b *bench) modified() string {
	var out []string
	for _, c := range b.sent[len(b.sent)-1].GetActions()[0].GetCommands() {
		d := c.GetModify().GetDescriptor_()
		text := c.GetModify().GetTermination().GetId()
		for _, e := range d.GetEvents().GetSpecs() {
			if e.GetType() == iqv1.EventType_EVENT_TYPE_DTMF {
				text += fmt.Sprintf(" told tones=%v", e.GetTones())
			}
		}
		for _, s := range d.GetStreams() {
			if g := s.GetLocalControl().GetDigits(); g != 0 {
				text += " " + g.String()
			}
		}
		for _, s := range d.GetSignals().GetSignals() {
			text += fmt.Sprintf(" %s %v", s.GetName(), s.GetDuration().AsDuration())
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// TestR2976_DigitsOfBothKindsOfBody: an INFO with a digit becomes a signal towards the other peer, and is answered with what became of it.
func TestR2976_DigitsOfBothKindsOfBody(t *testing.T) {
	for _, from := range []Leg{LegAccess, LegCore} {
		b := talking(t, Digits{})
		n := 0
		info := func(kind, body string) {
			n++
			m := b.browser("INFO", 10+n, body, typed(kind))
			if from == LegCore {
				m = b.phone("INFO", 10+n, body, typed(kind))
			}
			b.request(from, fmt.Sprint("d", n), m)
		}
		for _, c := range []struct{ kind, body, want string }{
			{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "dg/d5 160ms"},
			{"application/dtmf-relay", "Signal= *\nDuration = 5", "dg/ds 40ms"},
			{"application/dtmf-relay", "signal=#", "dg/do 100ms"},
			{"application/dtmf-relay", "Signal=10\r\nDuration=250\r\n", "dg/ds 250ms"},
			{"application/dtmf-relay; charset=x", "Signal=d\r\nDuration=99999\r\n", "dg/dd 10s"},
			{"application/dtmf", "7", "dg/d7 100ms"},
			{"application/dtmf", "A\r\n", "dg/da 100ms"},
		} {
			info(c.kind, c.body)
			if want := fmt.Sprintf("ip/%d %s", from.Other(), c.want); b.modified() != want {
				t.Errorf("%s %q: %s, want %s", c.kind, c.body, b.modified(), want)
			}
			if b.final[fmt.Sprint("d", n)] != 0 {
				t.Error("answered before it is on its way")
			}
			b.reply()
			if b.final[fmt.Sprint("d", n)] != 1 || b.field(from.String()+" 200", "CSeq") != "" {
				t.Error("not answered")
			}
		}
		for _, bad := range [][2]string{{"application/dtmf", ""}, {"application/dtmf", "55"}, {"application/dtmf", "x"}, {"application/dtmf-relay", "Duration=100"}, {"application/dtmf-relay", "Signal=5\r\nDuration=-1"}} {
			b.log = nil
			info(bad[0], bad[1])
			if got := strings.Join(b.log, ", "); got != from.String()+"> 400" {
				t.Errorf("%q: %s", bad, got)
			}
		}
		// The media gateway refuses: so does the answer, and the call goes on.
		info("application/dtmf", "1")
		b.log = nil
		b.step(IqReply{ID: b.iq.GetTransactionId(), Reply: &iqv1.TransactionReply{Actions: []*iqv1.ActionReply{{Error: &iqv1.ErrorDescriptor{Code: 510}}}}})
		if got := strings.Join(b.log, ", "); got != from.String()+"> 503" || b.s.d.Phase != phaseUp {
			t.Errorf("refused by the media gateway: %s, %s", got, b.s.d.Phase)
		}
		// Other bodies of INFO pass as they always have.
		b.iq = nil
		info("application/media_control+xml", "<x/>")
		if got := b.last[from.Other().String()+" INFO"]; string(got.Body) != "<x/>" {
			t.Errorf("another INFO became %+v", got)
		}
	}
}

// TestR2976_DigitsToAPeerThatWantsThem: the media gateway tells digits and keeps them out of the media; each goes by INFO, the next when the one
// before is answered; INFO becomes INFO.
func TestR2976_DigitsToAPeerThatWantsThem(t *testing.T) {
	for _, kind := range []InfoBody{"", InfoPlain} {
		b := newBench(t)
		b.s.d.Cfg.Policy.Digits = Digits{Core: DigitsInfo, Info: kind}
		b.establish()
		if got, want := b.modified(), "ip/0 told tones=false; ip/1 DIGITS_DROP"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		pressed := func(key, ms string) {
			b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: "ip/0", RequestId: toldApart, Events: []*iqv1.ObservedEvent{{
				Type: iqv1.EventType_EVENT_TYPE_DTMF, Params: map[string]string{"digit": key, "duration_ms": ms}}}}})
		}
		b.log = nil
		var bodies []string
		pressed("5", "120")
		pressed("5", "80")
		pressed("*", "300")
		b.request(LegAccess, "d1", b.browser("INFO", 20, "Signal=9\r\nDuration=200\r\n", typed("application/dtmf-relay")))
		for range 4 {
			bodies = append(bodies, string(b.last["core INFO"].Body))
			b.answers(LegCore, "INFO", 200, "")
		}
		want := "Signal=5\r\nDuration=120\r\n|Signal=5\r\nDuration=80\r\n|Signal=*\r\nDuration=300\r\n|Signal=9\r\nDuration=200\r\n"
		if kind == InfoPlain {
			want = "5|5|*|9"
		}
		if got := strings.Join(bodies, "|"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := strings.Join(b.log, ", "); got != "core> INFO, access> 200, core> INFO, core> INFO, core> INFO" {
			t.Errorf("ladder %s", got)
		}
		if b.final["d1"] != 1 || b.iq != nil {
			t.Error("the INFO of the browser is not answered, or is played as well")
		}
	}
}

// TestR2976_PeerThatTakesNoInfo: what it refuses reaches it in its media, from the digit that it refused on, and nothing is lost.
func TestR2976_PeerThatTakesNoInfo(t *testing.T) {
	b := talking(t, Digits{Core: DigitsInfo})
	for _, k := range "12" {
		b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: "ip/0", RequestId: toldApart, Events: []*iqv1.ObservedEvent{{
			Type: iqv1.EventType_EVENT_TYPE_DTMF, Params: map[string]string{"digit": string(k)}}}}})
	}
	b.answers(LegCore, "INFO", 415, "")
	var got []string
	for b.iq != nil {
		got = append(got, b.modified())
		b.reply()
	}
	if want := "ip/0; ip/1 DIGITS_PLAY | ip/1 dg/d1 100ms | ip/1 dg/d2 100ms"; strings.Join(got, " | ") != want {
		t.Errorf("%s, want %s", strings.Join(got, " | "), want)
	}
}

// TestDigitsInAudioByPolicy: a peer without telephone-events is listened to where the policy says so.
func TestDigitsInAudioByPolicy(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Policy.Digits = Digits{Core: DigitsTone}
	b.establish()
	if got, want := b.modified(), "ip/0; ip/1 told tones=true"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestDigitsThatComeTooLate: an INFO whose call ends first is answered all the same.
func TestDigitsThatComeTooLate(t *testing.T) {
	b := talking(t, Digits{})
	b.request(LegAccess, "d1", b.browser("INFO", 20, "1", typed("application/dtmf")))
	b.request(LegAccess, "d2", b.browser("INFO", 21, "2", typed("application/dtmf")))
	b.request(LegCore, "bye", b.phone("BYE", 40, ""))
	b.reply()
	b.reply()
	b.answers(LegAccess, "BYE", 200, "")
	if b.final["d1"] != 1 || b.final["d2"] != 1 || b.ended != 1 {
		t.Errorf("answers %v, ended %d: %v", b.final, b.ended, b.log)
	}
	b = talking(t, Digits{Core: DigitsInfo})
	for i := range maxDigits + 1 {
		b.request(LegAccess, fmt.Sprint("d", i), b.browser("INFO", 20+i, "1", typed("application/dtmf")))
	}
	if last := b.last["access 503"]; last.Status != 503 || len(b.s.d.Legs[LegCore].Digits) != maxDigits {
		t.Errorf("%d digits wait, %d", len(b.s.d.Legs[LegCore].Digits), last.Status)
	}
	if !slices.Equal(b.lost, []Leg{LegCore}) {
		t.Errorf("told to be lost: %v", b.lost)
	}
	b.now = b.now.Add(time.Minute)

	b = talking(t, Digits{Core: DigitsInfo}) // the same of those that the media gateway has heard
	for range maxDigits + 2 {
		b.pressed(LegAccess, "1")
	}
	if !slices.Equal(b.lost, []Leg{LegCore, LegCore}) {
		t.Errorf("told to be lost: %v", b.lost)
	}
}

// pressed tells a key that the media gateway has detected on a leg.
func (b *bench) pressed(l Leg, key string) {
	b.t.Helper()
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: b.s.d.Node.Terms[l], RequestId: toldApart, Events: []*iqv1.ObservedEvent{{
		Type: iqv1.EventType_EVENT_TYPE_DTMF, Params: map[string]string{"digit": key, "duration_ms": "100"}}}}})
}

// infos answers the INFOs to a leg one after the other and returns the keys that they brought.
func (b *bench) infos(l Leg) (keys string) {
	b.t.Helper()
	for range maxDigits {
		tx := b.tx[l.String()+" INFO"]
		if tx == "" || b.s.d.Clients[tx].Method == "" {
			break
		}
		m := b.last[l.String()+" INFO"]
		keys += strings.TrimPrefix(strings.SplitN(string(m.Body), "\r\n", 2)[0], "Signal=")
		b.answers(l, "INFO", 200, "")
	}
	return keys
}

// earlyForInfo is a call whose callee wants digits by INFO, in early media of its fork r1.
func earlyForInfo(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.s.d.Cfg.Policy.Digits = Digits{Core: DigitsInfo}
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.response("core INVITE", 183, "r1", fmt.Sprintf(coreAnswer, 1, "sendrecv"), "P-Early-Media: sendrecv")
	b.reply()
	return b
}

// TestR2976_DigitsPressedBeforeTheAnswer: they go to the callee that wants INFO once it has answered, in order, and hold those after them up no longer.
func TestR2976_DigitsPressedBeforeTheAnswer(t *testing.T) {
	b := earlyForInfo(t)
	b.pressed(LegAccess, "1")
	if b.last["core INFO"].Method != "" {
		t.Error("INFO before the answer")
	}
	b.response("core INVITE", 200, "r1", "")
	b.reply()
	b.pressed(LegAccess, "2")
	b.pressed(LegAccess, "3")
	if got := b.infos(LegCore); got != "123" || b.iq != nil {
		t.Errorf("INFO with %q, %v", got, b.iq)
	}

	// Another codec than the early one: they go in its media.
	b = newBench(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(180, "")
	b.s.d.Legs[LegCore].Digits = []digit{{Key: "7", For: digitHeld}}
	b.callee(200, fmt.Sprintf(coreAnswer, 1, "sendrecv"))
	b.reply()
	if got := b.modified(); got != "ip/1 dg/d7 100ms" {
		t.Errorf("played %s", got)
	}
}

// TestR2976_DigitsForACallerWhoseAnswerIsHeld: the 2xx waits for a PRACK (RFC 3262 §3), and so do they.
func TestR2976_DigitsForACallerWhoseAnswerIsHeld(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Policy.Digits = Digits{Core: DigitsInfo}
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: caller("INVITE", 1, "", "Require: 100rel")})
	b.reply()
	b.response("access INVITE", 183, "w1", "")
	b.response("access INVITE", 200, "w1", browserAnswer)
	for b.iq != nil {
		b.reply()
	}
	if b.s.d.Prov.Held == nil {
		t.Fatal("the 2xx is not held")
	}
	b.pressed(LegAccess, "4")
	b.pressed(LegAccess, "5")
	b.step(RequestIn{Leg: LegCore, Tx: "p1", Msg: caller("PRACK", 2, coreSDP(1, "10.0.0.7"), "RAck: "+b.field("core 183", "RSeq")+" 1 INVITE")})
	b.pressed(LegAccess, "6")
	if got := b.infos(LegCore); got != "456" {
		t.Errorf("INFO with %q: %v", got, b.log)
	}
}

// passing is a call in EVS, which is only relayed, without telephone-events; allow are methods that the core's peer says it takes.
func passing(t *testing.T, p Digits, allow string) *bench {
	t.Helper()
	b := newBench(t)
	b.s.d.Cfg.Policy.Digits = p
	m := &b.s.d.Cfg.Policy.Media
	m.Access, m.Core = append([]string{codec.EVS}, m.Access...), append([]string{codec.EVS}, m.Core...)
	offer := strings.NewReplacer("SAVPF 111 8", "SAVPF 111 8 96").Replace(browserOffer) + "a=rtpmap:96 EVS/16000\r\n"
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, offer)})
	b.reply()
	b.response("core INVITE", 200, "r1", "v=0\r\no=- 1 1 IN IP4 10.0.0.7\r\ns=-\r\nc=IN IP4 10.0.0.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 EVS/16000\r\n", "Allow: "+allow)
	return b
}

// TestR2976_DigitsWhereNothingIsCoded: what only passes carries no tones of ours, so that digits go by INFO, to a peer that has not said that it takes it
// as the browser's own request; nor is it listened to for tones, which the media gateway would refuse.
func TestR2976_DigitsWhereNothingIsCoded(t *testing.T) {
	for _, c := range []struct {
		policy      Digits
		allow       string
		told, after string
	}{
		{Digits{}, "INVITE, INFO", "ip/0 told tones=false; ip/1 DIGITS_DROP", "core> INFO, access> 200"},
		{Digits{}, "INVITE", "ip/0; ip/1", "core> INFO"},
		{Digits{Core: DigitsTone}, "INVITE, INFO", "ip/0; ip/1", "mgw> Modify"},
	} {
		b := passing(t, c.policy, c.allow)
		if got := b.modified(); got != c.told {
			t.Errorf("%+v: told %s, want %s", c, got, c.told)
		}
		b.reply()
		b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
		b.log = nil
		b.request(LegAccess, "d1", b.browser("INFO", 20, "Signal=5\r\nDuration=160\r\n", typed("application/dtmf-relay")))
		if got := strings.Join(b.log, ", "); got != c.after {
			t.Errorf("%+v: %s, want %s", c, got, c.after)
		}
		if m := b.last["core INFO"]; m.Method != "" && string(m.Body) != "Signal=5\r\nDuration=160\r\n" {
			t.Errorf("INFO with %q", m.Body)
		}
	}
}

// TestR2976_HookFlashPasses: no digit, and no error: the other peer gets it as it is.
func TestR2976_HookFlashPasses(t *testing.T) {
	for kind, bodies := range map[string][]string{"application/dtmf-relay": {"Signal=16\r\nDuration=100\r\n", "Signal= hf"}, "application/dtmf": {"!", "16", "HF\r\n"}} {
		for _, body := range bodies {
			b := talking(t, Digits{})
			b.request(LegAccess, "d1", b.browser("INFO", 20, body, typed(kind)))
			b.ladder("core> INFO")
			if m := b.last["core INFO"]; string(m.Body) != body || m.Get("Content-Type") != kind {
				t.Errorf("%q became %q", body, m.Body)
			}
		}
	}
}
