package contexts

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func cloneRequest(r *iqv1.NotifyRequest) *iqv1.NotifyRequest {
	return proto.Clone(r).(*iqv1.NotifyRequest)
}

// call makes a context with both sides and returns its id and termination ids.
func call(t *testing.T, m *Manager, events ...iqv1.EventType) (id, access, core string) {
	t.Helper()
	rep := m.Apply(&iqv1.Action{
		Context: chooseContext(), Atomic: true, Attributes: &iqv1.ContextAttributes{CorrelationId: "corr"},
		Commands: []*iqv1.Command{addAccess(events...), addCore()},
	})
	if rep.Error != nil {
		t.Fatalf("set-up: %v", rep.Error)
	}
	return rep.ContextId, rep.Commands[0].TerminationId, rep.Commands[1].TerminationId
}

func code(rep *iqv1.ActionReply) uint32 { return rep.GetError().GetCode() }

func TestIQ36_SubtractReturnsStatisticsAndFreesAll(t *testing.T) {
	media := newFakeMedia(4)
	m := New(testConfig(newPool()), media)
	defer m.Close()
	id, _, _ := call(t, m)
	if open, free, pairs := media.counts(); open != 2 || free != 3 || pairs != 1 {
		t.Fatalf("open %d, free %d, pairs %d after set-up", open, free, pairs)
	}
	rep := m.Apply(&iqv1.Action{Context: contextID(id), Commands: []*iqv1.Command{subtractAll()}})
	if rep.Error != nil || len(rep.Commands[0].Statistics) != 2 || rep.Commands[0].Statistics[0].PacketsReceived != 8 {
		t.Fatalf("subtract: %v", rep)
	}
	if open, free, pairs := media.counts(); open != 0 || free != 4 || pairs != 0 || m.Count() != 0 || m.Terminations() != 0 {
		t.Fatalf("open %d, free %d, pairs %d, contexts %d after release", open, free, pairs, m.Count())
	}
	if rep := m.Apply(&iqv1.Action{Context: contextID(id), Commands: []*iqv1.Command{subtractAll()}}); code(rep) != 411 {
		t.Fatalf("second subtract: %v", rep)
	}
}

func TestExhaustedPortsLeaveNothing(t *testing.T) {
	media := newFakeMedia(1)
	m := New(testConfig(newPool()), media)
	defer m.Close()
	call(t, m)
	rep := m.Apply(&iqv1.Action{Context: chooseContext(), Atomic: true, Commands: []*iqv1.Command{addAccess(), addCore()}})
	if code(rep) != 510 || rep.ContextId != "" {
		t.Fatalf("want 510 and no context: %v", rep)
	}
	if open, _, _ := media.counts(); open != 2 || m.Count() != 1 {
		t.Fatalf("open %d, contexts %d: something of the failed one is left", open, m.Count())
	}
}

func TestReferences(t *testing.T) {
	m := New(testConfig(newPool()), newFakeMedia(8))
	defer m.Close()
	id, _, core := call(t, m)
	other, _, _ := call(t, m)
	byID := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: core}}
	subtractOne := &iqv1.Command{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{Termination: byID}}}
	all := &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}}
	for _, c := range []struct {
		name string
		act  *iqv1.Action
		want uint32
	}{
		{"unset", &iqv1.Action{}, 422},
		{"null", &iqv1.Action{Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Null{}}}, 501},
		{"choose without command", &iqv1.Action{Context: chooseContext()}, 422},
		{"unknown", &iqv1.Action{Context: contextID("nope")}, 411},
		{"all with one termination", &iqv1.Action{Context: all, Commands: []*iqv1.Command{subtractOne}}, 421},
		{"all with Add", &iqv1.Action{Context: all, Commands: []*iqv1.Command{addCore()}}, 421},
		{"termination of another context", &iqv1.Action{Context: contextID(other), Commands: []*iqv1.Command{subtractOne}}, 435},
		{"stale revision", &iqv1.Action{Context: contextID(id), ExpectRevision: 5, Commands: []*iqv1.Command{subtractOne}}, 9010},
	} {
		if rep := m.Apply(c.act); code(rep) != c.want {
			t.Errorf("%s: want %d, got %v", c.name, c.want, rep)
		}
	}
	if rep := m.Apply(&iqv1.Action{Context: all, Commands: []*iqv1.Command{subtractAll()}}); rep.Error != nil || m.Count() != 0 || len(rep.Commands[0].Statistics) != 4 {
		t.Fatalf("subtract all of ALL: %v, %d left", rep, m.Count())
	}
}

func TestDrainAndLimit(t *testing.T) {
	cfg := testConfig(newPool())
	cfg.MaxContexts = 1
	m := New(cfg, newFakeMedia(8))
	defer m.Close()
	id, _, _ := call(t, m)
	create := func(emergency bool) uint32 {
		return code(m.Apply(&iqv1.Action{
			Context: chooseContext(), Attributes: &iqv1.ContextAttributes{Emergency: emergency}, Commands: []*iqv1.Command{addCore()},
		}))
	}
	if got := create(false); got != 510 {
		t.Errorf("beyond the limit: %d", got)
	}
	if got := create(true); got != 0 {
		t.Errorf("emergency beyond the limit: %d", got)
	}
	m.SetDraining(true)
	if got := create(false); got != 521 {
		t.Errorf("while draining: %d", got)
	}
	waited := make(chan error, 1)
	go func() { waited <- m.WaitEmpty(t.Context()) }()
	m.ReleaseAll("test")
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if m.find("") != nil || m.Count() != 0 {
		t.Errorf("%d contexts left, one of them %s", m.Count(), id)
	}
	m.SetDraining(false)
	if got := create(false); got != 0 {
		t.Errorf("after the drain was cancelled: %d", got)
	}
}

// TestIQ19_EMG04_PriorityIsAdmittedUnderCongestion: beyond the configured limit priority contexts have a reserve; emergency calls are admitted while there is
// a port.
func TestIQ19_EMG04_PriorityIsAdmittedUnderCongestion(t *testing.T) {
	cfg := testConfig(newPool())
	cfg.MaxContexts = 80
	m := New(cfg, newFakeMedia(200))
	defer m.Close()
	create := func(priority uint32, emergency bool) uint32 {
		return code(m.Apply(&iqv1.Action{
			Context: chooseContext(), Attributes: &iqv1.ContextAttributes{Priority: priority, Emergency: emergency}, Commands: []*iqv1.Command{addCore()},
		}))
	}
	fill := func(what string, want int, priority uint32, emergency bool) {
		t.Helper()
		n := 0
		for n < 200 && create(priority, emergency) == 0 {
			n++
		}
		if n != want || create(priority, emergency) != 510 {
			t.Fatalf("%s: %d admitted, want %d", what, n, want)
		}
	}
	fill("ordinary", 80, 7, false)
	fill("priority", 2, 8, false)
	fill("emergency", 200-80-2, 15, true) // as many as there are ports
	if got := create(0, false); got != 510 {
		t.Errorf("ordinary beside them: %d", got)
	}
}

func TestConcurrentCommandsOfOneContext(t *testing.T) {
	m := New(testConfig(newPool()), newFakeMedia(8))
	defer m.Close()
	id, access, _ := call(t, m)
	ref := &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: access}}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		wg.Go(func() {
			rep := m.Apply(&iqv1.Action{Context: contextID(id), ExpectRevision: 1, Commands: []*iqv1.Command{{
				Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Termination: ref, Descriptor_: &iqv1.TerminationDescriptor{}}},
			}}})
			if rep.Error == nil {
				mu.Lock()
				won++
				mu.Unlock()
			} else if rep.Error.Code != 9010 {
				t.Errorf("unexpected %v", rep.Error)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d commands saw revision 1, want exactly one", won)
	}
}

func event(m *fakeMedia, id string, kind flow.EventKind) flow.Event {
	stream := uint32(1)
	if typ, _ := eventType(kind); connmodel.OfTransport(typ) {
		stream = 0
	}
	return flow.Event{Endpoint: m.endpoint(id), Kind: kind, Stream: stream, At: time.Now(), Reason: "because", Digit: '5', Duration: 120 * time.Millisecond}
}

func TestNotifyOnlyArmedInOrderWithRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media, p := newFakeMedia(4), newPool()
		m := New(testConfig(p), media)
		defer m.Close()
		_, access, core := call(t, m, iqv1.EventType_EVENT_TYPE_DTLS_STATE, iqv1.EventType_EVENT_TYPE_DTMF)
		p.set(iqv1.NotifyReply_VERDICT_RETRY_LATER, false)
		m.Event(event(media, access, flow.DTLSFailed))
		m.Event(event(media, access, flow.ConsentLost)) // not armed
		m.Event(event(media, core, flow.DTMF))          // not armed there
		m.Event(event(media, access, flow.DTMF))
		time.Sleep(100 * time.Millisecond) // virtual
		synctest.Wait()
		if got := p.deliveries(); len(got) != 1 || got[0].EventSeq != 1 || got[0].Attempt != 1 {
			t.Fatalf("before the first retry: %v", got)
		}
		p.set(0, true)               // nobody answers
		time.Sleep(10 * time.Second) // 0.5 + 1 + 2 + 4: four more
		p.set(iqv1.NotifyReply_VERDICT_ACK, false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		got := p.deliveries()
		if len(got) != 7 {
			t.Fatalf("%d deliveries, want 6 of the first and 1 of the second: %v", len(got), got)
		}
		for i, r := range got[:6] {
			if r.EventSeq != 1 || r.Attempt != uint32(i+1) || r.Events[0].Params["reason"] != "because" {
				t.Errorf("delivery %d: %v", i, r)
			}
		}
		last := got[6]
		if last.EventSeq != 2 || last.Attempt != 1 || last.RequestId != 9 || last.CorrelationId != "corr" || last.MgwId != "m" || last.BootId != "boot" ||
			last.Events[0].Params["digit"] != "5" || last.Events[0].Params["duration_ms"] != "120" || last.TerminationId != access {
			t.Errorf("second event: %v", last)
		}
	})
}

func TestNotifyQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media, p := newFakeMedia(4), newPool()
		m := New(testConfig(p), media)
		defer m.Close()
		_, access, _ := call(t, m, iqv1.EventType_EVENT_TYPE_DTMF)
		p.set(0, true)
		for range 200 {
			m.Event(event(media, access, flow.DTMF))
			synctest.Wait()
		}
		var pending int
		m.Snapshots(true, func(s Snapshot) bool { pending = s.PendingEvents; return true })
		if pending != maxNotes {
			t.Fatalf("%d events wait, want %d", pending, maxNotes)
		}
		p.set(iqv1.NotifyReply_VERDICT_ACK, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		got := p.deliveries()
		if last := got[len(got)-1]; last.EventSeq != maxNotes {
			t.Fatalf("last delivered is %d, want %d in order without a gap", last.EventSeq, maxNotes)
		}
	})
}

func TestIQ09HangingContextIsSubtracted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media, p := newFakeMedia(4), newPool()
		m := New(testConfig(p), media)
		defer m.Close()
		id, _, _ := call(t, m)
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if got := p.deliveries(); len(got) != 1 || got[0].Events[0].Type != iqv1.EventType_EVENT_TYPE_HANGING || got[0].TerminationId != "" {
			t.Fatalf("after orphan_ttl: %v", got)
		}
		// ACK: known to the pool; a full ttl again until the next one, which the pool does not know
		p.set(iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT, false)
		time.Sleep(9 * time.Minute)
		if n := len(p.deliveries()); n != 1 {
			t.Fatalf("ACK did not count as control activity: %d deliveries", n)
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if n := len(p.deliveries()); n != 2 || m.Count() != 1 {
			t.Fatalf("%d deliveries, %d contexts", n, m.Count())
		}
		// a command ends the countdown
		rep := m.Apply(&iqv1.Action{Context: contextID(id), Attributes: &iqv1.ContextAttributes{OrphanTtl: durationpb.New(time.Minute)}})
		if rep.Error != nil {
			t.Fatal(rep.Error)
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if m.Count() != 1 {
			t.Fatal("subtracted although a command came during the countdown")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if open, free, _ := media.counts(); m.Count() != 0 || open != 0 || free != 4 {
			t.Fatalf("hanging context is still there: %d contexts, %d terminations", m.Count(), open)
		}
	})
}

func TestHeadlessIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media, p := newFakeMedia(4), newPool()
		p.set(0, true)
		m := New(testConfig(p), media)
		defer m.Close()
		call(t, m)
		time.Sleep(4*time.Hour - time.Second)
		synctest.Wait()
		if m.Count() != 1 {
			t.Fatal("subtracted while the pool was away for less than the limit")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if m.Count() != 0 {
			t.Fatal("still there beyond the headless limit")
		}
	})
}

func TestCloseWithWorkInProgress(t *testing.T) {
	media, p := newFakeMedia(300), newPool()
	p.set(0, true)
	m := New(testConfig(p), media)
	ids := make([]string, 0, 200)
	for range 200 {
		_, access, _ := call(t, m, iqv1.EventType_EVENT_TYPE_DTMF)
		ids = append(ids, access)
	}
	var wg sync.WaitGroup
	for _, id := range ids {
		ev := event(media, id, flow.DTMF)
		wg.Go(func() { m.Event(ev) })
	}
	m.Close()
	wg.Wait()
	if open, free, pairs := media.counts(); open != 0 || free != 300 || pairs != 0 || m.Count() != 0 {
		t.Fatalf("open %d, free %d, pairs %d, contexts %d", open, free, pairs, m.Count())
	}
	if got := code(m.Apply(&iqv1.Action{Context: chooseContext(), Commands: []*iqv1.Command{addCore()}})); got != 503 {
		t.Fatalf("after Close: %d", got)
	}
}

func TestWaitEmptyEndsWithContext(t *testing.T) {
	m := New(testConfig(newPool()), newFakeMedia(4))
	defer m.Close()
	call(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.WaitEmpty(ctx); err == nil {
		t.Fatal("no error although a context is left")
	}
}

func TestContextIDsNameTheBoot(t *testing.T) {
	m := New(testConfig(newPool()), newFakeMedia(4))
	defer m.Close()
	for n := 1; n <= 2; n++ {
		if id, access, _ := call(t, m); id != fmt.Sprintf("m.b.%d", n) || access != fmt.Sprintf("ip/access/%d.1", n) {
			t.Errorf("ids %q, %q", id, access)
		}
	}
}

// TestIQ25_IQ27_ResultsOfChecksAreNotified: the selected pair, the failure with its reason, the loss and the return of consent each come as an
// event of Iq, and only when armed.
func TestIQ25_IQ27_ResultsOfChecksAreNotified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		media, p := newFakeMedia(4), newPool()
		m := New(testConfig(p), media)
		defer m.Close()
		_, access, _ := call(t, m, iqv1.EventType_EVENT_TYPE_ICE_RESULT, iqv1.EventType_EVENT_TYPE_CONSENT_LOST)
		_, deaf, _ := call(t, m)
		pair := event(media, access, flow.ICEConnected)
		pair.Pair = flow.Pair{
			Local:  flow.Candidate{Foundation: "1", Component: 1, Transport: "udp", Priority: 7, Address: "192.0.2.1", Port: 7430, Type: "host"},
			Remote: flow.Candidate{Foundation: "prflx", Component: 1, Transport: "udp", Priority: 8, Address: "192.0.2.2", Port: 40000, Type: "prflx"},
		}
		for _, e := range []flow.Event{pair, event(media, deaf, flow.ICEFailed), event(media, access, flow.ConsentLost), pair, event(media, access, flow.ICEFailed)} {
			m.Event(e)
			synctest.Wait()
		}
		got := p.deliveries()
		if len(got) != 4 {
			t.Fatalf("%d notifies: %v", len(got), got)
		}
		for i, want := range []string{"connected", "", "connected", "failed"} {
			e := got[i].Events[0]
			lost := e.Type == iqv1.EventType_EVENT_TYPE_CONSENT_LOST
			if got[i].TerminationId != access || e.Params["result"] != want || lost != (want == "") {
				t.Errorf("notify %d: %v", i, got[i])
			}
		}
		first, last := got[0].Events[0], got[3].Events[0]
		if first.Local.GetPort() != 7430 || first.Remote.GetAddress() != "192.0.2.2" || first.Remote.GetType() != "prflx" || last.Params["reason"] != "because" {
			t.Errorf("pair %v, failure %v", first, last)
		}
	})
}
