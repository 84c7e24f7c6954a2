package badinput

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// TestIQ09_LostRecord: the controller dies with the only store, and so with the record of a call. Its successor does not know the context that the media
// gateway asks it about, once nobody has touched that for a while, and the gateway subtracts it (H.248.36).
func TestIQ09_LostRecord(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18000)
	b.startCore(t)
	b.startMGC(t)
	b.startMGW(t, "--contexts.orphan_ttl=10s", "--contexts.hanging_grace=1s")
	br := b.newBrowser(t, "bob", nil)
	b.mustRegister(t, br)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, err := br.Call(ctx, target, tone.NewSine(callerHz, level))
	if err != nil {
		t.Fatal(err)
	}
	hears(t, c)
	if h := b.held(t); h.calls != 1 || h.contexts != 1 || h.ports != 1 {
		t.Fatalf("the daemons hold %+v", h)
	}
	if err := syscall.Kill(b.procs["mgc"].Pid("mgc"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := b.procs["mgc"].Close(15 * time.Second); err != nil {
		t.Error(err)
	}
	b.startMGC(t)
	if h := b.held(t); h.calls != 0 || h.contexts != 1 {
		t.Errorf("after the controller's death the daemons hold %+v; media goes on", h)
	}
	eventually(t, 4*deadline, func() string {
		if h := b.held(t); h.contexts != 0 || h.terminations != 0 || h.ports != 0 {
			return fmt.Sprintf("the gateway holds %+v", h)
		}
		return ""
	})
	if n := b.value(t, "mgw", "isthmus_mgw_contexts_hanging_total"); n != 1 {
		t.Errorf("%v contexts counted as hanging", n)
	}
	if n := b.value(t, "mgw", `isthmus_mgw_notify_deliveries_total{result="unknown_context"}`); n < 1 {
		t.Errorf("%v answers UNKNOWN_CONTEXT", n)
	}
}
