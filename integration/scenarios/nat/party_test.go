package nat

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// call is a call from alice to bob. Its methods fail the test when what they wait for does not come.
type call struct {
	*world
	t   *testing.T
	ctx context.Context
	id  string // in the phone
	bob *ua.Call
	ear *rtpua.Recorder // what bob hears
}

// talk sets up a call, until both hear each other. It ends with the case.
func (w *world) talk(t *testing.T) *call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	c := &call{world: w, t: t, ctx: ctx, ear: &rtpua.Recorder{}}
	id, err := w.alice.Dial(ctx, "sip:bob@"+domain)
	scenario.Must(t, err)
	c.id = id
	t.Cleanup(func() {
		if t.Failed() {
			c.explain()
		}
	})
	select {
	case c.bob = <-w.calls:
		c.bob.Media().SetSink(c.ear)
	case <-ctx.Done():
		t.Fatal("the call did not come to bob")
	}
	c.both()
	return c
}

// registered waits until the phone is signed in: a change of rules may have cost it its connection.
func (w *world) registered(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := &call{world: w, t: t, ctx: ctx}
	c.until("the phone to be registered", func() (bool, any) {
		s, err := w.alice.State(ctx)
		return err == nil && s.Registration == "registered", fmt.Sprint(s, err)
	})
}

// end hangs up and waits until nothing of the call is left.
func (c *call) end() {
	c.t.Helper()
	scenario.Must(c.t, c.alice.Hangup(c.ctx, c.id))
	select {
	case <-c.bob.Done():
	case <-c.ctx.Done():
		c.t.Fatal("bob's call has not ended")
	}
	mgw, mgc := adminv1.NewGatewayAdminClient(scenario.Dial(c.t, "127.0.0.1:7421")), adminv1.NewControllerAdminClient(scenario.Dial(c.t, "127.0.0.1:7401"))
	c.until("the MGW to hold no context, no port and no allocation", func() (bool, any) {
		r, err := mgw.Resources(c.ctx, &adminv1.ResourcesRequest{})
		return err == nil && r.Contexts == 0 && r.PortPairs == 0, fmt.Sprint(r, err)
	})
	c.until("the MGC to hold no call", func() (bool, any) {
		r, err := mgc.ListCalls(c.ctx, &adminv1.ListCallsRequest{})
		return err == nil && len(r.Calls) == 0, fmt.Sprint(r, err)
	})
	if err := c.browser.Errors(); err != nil {
		c.t.Error(err)
	}
}

// both waits until each hears the other's tone.
func (c *call) both() {
	c.t.Helper()
	c.until(fmt.Sprintf("the browser to hear %v Hz", bobHz), func() (bool, any) {
		h, err := c.alice.Hears(c.ctx, c.id)
		return err == nil && math.Abs(h.Hz-bobHz) < 12 && h.RMS > -50, fmt.Sprint(h, err)
	})
	first := c.ear.Total()
	c.until(fmt.Sprintf("bob to hear %v Hz", micHz), func() (bool, any) {
		_, _, last := c.ear.Heard()
		good := last.IsTone(micHz, 8)
		if !good {
			first = c.ear.Total()
		}
		return good && c.ear.Total() >= first+3200, last
	})
}

func (c *call) until(what string, holds func() (bool, any)) {
	c.t.Helper()
	scenario.Until(c.ctx, c.t, what, holds)
}

// pair is that of the browser's termination at the MGW: local address, with /tcp for ICE-TCP, and remote address.
func (c *call) pair() (local, remote string) {
	c.t.Helper()
	audit, err := iqv1.NewMediaGatewayClient(scenario.Dial(c.t, "127.0.0.1:7420")).AuditValue(c.ctx, &iqv1.AuditRequest{
		Context:     &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}},
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}},
		Statistics:  true,
	})
	scenario.Must(c.t, err)
	for {
		r, err := audit.Recv()
		if err != nil {
			c.t.Fatalf("no access termination: %v", err)
		}
		for _, st := range r.GetStatistics() {
			if local, remote, _ = strings.Cut(st.GetSelectedPair(), " "); remote != "" {
				return local, remote
			}
		}
	}
}

// explain logs what the phone knows.
func (c *call) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	calls, _ := c.alice.Calls(ctx)
	stats, _ := c.alice.Stats(ctx, c.id)
	c.t.Logf("the phone: %+v %s", calls, stats.All)
}
