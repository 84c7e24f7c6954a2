package call

import (
	"context"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/emergency"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestIQ19_MO07_PriorityCall: a call of the core with Resource-Priority is admitted beyond call.max, within its reserve, and beyond what one user may have; its
// context has the priority, the node is picked for it, and the browser sees the field. What a browser says does not count and does not cross, and a core
// outside the trust domain gives no priority.
func TestIQ19_MO07_PriorityCall(t *testing.T) {
	const limit, reserve = 40, 1
	begin := func(adapt func(*Config)) (*instance, chan *iqv1.ContextAttributes) {
		i := newPool(t).instance("m1", adapt, func(c *Config) { c.MaxCalls, c.MaxPerUser = limit, limit })
		told := make(chan *iqv1.ContextAttributes, 2*limit)
		i.mgw.on(func(_ context.Context, _ Node, r *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
			if a := r.GetActions()[0]; a.GetContext().GetChoose() != nil {
				told <- a.GetAttributes()
			}
			return nil, nil
		})
		return i, told
	}
	call := func(i *instance, leg callcore.Leg, priority string) *tx {
		m := request("INVITE", coreSDP(1, "sendrecv"))
		flow := ""
		if leg == callcore.LegCore {
			m.Set("Route", "<sip:path-bob@mgc.example:5070;lr>")
		} else {
			m, flow = request("INVITE", browserSDP), "fa"
		}
		if priority != "" {
			m.Set("Resource-Priority", priority)
		}
		return i.ask(leg, m, flow)
	}
	i, told := begin(ims)
	for range limit {
		call(i, callcore.LegCore, "")
		if out := i.expectOut(callcore.LegAccess, "INVITE"); out.msg.Has("Resource-Priority") {
			t.Fatalf("Resource-Priority %q from nowhere", out.msg.Get("Resource-Priority"))
		}
		if a := <-told; a.GetPriority() != 0 || a.GetEmergency() {
			t.Fatalf("an ordinary call has %v", a)
		}
	}
	call(i, callcore.LegCore, "").expect(486)                   // bob has as many calls as one user may have
	call(i, callcore.LegAccess, "ets.0").expect(503)            // a browser's word
	call(i, callcore.LegCore, "dsn.flash-override").expect(486) // not ours
	for range reserve {
		call(i, callcore.LegCore, "wps.2")
		if out := i.expectOut(callcore.LegAccess, "INVITE"); out.msg.Get("Resource-Priority") != "wps.2" {
			t.Errorf("the browser sees %q", out.msg.Get("Resource-Priority"))
		}
		if a := <-told; a.GetPriority() != 12 || a.GetEmergency() {
			t.Errorf("a priority call has %v", a)
		}
		if needs := i.mgw.picks(); needs[len(needs)-1].Priority != 12 {
			t.Errorf("picked for %+v", needs[len(needs)-1])
		}
	}
	call(i, callcore.LegCore, "ets.0").expect(503) // the reserve is used up

	i, told = begin(ims)
	call(i, callcore.LegAccess, "ets.0")
	if out := i.expectOut(callcore.LegCore, "INVITE"); out.msg.Has("Resource-Priority") {
		t.Errorf("a browser's %q crosses", out.msg.Get("Resource-Priority"))
	}
	if a := <-told; a.GetPriority() != 0 {
		t.Errorf("a browser gives itself %v", a)
	}
	i, told = begin(func(*Config) {})
	call(i, callcore.LegCore, "ets.0")
	i.expectOut(callcore.LegAccess, "INVITE")
	if a := <-told; a.GetPriority() != 0 {
		t.Errorf("a core outside the trust domain gives %v", a)
	}
}

// TestEMG05_PCC08_PriorityIsToldToThePolicyFunction: that of the call's context, with what it comes from, from the first request on and in later ones.
func TestEMG05_PCC08_PriorityIsToldToThePolicyFunction(t *testing.T) {
	p, f := newPool(t), newPCF()
	i, _ := p.policed("m1", f)
	ims(&i.cfg)
	i.cfg.Emergency.Mode, i.cfg.Emergency.ECSCF = emergency.Route, "sip:ecscf.example"
	last := func() policy.Facts { all := f.facts(); return all[len(all)-1] }
	for name, c := range map[string]struct {
		leg         callcore.Leg
		uri, field  string
		priority    int
		mps, urgent bool
	}{
		"ordinary":          {callcore.LegCore, "", "", 0, false, false},
		"government":        {callcore.LegCore, "", "ets.1", 13, true, false},
		"wireless":          {callcore.LegCore, "", "dsn.flash, wps.4", 10, true, false},
		"a browser's word":  {callcore.LegAccess, "", "ets.0", 0, false, false},
		"emergency":         {callcore.LegAccess, "sip:112@x.example", "", 15, false, true},
		"emergency as well": {callcore.LegAccess, "urn:service:sos.fire", "wps.0", 15, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			m, flow := request("INVITE", coreSDP(1, "sendrecv")), ""
			m.Set("Route", "<sip:path-bob@mgc.example:5070;lr>")
			if c.leg == callcore.LegAccess {
				m, flow = request("INVITE", browserSDP), "fa"
			}
			if c.uri != "" {
				m.RequestURI = c.uri
			}
			if c.field != "" {
				m.Set("Resource-Priority", c.field)
			}
			before := len(f.facts())
			x := i.ask(c.leg, m, flow)
			out := i.expectOut(c.leg.Other(), "INVITE")
			if got := last(); got.Priority != c.priority || got.MPS != c.mps || got.Emergency != c.urgent {
				t.Errorf("asked for priority %d, priority service %v, emergency %v", got.Priority, got.MPS, got.Emergency)
			}
			answer := coreSDP(1, "sendrecv")
			if c.leg == callcore.LegCore {
				answer = strings.Replace(browserSDP, "a=setup:actpass", "a=setup:active", 1)
			}
			out.respond(200, answer)
			i.expectOut(c.leg.Other(), "ACK")
			x.expect(200)
			wait.Until(t, "the answer is told", func() bool { return len(f.facts()) > before+1 })
			if got := last(); got.Status != policy.Final || got.Priority != c.priority || got.MPS != c.mps {
				t.Errorf("the answer is told with priority %d, priority service %v", got.Priority, got.MPS)
			}
		})
	}
}
