package signalling

import (
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestARepeatedTransactionMakesNoSecondContext: the controller repeats what it has had no answer to.
func TestARepeatedTransactionMakesNoSecondContext(t *testing.T) {
	g := &gateway{lives: map[string]bool{}, given: map[string]*iqv1.TransactionReply{}}
	add := &iqv1.TransactionRequest{TransactionId: "t1", Actions: []*iqv1.Action{{
		Context:  &iqv1.ContextRef{Ref: &iqv1.ContextRef_Choose{Choose: &emptypb.Empty{}}},
		Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{}}}},
	}}}
	first, _ := g.Transact(t.Context(), add)
	again, _ := g.Transact(t.Context(), add)
	id := first.GetActions()[0].GetContextId()
	if id == "" || again.GetActions()[0].GetContextId() != id || g.contexts() != 1 {
		t.Fatalf("%v, then %v: %d contexts", first, again, g.contexts())
	}
	_, _ = g.Transact(t.Context(), &iqv1.TransactionRequest{TransactionId: "t2", Actions: []*iqv1.Action{{
		Context:  &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: id}},
		Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{}}}},
	}}})
	if g.contexts() != 0 {
		t.Errorf("%d contexts are left", g.contexts())
	}
}
