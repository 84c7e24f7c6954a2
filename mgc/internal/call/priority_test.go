package call

import (
	"context"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
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
