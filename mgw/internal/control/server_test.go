package control

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

var nopLogger = zap.NewNop()

func transact(t *testing.T, s *Server, req *iqv1.TransactionRequest) *iqv1.TransactionReply {
	t.Helper()
	rep, err := s.Transact(t.Context(), req)
	if err != nil {
		t.Fatalf("%s: %v", req.GetTransactionId(), err)
	}
	return rep
}

func TestReplayReturnsTheSamePorts(t *testing.T) {
	media := newFakeMedia(8)
	s, m := newServer(t, media, ServerConfig{})
	first := transact(t, s, setUp("t-1"))
	if first.Error != nil || first.Actions[0].Error != nil || first.Replayed {
		t.Fatalf("first: %v", first)
	}
	again := transact(t, s, setUp("t-1"))
	if !again.Replayed {
		t.Error("the repeat is not marked")
	}
	again.Replayed = false
	if !proto.Equal(first, again) {
		t.Errorf("repeat differs:\n%v\n%v", first, again)
	}
	if open, _, _ := media.state(); open != 2 || m.Count() != 1 {
		t.Errorf("%d terminations, %d contexts: the repeat was executed", open, m.Count())
	}
}

func TestConcurrentDuplicatesExecuteOnce(t *testing.T) {
	media := newFakeMedia(8)
	media.hold = make(chan struct{})
	s, _ := newServer(t, media, ServerConfig{})
	var wg sync.WaitGroup
	replies := make([]*iqv1.TransactionReply, 8)
	for i := range replies {
		wg.Go(func() { replies[i] = transact(t, s, setUp("t-1")) })
	}
	wait.Until(t, "all in progress", func() bool { return len(s.inFlight) == len(replies) })
	close(media.hold)
	wg.Wait()
	fresh := 0
	for _, r := range replies {
		if !r.Replayed {
			fresh++
		}
		if r.Actions[0].ContextId != replies[0].Actions[0].ContextId {
			t.Errorf("contexts differ: %v", r)
		}
	}
	if _, opened, _ := media.state(); fresh != 1 || opened != 2 {
		t.Errorf("%d replies not replayed, %d terminations opened; want 1 and 2", fresh, opened)
	}
}

func TestFollowerDoesNotWaitBeyondItsDeadline(t *testing.T) {
	media := newFakeMedia(8)
	media.hold = make(chan struct{})
	s, _ := newServer(t, media, ServerConfig{})
	done := make(chan *iqv1.TransactionReply, 1)
	go func() { done <- transact(t, s, setUp("t-1")) }()
	wait.Until(t, "the first in progress", func() bool { return len(s.inFlight) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Transact(ctx, setUp("t-1")); status.Code(err) != codes.Canceled {
		t.Errorf("follower: %v", err)
	}
	close(media.hold)
	if r := <-done; r.Actions[0].Error != nil {
		t.Errorf("first: %v", r)
	}
}

func TestRefusedAsAWhole(t *testing.T) {
	media := newFakeMedia(8)
	s, m := newServer(t, media, ServerConfig{})
	change := func(f func(*iqv1.TransactionRequest)) *iqv1.TransactionRequest {
		r := setUp("t-1")
		f(r)
		return r
	}
	for name, c := range map[string]struct {
		req  *iqv1.TransactionRequest
		want gwerr.Code
	}{
		"wrong boot":     {change(func(r *iqv1.TransactionRequest) { r.ExpectBootId = "boot-0" }), gwerr.BeforeRestart},
		"no id":          {change(func(r *iqv1.TransactionRequest) { r.TransactionId = "" }), gwerr.BadRequest},
		"id with spaces": {change(func(r *iqv1.TransactionRequest) { r.TransactionId = "a b\n" }), gwerr.BadRequest},
		"no action":      {change(func(r *iqv1.TransactionRequest) { r.Actions = nil }), gwerr.SyntaxErrorInActionID},
		"17 actions": {change(func(r *iqv1.TransactionRequest) {
			for range 16 {
				r.Actions = append(r.Actions, r.Actions[0])
			}
		}), gwerr.SyntaxErrorInActionID},
	} {
		if rep := transact(t, s, c.req); rep.GetError().GetCode() != uint32(c.want) || len(rep.Actions) != 0 || rep.BootId != "boot-1" {
			t.Errorf("%s: %v", name, rep)
		}
	}
	if m.Count() != 0 {
		t.Error("something was executed")
	}
	if rep := transact(t, s, setUp("t-1")); rep.Error != nil || rep.Replayed {
		t.Errorf("a refused id was stored: %v", rep)
	}
}

func TestNotRegisteredIs505AndNotStored(t *testing.T) {
	s, _ := newServer(t, newFakeMedia(8), ServerConfig{})
	s.ready = func(string) *connmodel.Error { return connmodel.Errorf(gwerr.BeforeRestart, "not yet") }
	if rep := transact(t, s, setUp("t-1")); rep.GetError().GetCode() != 505 {
		t.Fatalf("before registration: %v", rep)
	}
	s.ready = accepted
	if rep := transact(t, s, setUp("t-1")); rep.Error != nil {
		t.Fatalf("after registration: %v", rep)
	}
}

func TestOverloadIsAStatus(t *testing.T) {
	media := newFakeMedia(8)
	media.hold = make(chan struct{})
	s, _ := newServer(t, media, ServerConfig{MaxInFlight: 1})
	done := make(chan struct{})
	go func() { defer close(done); transact(t, s, setUp("t-1")) }()
	wait.Until(t, "one in progress", func() bool { return len(s.inFlight) == 1 })
	if _, err := s.Transact(t.Context(), setUp("t-2")); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("want RESOURCE_EXHAUSTED: %v", err)
	}
	close(media.hold)
	<-done
	if rep := transact(t, s, setUp("t-2")); rep.Actions[0].Error != nil || rep.Replayed {
		t.Errorf("the id refused for overload cannot be used: %v", rep)
	}
}

func TestActionsStopAtTheFirstFailure(t *testing.T) {
	media := newFakeMedia(1)
	s, m := newServer(t, media, ServerConfig{})
	req := setUp("t-1")
	req.Actions = append(req.Actions, setUp("").Actions[0], setUp("").Actions[0])
	rep := transact(t, s, req)
	if len(rep.Actions) != 2 || rep.Actions[0].Error != nil || rep.Actions[1].GetError().GetCode() != 510 {
		t.Fatalf("want one done, one 510, none more: %v", rep)
	}
	if open, _, free := media.state(); open != 2 || free != 0 || m.Count() != 1 {
		t.Fatalf("open %d, free %d, contexts %d: the failed action left something", open, free, m.Count())
	}
}

func TestRepliesAreKeptAndThenForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplies(90*time.Second, 3)
		runs := 0
		exec := func() *iqv1.TransactionReply {
			runs++
			return &iqv1.TransactionReply{TransactionId: fmt.Sprint(runs)}
		}
		once := func(id string) (*iqv1.TransactionReply, error) { return r.once(t.Context(), id, exec) }
		for _, id := range []string{"a", "b", "c"} {
			if _, err := once(id); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := once("d"); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("a full store must refuse rather than forget: %v", err)
		}
		time.Sleep(89 * time.Second)
		if rep, err := once("a"); err != nil || !rep.Replayed || rep.TransactionId != "1" || runs != 3 {
			t.Fatalf("after 89 s: %v %v, %d runs", rep, err, runs)
		}
		time.Sleep(2 * time.Second)
		if rep, err := once("a"); err != nil || rep.Replayed || runs != 4 {
			t.Fatalf("after 91 s: %v %v, %d runs", rep, err, runs)
		}
		if r.size() != 1 {
			t.Fatalf("%d kept, want 1", r.size())
		}
	})
}

func TestReleaseGivesStatisticsAndFreesPorts(t *testing.T) {
	media := newFakeMedia(2)
	s, m := newServer(t, media, ServerConfig{})
	id := transact(t, s, setUp("t-1")).Actions[0].ContextId
	rep := transact(t, s, release("t-2", id))
	if st := rep.Actions[0].Commands[0].Statistics; len(st) != 2 || st[0].PacketsSent != 4 || st[1].TerminationId != "ip/core/1.2" {
		t.Fatalf("statistics: %v", rep)
	}
	if open, _, free := media.state(); open != 0 || free != 2 || m.Count() != 0 {
		t.Fatalf("open %d, free %d", open, free)
	}
	if rep := transact(t, s, release("t-3", id)); rep.Actions[0].GetError().GetCode() != 411 {
		t.Fatalf("second release: %v", rep)
	}
}

func TestServiceChangeDirectedByTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(t, newFakeMedia(8), ServerConfig{})
		change := func(method iqv1.ServiceChangeRequest_Method, delay time.Duration) uint32 {
			rep, err := s.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "mgw", Method: method, Delay: durationpb.New(delay)})
			if err != nil {
				t.Fatal(err)
			}
			return rep.GetError().GetCode()
		}
		newCall := func(id string) uint32 { return transact(t, s, setUp(id)).Actions[0].GetError().GetCode() }
		newCall("t-1")
		if change(iqv1.ServiceChangeRequest_METHOD_GRACEFUL, time.Minute) != 0 || !s.drain.Draining() {
			t.Fatal("no drain")
		}
		if got := newCall("t-2"); got != 521 {
			t.Errorf("new context while draining: %d", got)
		}
		time.Sleep(59 * time.Second)
		if m.Count() != 1 {
			t.Error("released before the deadline")
		}
		change(iqv1.ServiceChangeRequest_METHOD_RESTART, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if m.Count() != 1 || newCall("t-3") != 0 {
			t.Error("the drain was not cancelled")
		}
		change(iqv1.ServiceChangeRequest_METHOD_GRACEFUL, time.Minute)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if m.Count() != 0 {
			t.Errorf("%d contexts beyond the deadline", m.Count())
		}
		change(iqv1.ServiceChangeRequest_METHOD_RESTART, 0)
		newCall("t-4")
		if change(iqv1.ServiceChangeRequest_METHOD_FORCED, 0); m.Count() != 0 {
			t.Error("forced left contexts")
		}
		for method, want := range map[iqv1.ServiceChangeRequest_Method]uint32{
			iqv1.ServiceChangeRequest_METHOD_UNSPECIFIED: 422, iqv1.ServiceChangeRequest_METHOD_DISCONNECTED: 449,
		} {
			if got := change(method, 0); got != want {
				t.Errorf("%s: %d, want %d", method, got, want)
			}
		}
		rep, _ := s.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "other", Method: iqv1.ServiceChangeRequest_METHOD_FORCED})
		if rep.GetError().GetCode() != 410 {
			t.Errorf("another's id: %v", rep)
		}
	})
}

func TestAuditValue(t *testing.T) {
	s, _ := newServer(t, newFakeMedia(8), ServerConfig{})
	client := dialServer(t, s)
	one := transact(t, s, setUp("t-1")).Actions[0]
	two := transact(t, s, setUp("t-2")).Actions[0]
	byContext := func(id string) *iqv1.ContextRef { return &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: id}} }
	term := func(id string) *iqv1.TerminationRef {
		return &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: id}}
	}
	all := &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}}
	for name, c := range map[string]struct {
		req  *iqv1.AuditRequest
		want string // rows: context/termination or error code
	}{
		"all contexts":             {&iqv1.AuditRequest{Context: all}, "mgw.b1.1 mgw.b1.2"},
		"all terminations":         {&iqv1.AuditRequest{Context: all, Termination: allRef()}, "mgw.b1.1/ip/access/1.1 mgw.b1.1/ip/core/1.2 mgw.b1.2/ip/access/2.1 mgw.b1.2/ip/core/2.2"},
		"by correlation id":        {&iqv1.AuditRequest{Context: all, CorrelationId: "corr-t-2"}, "mgw.b1.2"},
		"no such correlation id":   {&iqv1.AuditRequest{Context: all, CorrelationId: "x"}, ""},
		"where is a termination":   {&iqv1.AuditRequest{Context: all, Termination: term("ip/core/2.2")}, "mgw.b1.2/ip/core/2.2"},
		"one context":              {&iqv1.AuditRequest{Context: byContext(one.ContextId)}, "mgw.b1.1"},
		"unset":                    {&iqv1.AuditRequest{}, "422"},
		"unknown context":          {&iqv1.AuditRequest{Context: byContext("x")}, "411"},
		"unknown termination":      {&iqv1.AuditRequest{Context: all, Termination: term("x")}, "430"},
		"unknown termination of 1": {&iqv1.AuditRequest{Context: byContext(one.ContextId), Termination: term("x")}, "430"},
		"termination of another":   {&iqv1.AuditRequest{Context: byContext(one.ContextId), Termination: term(two.Commands[0].TerminationId)}, "435"},
		"CHOOSE":                   {&iqv1.AuditRequest{Context: byContext(one.ContextId), Termination: chooseRef()}, "422"},
		"root":                     {&iqv1.AuditRequest{Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Null{Null: &emptypb.Empty{}}}}, "/root"},
	} {
		rows := ""
		for _, r := range auditAll(t, client, c.req) {
			row := r.ContextId
			if r.TerminationId != "" {
				row += "/" + r.TerminationId
			}
			if r.Error != nil {
				row = fmt.Sprint(r.Error.Code)
			}
			if r.GetDescriptor_().GetTransport().GetLocalIce().GetPwd() != "" {
				t.Errorf("%s: the password is shown", name)
			}
			if rows != "" {
				rows += " "
			}
			rows += row
		}
		if rows != c.want {
			t.Errorf("%s: %q, want %q", name, rows, c.want)
		}
	}
	rows := auditAll(t, client, &iqv1.AuditRequest{Context: byContext(one.ContextId), Termination: allRef(), Statistics: true})
	if len(rows) != 2 || rows[0].Statistics[0].PacketsSent != 3 || rows[0].Revision != 1 || rows[0].Attributes.CorrelationId != "corr-t-1" ||
		rows[1].Descriptor_.Streams[0].Local.Port != 20000 || time.Since(rows[0].LastControl.AsTime()) > time.Minute {
		t.Errorf("statistics: %v", rows)
	}
}
