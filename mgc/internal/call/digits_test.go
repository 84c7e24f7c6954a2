package call

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
)

// TestLostDigitsAreCounted: a peer that leaves digits by INFO unanswered makes those after them wait, up to a limit; beyond it each is counted, and the
// first one of a call is logged.
func TestLostDigitsAreCounted(t *testing.T) {
	const waiting, lost = 32, 3
	seen, log := observer.New(zapcore.WarnLevel)
	i := newPool(t).instanceWith("m1", func(d *Deps) { d.Log = zap.New(seen) }, func(c *Config) { c.Policy.Digits.Core = callcore.DigitsInfo })
	r := i.establish()
	for n := range waiting + lost {
		info := r.in(callcore.LegAccess, "INFO", "5")
		info.Set("Content-Type", "application/dtmf")
		x, status := i.ask(callcore.LegAccess, info, "fa"), 200
		if n >= waiting {
			status = 503
		}
		x.expect(status)
	}
	out := i.expectOut(callcore.LegCore, "INFO")
	if n := testutil.ToFloat64(i.deps.Metrics.digits.WithLabelValues("core")); n != lost {
		t.Errorf("%v counted", n)
	}
	if list := log.FilterMessageSnippet("digits are lost").All(); len(list) != 1 || list[0].ContextMap()["leg"] != "core" {
		t.Errorf("logged %+v", list)
	}
	i.ask(callcore.LegAccess, r.in(callcore.LegAccess, "BYE", ""), "fa").expect(200)
	i.expectOut(callcore.LegCore, "BYE").respond(200, "")
	out.respond(200, "")
	i.gone()
}
