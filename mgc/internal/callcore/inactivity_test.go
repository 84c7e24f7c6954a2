package callcore

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// silence tells that the only stream of a side has fallen silent, or speaks again.
func (b *bench) silence(l Leg, typ iqv1.EventType) {
	b.t.Helper()
	b.silenceOf(l, typ, 0)
}

func (b *bench) silenceOf(l Leg, typ iqv1.EventType, stream uint32) {
	b.t.Helper()
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: b.s.d.Node.Terms[l], Events: []*iqv1.ObservedEvent{{Type: typ, StreamId: stream}}}})
}

func (b *bench) ending() bool {
	_, runs := b.s.Timers()[timerInactive]
	return runs
}

// TestIQ13_REL02_SilenceEndsTheCall: one side silent is enough, the other's media does not hide it, and the time of each counts from its own silence.
func TestIQ13_REL02_SilenceEndsTheCall(t *testing.T) {
	const silent, speaks = iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE, iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE
	b := up(t)
	b.silence(LegCore, silent)
	if b.ending() {
		t.Fatal("a call is ended for silence though nobody asked for it")
	}
	b.s.d.Cfg.Policy.InactivityGrace = time.Minute
	b.silence(LegCore, silent)
	first := b.s.Timers()[timerInactive]
	b.now = b.now.Add(time.Second)
	b.silence(LegAccess, silent)
	if !b.s.Timers()[timerInactive].Equal(first) {
		t.Error("the second side's silence begins the time anew")
	}
	b.silence(LegAccess, speaks)
	if !b.ending() {
		t.Fatal("the browser's media hides the silence of the core's peer")
	}
	if !b.s.Timers()[timerInactive].Equal(first) {
		t.Error("the second side's media begins the time anew")
	}
	b.now = b.now.Add(time.Second)
	b.silence(LegAccess, silent)
	second := b.now
	b.now = b.now.Add(10 * time.Second)
	b.silence(LegAccess, silent) // again, as after a re-offer
	b.silence(LegCore, speaks)
	if got := b.s.Timers()[timerInactive]; !got.Equal(second.Add(time.Minute)) {
		t.Errorf("the side that is silent since %s is given until %s", second, got)
	}
	b.silence(LegAccess, speaks)
	if b.ending() {
		t.Fatal("both speak, and the time runs")
	}
	b.silence(LegCore, silent)
	b.fires(timerInactive)
	b.done("access> BYE", "core> BYE", "mgw> Subtract", "ended media_inactive")
	if r := b.field("core BYE", "Reason"); !strings.Contains(r, "No media") {
		t.Errorf("Reason %q", r)
	}
}

// TestIQ13_HoldIsNoSilence: a side that was silent and then shall not speak does not end the call; afterwards the MGW tells anew.
func TestIQ13_HoldIsNoSilence(t *testing.T) {
	b := up(t)
	b.s.d.Cfg.Policy.InactivityGrace = time.Minute
	b.silence(LegAccess, iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE)
	b.request(LegCore, "p1", b.phone("INVITE", 1, phoneSDP("sendonly", 2)))
	b.answers(LegAccess, "INVITE", 200, webAnswer("recvonly", 3))
	if b.ending() {
		t.Error("a browser on hold is taken for silent")
	}
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 1, "")})
	b.silence(LegCore, iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE) // who holds sends music
	if !b.ending() {
		t.Error("the side that shall send is not watched")
	}
}

// TestWhatTheGatewayIsAsked: detection time, and whether RTCP counts, on both sides and for every stream (0).
func TestWhatTheGatewayIsAsked(t *testing.T) {
	b := up(t)
	b.s.d.Cfg.Policy.InactivityAfter, b.s.d.Cfg.Policy.InactivityRTCP = 45*time.Second, true
	for _, l := range []Leg{LegAccess, LegCore} {
		found := 0
		for _, spec := range b.s.events(l).GetSpecs() {
			switch spec.GetType() {
			case iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE:
				if spec.GetTimer().AsDuration() != 45*time.Second || !spec.GetRtcp() || spec.GetStreamId() != 0 {
					t.Errorf("%s: %v", l, spec)
				}
				found++
			case iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE:
				if spec.GetStreamId() != 0 {
					t.Errorf("%s: %v", l, spec)
				}
				found++
			}
		}
		if found != 2 {
			t.Errorf("%s: %v", l, b.s.events(l))
		}
	}
}

// TestIQ13_REL02_SilenceBeforeTheAnswer: what has begun before the answer, and is told once only, counts from the answer.
func TestIQ13_REL02_SilenceBeforeTheAnswer(t *testing.T) {
	b := newBench(t)
	b.s.d.Cfg.Policy.InactivityGrace = time.Minute
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.response("core INVITE", 183, "r1", phoneSDP("sendrecv", 1), "P-Early-Media: sendrecv")
	b.reply()
	b.silence(LegAccess, iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE)
	b.silence(LegCore, iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE)
	b.silence(LegCore, iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE)
	if b.ending() {
		t.Error("a call that rings is ended for silence")
	}
	b.now = b.now.Add(2 * time.Minute)
	b.response("core INVITE", 200, "r1", "")
	if got, want := b.s.Timers()[timerInactive], b.now.Add(time.Minute); !got.Equal(want) {
		t.Errorf("the time is %s, want %s", got, want)
	}
	b.reply()
	b.silence(LegAccess, iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE)
	if b.ending() {
		t.Error("the browser speaks, and the time runs")
	}
}

// TestSilenceOfAFormerRecord: a record that says who is silent, not since when, goes on as it was.
func TestSilenceOfAFormerRecord(t *testing.T) {
	b := up(t)
	b.s.d.Cfg.Policy.InactivityGrace = time.Minute
	b.silence(LegCore, iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE)
	at := b.s.Timers()[timerInactive]
	raw, err := json.Marshal(b.s)
	if err != nil {
		t.Fatal(err)
	}
	var rec map[string]json.RawMessage
	if err := json.Unmarshal(raw, &rec); err != nil || rec["silent_since"] == nil || rec["silent"] != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	delete(rec, "silent_since")
	delete(rec, "heard")
	rec["silent"] = json.RawMessage("[true,true]")
	if raw, err = json.Marshal(rec); err != nil {
		t.Fatal(err)
	}
	b.s = &State{}
	if err := json.Unmarshal(raw, b.s); err != nil {
		t.Fatal(err)
	}
	b.silence(LegCore, iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE)
	if got := b.s.Timers()[timerInactive]; !got.Equal(at) {
		t.Errorf("ends at %s, before at %s", got, at)
	}
	b.silence(LegAccess, iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE)
	if b.ending() {
		t.Error("both speak, and the time runs")
	}
}
