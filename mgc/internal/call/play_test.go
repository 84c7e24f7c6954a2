package call

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestPlay: an operator's order reaches the media gateway, and what that says comes back.
func TestPlay(t *testing.T) {
	p := newPool(t)
	a, b := p.instance("a"), p.instance("b")
	a.establish()
	key := a.List()[0].Record.Key
	busy := []*iqv1.Signal{{Name: "cg/bt"}}
	if err := a.Play(t.Context(), key, callcore.LegCore, busy); err != nil {
		t.Error(err)
	}
	if !slices.Contains(a.mgw.kindsSeen(), "g-a: Modify") {
		t.Errorf("MGW was told %v", a.mgw.kindsSeen())
	}
	for i, x := range []struct {
		m   *instance
		key string
	}{{b, key}, {a, "nobody"}} {
		if err := x.m.Play(t.Context(), x.key, callcore.LegCore, busy); !errors.Is(err, ErrNoCall) {
			t.Errorf("%d: %v", i, err)
		}
	}
	hold := make(chan struct{})
	a.mgw.on(func(ctx context.Context, _ Node, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		if kinds(req) != "Modify" {
			return nil, nil
		}
		<-hold
		return &iqv1.TransactionReply{TransactionId: req.GetTransactionId(), Actions: []*iqv1.ActionReply{{Error: &iqv1.ErrorDescriptor{Code: 514, Text: "announcement \"x\""}}}}, nil
	})
	impatient, stop := context.WithCancel(t.Context())
	stop()
	if err := a.Play(impatient, key, callcore.LegCore, busy); !errors.Is(err, context.Canceled) {
		t.Errorf("gave up: %v", err)
	}
	close(hold)
	if err := a.Play(t.Context(), key, callcore.LegAccess, nil); gwerr.CodeOf(err) != gwerr.NoAnnouncement {
		t.Errorf("refused: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.playing) != 0 {
		t.Errorf("%d wait still", len(a.playing))
	}
}

// TestPlayThatMeetsTheEnd: an order that waits for a call whose owner lets go is answered.
func TestPlayThatMeetsTheEnd(t *testing.T) {
	p := newPool(t)
	a := p.instance("a")
	a.establish()
	key := a.List()[0].Record.Key
	o := &owner{m: a.Manager, inbox: newInbox(), ended: true}
	told := make(chan callcore.Played, 1)
	a.mu.Lock()
	a.playing["x"] = told
	a.mu.Unlock()
	o.inbox.put(callcore.Play{ID: "x"})
	o.refusePlays(o.inbox.close())
	select {
	case got := <-told:
		if got.Err == nil {
			t.Errorf("%s: played", key)
		}
	default:
		t.Error("not answered")
	}
}
