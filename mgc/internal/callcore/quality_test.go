package callcore

import (
	"testing"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// A limit of quality is armed on both sides, and how often a direction fell below it is kept with the call.
func TestQualityLimit(t *testing.T) {
	b := newBench(t)
	for _, l := range []Leg{LegAccess, LegCore} {
		for _, e := range b.s.events(l).GetSpecs() {
			if e.GetType() == iqv1.EventType_EVENT_TYPE_QUALITY {
				t.Error("armed without a limit")
			}
		}
	}
	b.s.d.Cfg.Policy.QualityLimit = 350
	b.establish()
	for _, l := range []Leg{LegAccess, LegCore} {
		specs := b.s.events(l).GetSpecs()
		if e := specs[len(specs)-1]; e.GetType() != iqv1.EventType_EVENT_TYPE_QUALITY || e.GetMosCenti() != 350 {
			t.Errorf("leg %d: %v", l, specs)
		}
	}
	for _, state := range []string{"low", "good", "low"} {
		b.notify(iqv1.EventType_EVENT_TYPE_QUALITY, map[string]string{"state": state, "direction": "received"})
	}
	if r := b.s.Record(); r.Impaired != 2 || b.s.Ended() {
		t.Errorf("%+v", r)
	}
}
