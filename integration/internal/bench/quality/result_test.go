package quality

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/traces"
)

// scored is a result with one call per condition, all with the same score, up and down.
func scored(r *Results, name string, up, down Score) {
	var calls []call
	var scores [][2]Score
	for i := range r.conditions {
		calls, scores = append(calls, call{condition: i}), append(scores, [2]Score{up, down})
	}
	r.take(name, calls, scores)
}

func TestSummaryTakesTheWorst(t *testing.T) {
	r := &Results{Config: Config{Seeds: 1, Out: io.Discard}, conditions: traces.Conditions()}
	scored(r, Reference, Score{Score: 0.95}, Score{Score: 0.98})
	scored(r, Isthmus, Score{Score: 0.94, Delay: 25, Level: -0.3}, Score{Score: 0.951, Delay: 31, Level: 0.1})
	s := r.Summary()
	if *s.Below != 0.029 || *s.Delay != 31 || *s.Level != -0.3 || *s.Loss5 != 0.94 || *s.RefLoss5 != 0.95 || s.PeerBelow != nil || s.PeerLoss5 != nil {
		t.Errorf("%+v", s)
	}
	var out bytes.Buffer
	r.Print(&out)
	if text := out.String(); strings.Count(text, "0.940 (-0.010)") != len(r.conditions) || strings.Contains(text, Rtpengine) || strings.Contains(text, "busy") {
		t.Errorf("%s", text)
	}
	if s := (*Results)(nil).Summary(); s != (Summary{}) {
		t.Errorf("without results: %+v", s)
	}
}

func TestPacketsAreOrderedAcrossTheWrap(t *testing.T) {
	rec := []load.Recorded{{Seq: 65535, TS: 1}, {Seq: 1, TS: 3}, {Seq: 0, TS: 2}, {Seq: 1, TS: 9}, {Seq: 65534, TS: 0}}
	for i, p := range inOrder(rec) {
		if p.TS != uint32(i) {
			t.Errorf("place %d: %+v", i, p)
		}
	}
	if n := len(inOrder(rec)); n != 4 {
		t.Errorf("%d packets", n)
	}
}
