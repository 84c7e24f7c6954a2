package call

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestNewCallWithoutMedia: what the caller hears when no media can be had. Nothing is left of the call.
func TestNewCallWithoutMedia(t *testing.T) {
	refusal := func(code gwerr.Code) func(context.Context, Node, *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		return func(_ context.Context, _ Node, r *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
			return &iqv1.TransactionReply{TransactionId: r.GetTransactionId(), Actions: []*iqv1.ActionReply{{Error: &iqv1.ErrorDescriptor{Code: uint32(code)}}}}, nil
		}
	}
	failure := func(code gwerr.Code) func(context.Context, Node, *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		return func(_ context.Context, _ Node, r *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
			return nil, gwerr.New(code, "transact", r.GetTransactionId(), errors.New("test"))
		}
	}
	for name, c := range map[string]struct {
		none   error
		on     func(context.Context, Node, *iqv1.TransactionRequest) (*iqv1.TransactionReply, error)
		status int
	}{
		"no MGW":           {none: gwerr.New(gwerr.NoGateway, "pick", "", errors.New("none is registered")), status: 503},
		"MGW unreachable":  {on: failure(gwerr.UnreachableGateway), status: 503},
		"MGW overloaded":   {on: failure(gwerr.InsufficientResources), status: 503},
		"ports exhausted":  {on: refusal(gwerr.NoTermination), status: 503},
		"no resources":     {on: refusal(gwerr.InsufficientResources), status: 503},
		"media not known":  {on: refusal(gwerr.UnsupportedMedia), status: 488},
		"fault of our own": {on: failure(gwerr.BadRequest), status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			i := p.instance("m1")
			i.mgw.none = c.none
			i.mgw.on(c.on)
			x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
			m := x.expect(c.status)
			if (m.Get("Retry-After") != "") != (c.status == 503) {
				t.Errorf("%d with Retry-After %q", m.Status, m.Get("Retry-After"))
			}
			i.gone()
			if len(i.sip.out) != 0 {
				t.Error("the callee was called")
			}
		})
	}
}

// TestWriteAhead: when an Iq transaction leaves, the store holds the intent with its id and the chosen node, so that a successor
// repeats the same transaction at the same MGW.
func TestWriteAhead(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	bad := make(chan string, 16)
	i.mgw.on(func(ctx context.Context, node Node, r *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
		list, err := store.Calls(p.store).List(ctx)
		if err != nil || len(list) != 1 {
			bad <- fmt.Sprintf("%s left before the record was there: %v, %v", kinds(r), list, err)
			return nil, nil
		}
		rec := list[0].Value
		if !strings.Contains(string(rec.State), r.GetTransactionId()) {
			bad <- fmt.Sprintf("%s: its id is not in the stored state", kinds(r))
		}
		if rec.MGW != node.MGW || rec.Boot != node.Boot {
			bad <- fmt.Sprintf("%s goes to %+v, the record says %s %s", kinds(r), node, rec.MGW, rec.Boot)
		}
		return nil, nil
	})
	r := i.establish()
	i.hangUp(r)
	close(bad)
	for text := range bad {
		t.Error(text)
	}
	if n := len(i.mgw.kindsSeen()); n != 3 {
		t.Errorf("%d transactions looked at, want 3", n)
	}
}

// TestREL02_GatewayLost: the calls of that boot of the MGW end towards both sides, others stay.
func TestREL02_GatewayLost(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	i.establish()
	i.GatewayLost(Node{MGW: "g-other", Boot: "b1"})
	i.GatewayLost(Node{MGW: "g-m1", Boot: "b0"})
	i.GatewayLost(Node{MGW: "g-m1", Boot: "b1"})
	for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
		bye := i.expectOut(leg, "BYE")
		if !strings.Contains(bye.msg.Get("Reason"), "Media gateway lost") {
			t.Errorf("BYE to %s with Reason %q", leg, bye.msg.Get("Reason"))
		}
		bye.respond(200, "")
	}
	i.gone()
	if has(i.mgw.kindsSeen(), "g-m1: Add Add", "g-m1: Modify Modify", "g-m1: Subtract") {
		t.Error("a dead MGW was asked to subtract")
	}
}

// TestIQ04_REL02_InterfaceLost: the calls with a termination in a realm that has failed on that boot of the MGW end towards both sides, and their
// contexts are subtracted; others stay.
func TestIQ04_REL02_InterfaceLost(t *testing.T) {
	for name, c := range map[string]struct {
		lost   func(i *instance)
		reason string
		kinds  []string
	}{
		"access": {func(i *instance) { i.RealmsLost(Node{MGW: "g-m1", Boot: "b1"}, []string{"other", "access"}) },
			"interface failed", []string{"g-m1: Add Add", "g-m1: Modify Modify", "g-m1: Subtract"}},
		"core": {func(i *instance) { i.RealmsLost(Node{MGW: "g-m1", Boot: "b1"}, []string{"core"}) },
			"interface failed", []string{"g-m1: Add Add", "g-m1: Modify Modify", "g-m1: Subtract"}},
		"others stay until they are lost themselves": {func(i *instance) {
			i.RealmsLost(Node{MGW: "g-m1", Boot: "b1"}, []string{"elsewhere"})
			i.RealmsLost(Node{MGW: "g-m1", Boot: "b0"}, []string{"access", "core"})
			i.RealmsLost(Node{MGW: "g-other", Boot: "b1"}, []string{"access", "core"})
			i.GatewayLost(Node{MGW: "g-m1", Boot: "b1"})
		}, "Media gateway lost", []string{"g-m1: Add Add", "g-m1: Modify Modify"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			i := p.instance("m1")
			i.establish()
			c.lost(i)
			for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
				bye := i.expectOut(leg, "BYE")
				if !strings.Contains(bye.msg.Get("Reason"), c.reason) {
					t.Errorf("BYE to %s with Reason %q", leg, bye.msg.Get("Reason"))
				}
				bye.respond(200, "")
			}
			i.gone()
			if !has(i.mgw.kindsSeen(), c.kinds...) {
				t.Errorf("at the media gateway: %v", i.mgw.kindsSeen())
			}
		})
	}
}

// TestNotifyVerdicts: an MGW learns whether its events were taken over.
func TestNotifyVerdicts(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	notify := func(key string, e iqv1.EventType, params map[string]string) iqv1.NotifyReply_Verdict {
		return i.Notify(&iqv1.NotifyRequest{CorrelationId: key, ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: e, Params: params}}})
	}
	dtls := iqv1.EventType_EVENT_TYPE_DTLS_STATE
	for key, want := range map[string]iqv1.NotifyReply_Verdict{
		"": iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT, "not a key": iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT,
		newKey(): iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT, r.key: iqv1.NotifyReply_VERDICT_ACK,
	} {
		if got := notify(key, dtls, map[string]string{"state": "connected"}); got != want {
			t.Errorf("correlation_id %q: %v, want %v", key, got, want)
		}
	}
	if got := notify(r.key, dtls, map[string]string{"state": "failed", "reason": "fingerprint"}); got != iqv1.NotifyReply_VERDICT_ACK {
		t.Errorf("failure of DTLS: %v", got)
	}
	i.expectOut(callcore.LegAccess, "BYE").respond(200, "")
	if bye := i.expectOut(callcore.LegCore, "BYE"); !strings.Contains(bye.msg.Get("Reason"), "fingerprint") {
		t.Errorf("Reason %q", bye.msg.Get("Reason"))
	} else {
		bye.respond(200, "")
	}
	i.gone()
	if got := notify(r.key, dtls, nil); got != iqv1.NotifyReply_VERDICT_UNKNOWN_CONTEXT {
		t.Errorf("after the end: %v", got)
	}
}

// TestIQ04_REL02_RealmLostBeforeAdoption: a call whose realm failed while it had no owner ends once it has one; what has failed of another boot, or
// elsewhere, does not end it.
func TestIQ04_REL02_RealmLostBeforeAdoption(t *testing.T) {
	for name, c := range map[string]struct {
		down map[Node][]string
		ends bool
	}{
		"its realm": {map[Node][]string{{"g-a", "b1"}: {"core"}}, true},
		"others":    {map[Node][]string{{"g-a", "b1"}: {"other"}, {"g-a", "b2"}: {"core"}, {"g-b", "b1"}: {"core"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			a, b := p.instance("a"), p.instance("b")
			r := a.establish()
			a.kill()
			b.mgw.down = c.down
			if !c.ends {
				b.hangUp(r)
				return
			}
			b.ask(callcore.LegCore, r.in(callcore.LegCore, "OPTIONS", ""), "") // the first message of the call
			for _, leg := range []callcore.Leg{callcore.LegAccess, callcore.LegCore} {
				bye := b.expectOut(leg, "BYE")
				if !strings.Contains(bye.msg.Get("Reason"), "interface failed") {
					t.Errorf("BYE to %s with Reason %q", leg, bye.msg.Get("Reason"))
				}
				bye.respond(200, "")
			}
			b.gone()
			if !has(b.mgw.kindsSeen(), "g-a: Subtract") {
				t.Errorf("at the media gateway: %v", b.mgw.kindsSeen())
			}
		})
	}
}

// TestPoolWithAnOlderGateway: what a gateway of the pool cannot do is not part of a call, whatever is configured, and not asked of the gateway that is picked; once
// all can, it is.
func TestPoolWithAnOlderGateway(t *testing.T) {
	for _, older := range []bool{true, false} {
		p := newPool(t)
		i := p.instance("m1", func(c *Config) { c.Policy.Media.XR = offeranswer.XROffer })
		if older {
			i.mgw.lacks = []string{callcore.FeatureXR}
		}
		x := i.ask(callcore.LegAccess, request("INVITE", browserSDP), "fa")
		out := i.expectOut(callcore.LegCore, "INVITE")
		if offered := strings.Contains(string(out.msg.Body), "a=rtcp-xr:"); offered == older {
			t.Errorf("an older gateway: %v, extended reports offered: %v", older, offered)
		}
		if asked := slices.Contains(i.mgw.picks()[0].Features, callcore.FeatureXR); asked == older {
			t.Errorf("an older gateway: %v, %+v", older, i.mgw.picks())
		}
		out.respond(486, "")
		x.expect(486)
	}
}
