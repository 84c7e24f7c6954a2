package contexts

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func playOn(id, term string, d *iqv1.SignalsDescriptor) *iqv1.Action {
	return &iqv1.Action{Context: contextID(id), Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: term}}, Descriptor_: &iqv1.TerminationDescriptor{Signals: d},
	}}}}}
}

// TestSignalsReachMedia: what the packet path is told to play, what the pool hears of its end, and what an audit shows meanwhile and after.
func TestSignalsReachMedia(t *testing.T) {
	media, pool := newFakeMedia(4), newPool()
	clip := signals.Make(make([]int16, 800), 8000)
	cfg := testConfig(pool)
	cfg.Announcements = func(name string) *signals.Clip {
		if name == "welcome" {
			return clip
		}
		return nil
	}
	m := New(cfg, media)
	defer m.Close()
	id, access, _ := call(t, m, iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED)
	play := func(d *iqv1.SignalsDescriptor) *iqv1.ActionReply { return m.Apply(playOn(id, access, d)) }
	rep := play(&iqv1.SignalsDescriptor{RequestId: 5, Signals: []*iqv1.Signal{
		{Name: "an/apf", Announcement: "welcome", Repeat: 2, NotifyCompletion: true},
		{Name: "dg/do", Duration: durationpb.New(200 * time.Millisecond)},
		{Name: "cg/rt", KeepActive: true, Type: iqv1.Signal_TYPE_TIMEOUT, Duration: durationpb.New(time.Second)},
	}})
	if rep.Error != nil {
		t.Fatal(rep.Error)
	}
	term := media.open[access].(fakeAccess)
	got := term.played[0].List
	if len(got) != 3 || got[0].Source == nil || got[0].Request != 5 || !got[0].Notify || got[1].Source != nil || got[1].Digit != 11 ||
		got[1].Hold != 200*time.Millisecond || got[2].Source == nil || !got[2].Keep || got[2].Notify {
		t.Fatalf("played %+v", got)
	}
	if n := got[0].Source.Fill(make([]int16, 3200), 8000); n != 1600 {
		t.Errorf("the announcement has %d samples in two rounds of 800", n)
	}
	audited := func() int {
		s, ok := m.Snapshot(m.all()[0].id, false)
		if !ok {
			t.Fatal("no context")
		}
		return len(s.Terminations[0].Descriptor().GetSignals().GetSignals())
	}
	if audited() != 3 {
		t.Error("the audit does not show what is playing")
	}
	for i, how := range []audio.Ending{audio.ByItself, audio.ByEvent, audio.ByCommand, audio.Failed} {
		it := got[0]
		m.Event(flow.Event{Endpoint: media.endpoint(access), Kind: flow.SignalDone, Stream: 1, At: time.Now(), Signal: flow.SignalEnd{Done: audio.Done{Item: it, How: how}, Last: how == audio.Failed}})
		<-pool.arrived
		p := pool.deliveries()[i].Events[0].Params
		want := fmt.Sprintf("map[method:%s signal:an/apf signal_request_id:5]", [...]string{"TO", "EV", "SD", "NC"}[i])
		if fmt.Sprint(p) != want || pool.deliveries()[i].RequestId != 9 {
			t.Errorf("told %v, want %s", p, want)
		}
	}
	silent := got[2]
	m.Event(flow.Event{Endpoint: media.endpoint(access), Kind: flow.SignalDone, Stream: 1, At: time.Now(), Signal: flow.SignalEnd{Done: audio.Done{Item: silent}}})
	if audited() != 0 || len(pool.deliveries()) != 4 {
		t.Errorf("%d signals after the last has ended, %d events", audited(), len(pool.deliveries()))
	}
	for err, want := range map[error]uint32{flow.ErrNoCodec: 513, flow.ErrBusy: 510, flow.ErrCannotDetect: 512, errGone: 514, errors.New("x"): 500} {
		media.refuse = fmt.Errorf("term: %w", err)
		if rep := play(&iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "cg/bt"}}}); code(rep) != want {
			t.Errorf("%v: %v", err, rep)
		}
	}
	if rep := play(&iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "an/apf", Announcement: "other"}}}); code(rep) != 514 {
		t.Errorf("unknown announcement: %v", rep)
	}
}
