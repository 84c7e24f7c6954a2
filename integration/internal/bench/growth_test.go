package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// grown is a result of growth with a point that does not count.
func grown() *Results {
	r := &Results{Machine: Machine{CPU: "Some <CPU>"}}
	for i, n := range []int{10, 1000} {
		ours := row(isthmus, time.Duration(8-2*i)*ms)
		ours.EmptyKiB, ours.FullKiB = 1000, 1000+70*n
		theirs := row(rtpengine, 10*ms)
		if i == 1 {
			theirs.Samples[0].Window.Counts[load.Up].Delivered = 100
		}
		p := Part{Work: Relay, Calls: n, Rows: []*Row{ours, theirs}}
		r.Growth = append(r.Growth, p.points()...)
	}
	return r
}

func TestGrowthIsShown(t *testing.T) {
	r := grown()
	object, text := last(t, r)
	points, _ := object["growth"].([]any)
	if len(points) != 4 {
		t.Fatalf("growth is %v", object["growth"])
	}
	first, lost := points[0].(map[string]any), points[3].(map[string]any)
	if first["system"] != isthmus || first["calls"] != 10.0 || first["us_per_packet"] != 8.0 || first["kib_per_call"] != 70.0 {
		t.Errorf("first point: %v", first)
	}
	if v, ok := lost["us_per_packet"]; !ok || v != nil {
		t.Errorf("a window that does not count: %v", lost)
	}
	if !strings.Contains(text, "\n| 10 | 8.0 | 10.0 | 70 | - |") || !strings.Contains(text, "\n| 1000 | 6.0 | - | 70 | - |") {
		t.Errorf("no table in:\n%s", text)
	}
}

func TestPlotIsWritten(t *testing.T) {
	dir := t.TempDir()
	if err := (&Results{}).WriteDocs(dir, "2026-11-28"); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
		t.Errorf("written without a measurement: %v", files)
	}
	if err := grown().WriteDocs(dir, "2026-11-28"); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(filepath.Join(dir, PlotName))
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(svg))
	circles := 0
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if want := 3 + 2; circles != want { // CPU, memory of ours, no delays were measured
		t.Errorf("%d points drawn, want %d", circles, want)
	}
	if err := grown().WriteDocs(filepath.Join(dir, "none"), ""); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

func TestLoadsAreSummarised(t *testing.T) {
	under := func(w Work, level int, p99 time.Duration, limit *codecs.Limit) LoadSample {
		s := sample(0, 500, 700*ms)
		s.Window.Delays = load.Delays{P50: p99 / 2, P99: p99}
		s.Window.Listening = load.Listening{Heard: 8, Of: 8}
		return LoadSample{Work: w, Level: level, Calls: 10, Sample: s, Limit: limit}
	}
	limit := &codecs.Limit{PerFrame: time.Second / 50 / 20} // 20 calls a core
	r := &Results{Loads: []LoadSample{
		under(Relay, 30, 1*ms, nil), under(Relay, 70, 2*ms, nil), under(Transcode, 30, 30*ms, limit), under(Transcode, 70, 40*ms, limit),
	}}
	for i := range r.Loads {
		r.Loads[i].Memory = Memory{Empty: 1000, Up: 1000 + 20*60, Speaking: 1000 + 20*60 + 10*50, Calls: 20} // 20 are up, 10 speak
	}
	s := r.Summary()
	check(t, "KiB per call at 70", s.OpusKiBAtLevel, 110)
	check(t, "relay p50 at 30", s.RelayP50Low, 0.5)
	check(t, "relay p99 at 70", s.RelayP99, 2)
	if s.BareP99 != nil {
		t.Error("a floor that was not measured")
	}
	bare := under(Relay, 70, 1*ms, nil)
	r.Bare = &bare
	check(t, "floor p99", r.Summary().BareP99, 1)
	r.Bare.Sample.Window.Counts[load.Up].Wrong = 1
	if s := r.Summary(); s.BareP99 != nil {
		t.Errorf("a floor that does not count: %v", *s.BareP99)
	}
	check(t, "relay load", s.RelayShare, 70)
	check(t, "transcode p99 at 30", s.TranscodeP99Low, 30)
	check(t, "transcode p50 at 70", s.TranscodeP50, 20)
	check(t, "of the limit", s.OpusLimitAtLevel, 10/0.7/20)
	r.Loads[1].Sample.Window.Counts[load.Up].Wrong = 1
	if s := r.Summary(); s.RelayP99 != nil {
		t.Errorf("a window that does not count: %v", *s.RelayP99)
	}
	object, _ := last(t, r)
	for _, k := range []string{"delay_p99_ms_relay_70", "delay_p99_ms_floor_70", "delay_p99_ms_transcode_70", "opus_pcma_vs_limit_70", "kib_per_call_opus_70", "opus_pcma_calls_70"} {
		if _, ok := object[k]; !ok {
			t.Errorf("no %s", k)
		}
	}
}
