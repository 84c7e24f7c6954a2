package signalling

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// sample is a window of 10 s in which all was done that was offered.
func sample(round int, w Work, used time.Duration) Sample {
	s := Sample{Round: round, Work: w, Offered: offer{registrations: 100}, window: window{length: 10 * time.Second, used: used, done: [2]int{1000, 0}}}
	if w == Call {
		s.Offered, s.done = offer{calls: 10}, [2]int{0, 100}
	}
	return s
}

func results() *Results {
	ws, other := 20.04, 80.0
	return &Results{Rows: []*Row{
		{System: isthmus, KB: [2]*float64{&ws, nil}, Samples: []Sample{sample(0, Register, 200e6), sample(1, Register, 300e6), sample(0, Call, 100e6)}},
		{System: kamailio, KB: [2]*float64{&other, nil}, Samples: []Sample{sample(0, Register, 100e6), sample(1, Register, 100e6), sample(0, Call, 50e6)}},
	}}
}

func TestSummary(t *testing.T) {
	s := results().Summary()
	for what, c := range map[string]struct {
		got  *float64
		want float64
	}{
		"registrations": {s.Registrations, 100}, "calls": {s.Calls, 10}, "reg": {s.Reg, 0.25}, "ratio": {s.RegKamailio, 2.5}, "call": {s.Call, 1},
		"call ratio": {s.CallKamailio, 2}, "WS": {s.KBWS, 20}, "memory": {s.MemoryKamailio, 0.25}, "theirs": {s.KamailioReg, 0.1},
	} {
		if c.got == nil || *c.got != c.want {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
	if s.KBWSS != nil || s.Digest != nil {
		t.Error("made up what was not measured")
	}
}

func TestAPartThatWasNotRunIsNull(t *testing.T) {
	var none *Results
	b, err := json.Marshal(none.Summary())
	if err != nil || strings.Count(string(b), "null") != strings.Count(string(b), ":") || none.Failure() != "" || none.Others() != nil {
		t.Errorf("%s, %v", b, err)
	}
}

func TestAWindowWithAFailureDoesNotCount(t *testing.T) {
	r := results()
	for i := range r.Rows[0].Samples {
		r.Rows[0].Samples[i].bad, r.Rows[0].Samples[i].why = 1, "c1: 503"
	}
	if s := r.Summary(); s.Registrations != nil || s.RegKamailio != nil || s.Call != nil || s.KamailioReg == nil {
		t.Errorf("%+v", s)
	}
	if f := r.Failure(); !strings.Contains(f, "c1: 503") {
		t.Errorf("failure %q", f)
	}
	slow := sample(0, Register, 1)
	slow.done[registration] = 960
	if f := slow.fault(); !strings.Contains(f, "96 of 100") {
		t.Errorf("fault %q", f)
	}
	var out bytes.Buffer
	if r.Print(&out); !strings.Contains(out.String(), "not measured") {
		t.Error(out.String())
	}
}

func TestALeakIsNamed(t *testing.T) {
	before := &adminv1.ControllerResourcesResponse{Goroutines: 50, StoreKeys: map[string]uint32{"inst": 1}}
	now := &adminv1.ControllerResourcesResponse{Goroutines: 50 + spareGoroutines, StoreKeys: map[string]uint32{"inst": 1}}
	if left := leftover(before, now); len(left) != 0 {
		t.Errorf("%q", left)
	}
	now.Calls, now.StoreKeys["call"], now.Goroutines = 2, 3, 90
	if left := strings.Join(leftover(before, now), ", "); left != "2 calls, 40 goroutines, 3 records of call" {
		t.Errorf("%q", left)
	}
}

func TestProportionalMemory(t *testing.T) {
	if n, err := proportional([]byte("a-b ---p 0\nRss:  10 kB\nPss:   7 kB\nPss_Dirty: 3 kB\n")); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := proportional([]byte("Rss: 1 kB\n")); err == nil {
		t.Error("nothing was taken for a reading")
	}
}
