package callcore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func (b *bench) secured() {
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}}}})
}

func (b *bench) sounded(request string) {
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: "ip/0", Events: []*iqv1.ObservedEvent{{
		Type: iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED, Params: map[string]string{"signal_request_id": request, "method": "TO"}}}}})
}

// calling is a call that waits for the core's response.
func calling(t *testing.T, p Sounds) *bench {
	t.Helper()
	b := newBench(t)
	b.s.d.Cfg.Policy.Sounds = p
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.log = nil
	return b
}

func (b *bench) happened() string {
	out := strings.Join(b.log, ", ")
	b.log = nil
	return out
}

// signalOf is the first signal of the last transaction, "none" for an empty descriptor.
func (b *bench) signalOf() string {
	for _, c := range b.sent[len(b.sent)-1].GetActions()[0].GetCommands() {
		d := c.GetModify().GetDescriptor_().GetSignals()
		if s := d.GetSignals(); len(s) > 0 {
			return c.GetModify().GetTermination().GetId() + " " + s[0].GetName() + s[0].GetAnnouncement()
		} else if d != nil {
			return c.GetModify().GetTermination().GetId() + " none"
		}
	}
	return ""
}

// TestRingbackOfTheGateway: a 180 without media gets an answer and ringing, once the browser can hear it, and until something else is heard.
func TestRingbackOfTheGateway(t *testing.T) {
	for _, then := range []string{"answer", "early media"} {
		b := calling(t, Sounds{Ringback: true})
		b.callee(180, "")
		if got := b.happened(); got != "mgw> Modify, access> 180" {
			t.Errorf("180: %s", got)
		}
		if ring := b.last["access 180"]; !strings.Contains(string(ring.Body), "m=audio 20000 UDP/TLS/RTP/SAVPF 111 110") {
			t.Errorf("180 with\n%s", ring.Body)
		}
		b.reply()
		b.secured()
		if got := b.signalOf(); got != "ip/0 cg/rt" {
			t.Errorf("signal %q", got)
		}
		b.reply()
		b.callee(180, "")
		if got := b.happened(); got != "mgw> Modify, access> 180" {
			t.Errorf("a second 180: %s", got)
		}
		if then == "answer" {
			b.callee(200, fmt.Sprintf(coreAnswer, 1, "sendrecv"))
		} else {
			b.callee(183, fmt.Sprintf(coreAnswer, 1, "sendrecv"))
		}
		if got := b.signalOf(); got != "ip/0 none" {
			t.Errorf("%s: signal %q", then, got)
		}
		b.reply()
		if b.s.d.Ring != "" {
			t.Error("it rings on")
		}
	}
	b := calling(t, Sounds{})
	b.callee(180, "")
	if got := b.happened(); got != "access> 180" || len(b.last["access 180"].Body) != 0 {
		t.Errorf("off: %s", got)
	}
	b = calling(t, Sounds{Ringback: true})
	b.callee(183, fmt.Sprintf(coreAnswer, 1, "sendrecv"))
	b.reply()
	b.callee(180, "")
	b.secured()
	if got := b.signalOf(); got != "" {
		t.Errorf("over early media: %q", got)
	}
}

// TestFailureIsHeard: the browser hears why its call failed, and gets the callee's response afterwards, whatever becomes of the sound.
func TestFailureIsHeard(t *testing.T) {
	p := Sounds{Failure: map[string]Sound{"486": {Signal: "cg/bt"}, "480": {Signal: "an/apf", Announcement: "away"}}}
	for name, c := range map[string]struct {
		status int
		signal string
		then   func(b *bench)
		final  int
		cause  Cause
	}{
		"heard": {486, "ip/0 cg/bt", func(b *bench) { b.secured(); b.reply(); b.sounded("2") }, 486, CauseRejected},
		"file":  {480, "ip/0 an/apfaway", func(b *bench) { b.secured(); b.reply(); b.sounded("2") }, 480, CauseRejected},
		"no file": {480, "ip/0 an/apfaway", func(b *bench) {
			b.secured()
			b.step(IqReply{ID: b.iq.GetTransactionId(), Reply: &iqv1.TransactionReply{Actions: []*iqv1.ActionReply{{Error: &iqv1.ErrorDescriptor{Code: 514}}}}})
		}, 480, CauseRejected},
		"no media": {486, "", func(b *bench) { b.fires(timerAnnounce) }, 486, CauseRejected},
		"too long": {486, "ip/0 cg/bt", func(b *bench) { b.secured(); b.reply(); b.fires(timerAnnounce) }, 486, CauseRejected},
		"given up": {486, "ip/0 cg/bt", func(b *bench) { b.secured(); b.reply(); b.step(CancelIn{Tx: "s1"}) }, 487, CauseCancelled},
		"ICE fails": {486, "", func(b *bench) {
			b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_ICE_RESULT, Params: map[string]string{"result": "failed"}}}}})
		}, 480, CauseICE},
	} {
		t.Run(name, func(t *testing.T) {
			b := calling(t, p)
			b.callee(180, "")
			b.happened()
			b.callee(c.status, "")
			if got := b.happened(); !strings.HasPrefix(got, "mgw> Modify, access> 183") || b.final["s1"] != 0 {
				t.Fatalf("failure: %s, %d final", got, b.final["s1"])
			}
			for b.iq != nil {
				b.reply()
			}
			c.then(b)
			var heard string
			for _, r := range b.sent {
				last := b.sent
				b.sent = []*iqv1.TransactionRequest{r}
				if s := b.signalOf(); s != "" {
					heard = s
				}
				b.sent = last
			}
			if heard != c.signal {
				t.Errorf("heard %q, want %q", heard, c.signal)
			}
			for b.iq != nil {
				b.reply()
			}
			if b.final["s1"] != 1 || b.s.Record().Status != c.final || b.s.Record().Cause != c.cause || b.ended != 1 {
				t.Errorf("%d final responses, status %d, cause %s, ended %d", b.final["s1"], b.s.Record().Status, b.s.Record().Cause, b.ended)
			}
		})
	}
	b := calling(t, p)
	b.callee(404, "")
	if b.final["s1"] != 1 {
		t.Error("another status has waited")
	}
}

// TestOperatorPlays: what becomes of it is told, also when the call ends first.
func TestOperatorPlays(t *testing.T) {
	b := up(t)
	var told []Played
	step := func(ev Event) {
		b.now = b.now.Add(1)
		for _, e := range b.s.Step(b.now, ev) {
			if p, ok := e.(Played); ok {
				told = append(told, p)
			}
			b.note(e)
		}
	}
	play := func(id string) {
		step(Play{ID: id, Leg: LegCore, Signals: []*iqv1.Signal{{Name: "an/apf", Announcement: "x"}}})
	}
	outcome := func(code uint32) {
		a := &iqv1.ActionReply{}
		if code != 0 {
			a.Error = &iqv1.ErrorDescriptor{Code: code}
		}
		step(IqReply{ID: b.iq.GetTransactionId(), Reply: &iqv1.TransactionReply{Actions: []*iqv1.ActionReply{a}}})
	}
	play("a")
	if got := b.signalOf(); got != "ip/1 an/apfx" {
		t.Errorf("signal %q", got)
	}
	outcome(0)
	play("b")
	outcome(514)
	play("c")
	play("d")
	step(RequestIn{Leg: LegCore, Tx: "bye", Msg: b.phone("BYE", 40, "")})
	outcome(0)
	play("e")
	want := "a 0, b 514, d the call ends, c 0, e the call has no media"
	var got []string
	for _, p := range told {
		switch {
		case p.Err == nil:
			got = append(got, p.ID+" 0")
		case p.Err.Code != 0:
			got = append(got, fmt.Sprint(p.ID, " ", p.Err.Code))
		default:
			got = append(got, p.ID+" "+p.Err.Text)
		}
	}
	if strings.Join(got, ", ") != want {
		t.Errorf("told %q, want %q", strings.Join(got, ", "), want)
	}
}

// TestRingbackAndCodecsThatOnlyPass: where the core may yet pick a codec that goes with none of ours but itself, the browser is given no answer
// before the core's, and the call works.
func TestRingbackAndCodecsThatOnlyPass(t *testing.T) {
	offer := strings.NewReplacer("SAVPF 111 8", "SAVPF 111 8 96").Replace(browserOffer) + "a=rtpmap:96 EVS/16000\r\n"
	begin := func() *bench {
		b := newBench(t)
		b.s.d.Cfg.Policy.Sounds = Sounds{Ringback: true, Failure: map[string]Sound{"486": {Signal: "cg/bt"}}}
		m := &b.s.d.Cfg.Policy.Media
		m.Access, m.Core = append([]string{codec.EVS}, m.Access...), append([]string{codec.EVS}, m.Core...)
		b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, offer)})
		b.reply()
		b.has("core INVITE", "EVS/16000", "PCMA/8000")
		b.log = nil
		b.callee(180, "")
		return b
	}
	b := begin()
	b.ladder("access> 180")
	b.has("access 180", "!application/sdp")
	b.callee(200, "v=0\r\no=- 1 1 IN IP4 10.0.0.7\r\ns=-\r\nc=IN IP4 10.0.0.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 EVS/16000\r\n")
	b.ladder("core> ACK", "access> 200", "mgw> Modify Modify")
	b.has("access 200", "EVS/16000")

	// Once the core has failed it picks no more, and the reason can be heard.
	b = begin()
	b.log = nil
	b.callee(486, "")
	b.ladder("mgw> Modify", "access> 183")
	b.has("access 183", "opus/48000/2", "!EVS")
}

// TestFailureThatCannotBeHeard: the media gateway refuses what the browser was to hear with; it gets the callee's response all the same.
func TestFailureThatCannotBeHeard(t *testing.T) {
	b := calling(t, Sounds{Failure: map[string]Sound{"486": {Signal: "cg/bt"}}})
	b.callee(486, "")
	b.ladder("mgw> Modify", "access> 183")
	b.refused(512)
	b.done("access> 486", "mgw> Subtract", "ended rejected")
	if r := b.s.Record(); r.Status != 486 || r.Cause != CauseRejected {
		t.Errorf("status %d, cause %s", r.Status, r.Cause)
	}
}

// TestOperatorPlaysWhatNoTransactionHolds: it is refused, and the call goes on.
func TestOperatorPlaysWhatNoTransactionHolds(t *testing.T) {
	b := up(t)
	out := b.s.Step(b.now, Play{ID: "a", Leg: LegCore, Signals: []*iqv1.Signal{{Name: "an/apf", Announcement: "a\xff"}}})
	if p, ok := out[0].(Played); !ok || len(out) != 1 || p.Err == nil || p.ID != "a" {
		t.Errorf("effects %v", out)
	}
}
