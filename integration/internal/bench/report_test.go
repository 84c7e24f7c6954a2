package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// sample is a window of 1 s in which delivered packets arrived each way for used CPU time, all that were sent.
func sample(round, delivered int, used time.Duration) Sample {
	c := load.Count{Sent: delivered, Delivered: delivered}
	return Sample{Round: round, Calls: 10, Window: load.Window{Length: time.Second, Used: used, Counts: [2]load.Count{c, c}}, Others: 1}
}

// row is a system with one such window per used, in rounds from 0.
func row(system string, used ...time.Duration) *Row {
	r := &Row{System: system}
	for i, u := range used {
		r.Samples = append(r.Samples, sample(i, 500, u))
	}
	return r
}

const ms = time.Millisecond

func results() *Results {
	ours := row(isthmus, 8*ms, 10*ms, 30*ms)
	ours.EmptyKiB, ours.FullKiB = 1000, 2000
	return &Results{Config: Config{Calls: [works]int{10, 10, 10}}, Parts: [works]*Part{
		{Work: Relay, Calls: 10, Rows: []*Row{ours, row(floor, 5*ms, 5*ms, 10*ms), row(rtpengine, 16*ms, 40*ms, 30*ms)}},
		{Work: Transcode, Calls: 10, Rows: []*Row{row(isthmus, 50*ms, 50*ms), row(rtpengine, 100*ms, 200*ms)},
			Limits: []LimitSample{{0, codecs.Limit{PerFrame: 80 * time.Microsecond, TOC: 8, Octets: 40}, codecs.Limit{PerFrame: 100 * time.Microsecond}},
				{1, codecs.Limit{PerFrame: 80 * time.Microsecond, TOC: 8, Octets: 40}, codecs.Limit{PerFrame: 100 * time.Microsecond}}}},
		{Work: Wideband, Calls: 10, Rows: []*Row{row(isthmus, 200*ms), row(rtpengine, 500*ms)}, Limits: []LimitSample{{0, codecs.Limit{PerFrame: 320 * time.Microsecond, TOC: 0x48}, codecs.Limit{}}}},
	}}
}

func check(t *testing.T, name string, got *float64, want float64) {
	t.Helper()
	switch {
	case got == nil:
		t.Errorf("%s: not there, want %v", name, want)
	case *got < want-0.001 || *got > want+0.001:
		t.Errorf("%s: %v, want %v", name, *got, want)
	}
}

func TestSummaryTakesMediansOfRatiosWithinRounds(t *testing.T) {
	s := results().Summary()
	check(t, "us per packet", s.RelayUS, 10)                // of 8, 10, 30
	check(t, "vs rtpengine", s.RelayRtpengine, 0.5)         // of 0.5, 0.25, 1
	check(t, "vs floor", s.RelayFloor, 2)                   // of 1.6, 2, 3
	check(t, "calls per core", s.OpusCalls, 200)            // 10 calls, 50 ms of each second
	check(t, "opus vs rtpengine", s.OpusRtpengine, 3)       // of 2, 4
	check(t, "opus vs limit", s.OpusLimit, 0.8)             // 200 of 250
	check(t, "opus vs the other limit", s.OpusLimitMany, 1) // 200 of 200
	check(t, "AMR-WB calls per core", s.WideCalls, 50)
	check(t, "AMR-WB vs limit", s.WideLimit, 0.8)         // 50 of 62.5
	check(t, "AMR-WB vs rtpengine", s.WideRtpengine, 2.5) // 50 of 20
	check(t, "KiB per call", s.KiBPerCall, 100)
	check(t, "others", s.Others, 1)
	if s.KiBPerCallOpus != nil {
		t.Errorf("memory that was not measured: %v", *s.KiBPerCallOpus)
	}
}

func TestWindowsThatDoNotCountAreLeftOut(t *testing.T) {
	r := results()
	r.Parts[Relay].Rows[0].Samples[2].Window.Counts[load.Up].Delivered = 480 // 96 %
	r.Parts[Relay].Rows[0].Samples[1].Window.Counts[load.Down].Wrong = 1
	r.Parts[Transcode].Rows[0].Samples[0].Window.Listening = load.Listening{Heard: 7, Of: 8}
	s := r.Summary()
	check(t, "us per packet", s.RelayUS, 8)
	check(t, "vs rtpengine", s.RelayRtpengine, 0.5)
	check(t, "opus vs rtpengine", s.OpusRtpengine, 4)
	var out bytes.Buffer
	for i := range 3 {
		out.WriteString(r.Parts[Relay].Rows[0].Samples[i].line(Relay))
	}
	if got := strings.Count(out.String(), "NOT COUNTED"); got != 2 {
		t.Errorf("%d windows marked: %s", got, out.String())
	}
}

// last is the object in the last line that Print writes.
func last(t *testing.T, r *Results) (map[string]any, string) {
	t.Helper()
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	var object map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &object); err != nil {
		t.Fatalf("last line %q: %v", lines[len(lines)-1], err)
	}
	return object, out.String()
}

var promised = []string{"relay_us_per_packet", "relay_vs_rtpengine", "relay_vs_floor", "opus_pcma_calls_per_core", "opus_pcma_vs_rtpengine",
	"opus_pcma_vs_limit", "kib_per_call"}

func TestLastLineIsTheSummary(t *testing.T) {
	object, text := last(t, results())
	for _, k := range promised {
		if _, ok := object[k].(float64); !ok {
			t.Errorf("%s is %v", k, object[k])
		}
	}
	for _, want := range []string{"kernel floor", "codec limit", "missed", "met", "THESE DIFFER", "busy machine"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func TestWhatWasNotMeasuredIsNull(t *testing.T) {
	r := results()
	r.Parts[Relay].Rows = r.Parts[Relay].Rows[:2]
	r.Parts[Transcode].Rows = r.Parts[Transcode].Rows[:1]
	object, _ := last(t, r)
	for _, k := range promised {
		null := k == "relay_vs_rtpengine" || k == "opus_pcma_vs_rtpengine"
		if v, ok := object[k]; !ok || (v == nil) != null {
			t.Errorf("without rtpengine %s is %v", k, v)
		}
	}
	object, _ = last(t, &Results{})
	for _, k := range promised {
		if v, ok := object[k]; !ok || v != nil {
			t.Errorf("without anything %s is %v", k, v)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Calls: [works]int{1, 1, 1}, Window: 2 * time.Second, Rounds: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"part": func(c *Config) { c.Only = "video" }, "no calls": func(c *Config) { c.Calls[Relay] = 0 },
		"too many": func(c *Config) { c.Calls[Transcode] = 5000 }, "short": func(c *Config) { c.Window = time.Second },
		"rounds": func(c *Config) { c.Rounds = 0 },
	} {
		c := good
		spoil(&c)
		if c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestCPUModel(t *testing.T) {
	if got := cpuModel([]byte("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n"), "?"); got != "Some CPU @ 2 GHz" {
		t.Errorf("%q", got)
	}
	if got := cpuModel([]byte("processor: 0\n"), "?"); got != "?" {
		t.Errorf("%q", got)
	}
}
