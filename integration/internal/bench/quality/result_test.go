package quality

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/traces"
)

// scored is a result with one call per condition, all with the same score, up and down.
func scored(r *Results, p *pair, name string, up, down Score) {
	part := r.part(p.media)
	if part == nil {
		part = &Part{pair: p}
		r.Parts = append(r.Parts, part)
	}
	var calls []call
	var scores [][2]Score
	for i := range r.conditions {
		calls, scores = append(calls, call{condition: i}), append(scores, [2]Score{up, down})
	}
	r.take(part, name, calls, scores)
}

func TestSummaryTakesTheWorst(t *testing.T) {
	r := &Results{Config: Config{Seeds: 1, Out: io.Discard}, conditions: traces.Conditions()}
	scored(r, pairs[0], Reference, Score{Score: 0.95}, Score{Score: 0.98})
	scored(r, pairs[0], Twice, Score{Score: 0.945, Level: -0.1}, Score{Score: 0.96})
	scored(r, pairs[0], Isthmus, Score{Score: 0.94, Delay: 25, Level: -0.3}, Score{Score: 0.951, Delay: 31, Level: 0.1})
	s := r.Summary()
	if *s.Below != 0.029 || *s.Delay != 31 || *s.Level != -0.3 || *s.Loss5 != 0.94 || *s.RefLoss5 != 0.95 || *s.Itself != 0.009 || s.PeerBelow != nil || s.PeerLoss5 != nil {
		t.Errorf("%+v", s)
	}
	scored(r, pairs[1], Reference, Score{Score: 0.9}, Score{Score: 0.9})
	scored(r, pairs[1], Isthmus, Score{Score: 0.85, Delay: 33}, Score{Score: 0.89, Level: 2})
	if s := r.Summary(); *s.Below != 0.05 || *s.BelowAMR != 0.05 || s.BelowG722 != nil || s.BelowFull != nil || *s.Itself != 0.009 || *s.Delay != 33 || *s.Level != -0.3 {
		t.Errorf("with AMR-WB: %+v", s)
	}
	var out bytes.Buffer
	r.Print(&out)
	if text := out.String(); strings.Count(text, "| 0.945 (-0.1 dB) | 0.940 (-0.010; -0.005) | 25.0, 0.0 | -0.3 (-0.2) |") != len(r.conditions) || strings.Contains(text, Rtpengine) || strings.Contains(text, "busy") {
		t.Errorf("%s", text)
	}
	if s := (*Results)(nil).Summary(); s != (Summary{}) {
		t.Errorf("without results: %+v", s)
	}
}

// The tables come in place of those that the document has, and nothing else of it changes.
func TestTablesAreWrittenIntoTheDocument(t *testing.T) {
	r := &Results{Config: Config{Seeds: 1, Out: io.Discard}, conditions: traces.Conditions()}
	g722 := pairs[len(pairs)-1]
	scored(r, g722, Reference, Score{Score: 0.95}, Score{Score: 0.98})
	scored(r, g722, Twice, Score{Score: 0.95}, Score{Score: 0.97})
	scored(r, g722, Isthmus, Score{Score: 0.94}, Score{Score: 0.951})
	path := filepath.Join(t.TempDir(), "quality.md")
	for _, doc := range []string{"before\n" + docBegin + "\nold\n" + docEnd + "\nafter\n", "no place", docBegin + " without an end"} {
		if err := os.WriteFile(path, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		err := r.Write(path, "Machine, today.")
		b, _ := os.ReadFile(path)
		text := string(b)
		if !strings.HasPrefix(doc, "before") {
			if err == nil || text != doc {
				t.Errorf("%q: %v, %q", doc, err, text)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(text, "before\n"+docBegin+"\n\nMachine, today.\n\n| Opus to G.722 | no gateway | both codecs, no gateway | isthmus (below; by itself) |") || !strings.HasSuffix(text, "\n\n"+docEnd+"\nafter\n") ||
			strings.Contains(text, "old") || strings.Count(text, "| 0.951 (-0.029; -0.019) |") != len(r.conditions) {
			t.Errorf("%v: %s", err, text)
		}
	}
	if err := r.Write(path+"x", ""); err == nil {
		t.Error("no such document, and no error")
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
