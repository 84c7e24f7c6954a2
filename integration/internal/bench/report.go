package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/quality"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/signalling"
)

// Summary is the JSON object that ends the output. null: not measured, because the peer is not installed, the part was not run or no
// window of it counted.
type Summary struct {
	RelayUS          *float64 `json:"relay_us_per_packet"`
	RelayRtpengine   *float64 `json:"relay_vs_rtpengine"`
	RelayFloor       *float64 `json:"relay_vs_floor"`
	OpusCalls        *float64 `json:"opus_pcma_calls_per_core"`
	OpusRtpengine    *float64 `json:"opus_pcma_vs_rtpengine"`
	OpusLimit        *float64 `json:"opus_pcma_vs_limit"`
	KiBPerCall       *float64 `json:"kib_per_call"`
	KiBPerCallOpus   *float64 `json:"kib_per_call_opus"`
	OpusLimitMany    *float64 `json:"opus_pcma_vs_limit_many"`
	FloorUS          *float64 `json:"floor_us_per_packet"`
	RtpengineUS      *float64 `json:"rtpengine_us_per_packet"`
	RtpengineCalls   *float64 `json:"rtpengine_opus_pcma_calls_per_core"`
	LimitCalls       *float64 `json:"limit_calls_per_core"`
	WideCalls        *float64 `json:"opus_amrwb_calls_per_core"`
	WideRtpengine    *float64 `json:"opus_amrwb_vs_rtpengine"`
	WideLimit        *float64 `json:"opus_amrwb_vs_limit"`
	WideLimitCalls   *float64 `json:"amrwb_limit_calls_per_core"`
	KiBPerCallWide   *float64 `json:"kib_per_call_amrwb"`
	RelayDelayP99    *float64 `json:"relay_delay_p99_ms"`
	RtpengineKiB     *float64 `json:"rtpengine_kib_per_call"`
	Others           *float64 `json:"other_load_cores"`
	RelayCalls       int      `json:"relay_calls"`
	OpusCallsOffered int      `json:"opus_pcma_calls"`
	WideCallsOffered int      `json:"opus_amrwb_calls"`
	LoadSummary
	Growth []GrowthPoint `json:"growth"`
	QualitySummary
	signalling.Summary
	Machine
}

// QualitySummary is quality.Summary, by another name beside signalling's.
type QualitySummary = quality.Summary

// Summary reduces the results.
func (r *Results) Summary() Summary {
	s := Summary{
		RelayCalls: r.Config.Calls[Relay], OpusCallsOffered: r.Config.Calls[Transcode],
		WideCallsOffered: r.Config.Calls[Wideband], Machine: r.Machine,
		Summary: r.Signalling.Summary(), QualitySummary: r.Quality.Summary(),
		LoadSummary: r.loadSummary(), Growth: r.Growth,
	}
	relay, opus, wide := r.Parts[Relay], r.Parts[Transcode], r.Parts[Wideband]
	packet := func(p *Part, name string) map[int]float64 { return p.find(name).byRound(work(p), (*Sample).perPacket) }
	calls := func(p *Part, name string) map[int]float64 {
		return p.find(name).byRound(work(p), (*Sample).callsPerCore)
	}
	ours := packet(relay, isthmus)
	s.RelayUS, s.FloorUS, s.RtpengineUS = median(figure(ours)), median(figure(packet(relay, floor))), median(figure(packet(relay, rtpengine)))
	s.RelayRtpengine, s.RelayFloor = median(ratio(ours, packet(relay, rtpengine))), median(ratio(ours, packet(relay, floor)))
	s.RelayDelayP99 = median(figure(relay.find(isthmus).byRound(Relay, (*Sample).delay)))

	ours = calls(opus, isthmus)
	s.OpusCalls, s.RtpengineCalls = median(figure(ours)), median(figure(calls(opus, rtpengine)))
	s.OpusRtpengine = median(ratio(ours, calls(opus, rtpengine)))
	s.LimitCalls = median(figure(opus.limits(one)))
	s.OpusLimit, s.OpusLimitMany = median(ratio(ours, opus.limits(one))), median(ratio(ours, opus.limits(many)))

	ours = calls(wide, isthmus)
	s.WideCalls, s.WideLimit, s.WideLimitCalls = median(figure(ours)), median(ratio(ours, wide.limits(one))), median(figure(wide.limits(one)))
	s.WideRtpengine = median(ratio(ours, calls(wide, rtpengine)))
	s.KiBPerCall, s.KiBPerCallOpus, s.KiBPerCallWide = relay.perCall(isthmus), opus.perCall(isthmus), wide.perCall(isthmus)
	s.RtpengineKiB, s.Others = relay.perCall(rtpengine), r.others()
	return s
}

// others is the median of what other programs used during the windows, cores.
func (r *Results) others() *float64 {
	all := map[int]float64{}
	for _, p := range r.Parts {
		if p == nil {
			continue
		}
		for _, row := range p.Rows {
			for _, s := range row.Samples {
				all[len(all)] = s.Others
			}
		}
	}
	if v := r.Signalling.Others(); v != nil && len(all) == 0 {
		return v
	}
	return median(figure(all))
}

func work(p *Part) Work {
	if p == nil {
		return Relay
	}
	return p.Work
}

// delay is the 99th percentile of the one-way delay, ms.
func (s *Sample) delay() float64 { return millis(s.Window.Delays.P99) }

func one(l LimitSample) codecs.Limit  { return l.One }
func many(l LimitSample) codecs.Limit { return l.Many }

// limits are the codec-only limits in calls per core, by round.
func (p *Part) limits(which func(LimitSample) codecs.Limit) map[int]float64 {
	out := map[int]float64{}
	if p == nil {
		return out
	}
	for _, l := range p.Limits {
		out[l.Round] = which(l).CallsPerCore()
	}
	return out
}

// perCall is the memory that a call added to the system, KiB; nil when the system was not measured to the end.
func (p *Part) perCall(system string) *float64 {
	r := p.find(system)
	if r == nil || r.FullKiB == 0 || p.Calls == 0 {
		return nil
	}
	v := round(float64(r.FullKiB-r.EmptyKiB) / float64(p.Calls))
	return &v
}

// median rounds it for the report.
func median(f *Figure) *float64 {
	if f == nil {
		return nil
	}
	v := round(f.Median)
	return &v
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// WriteQuality puts the tables of the speech part into the document at path. Errors: nothing was measured, those of quality.Results.Write.
func (r *Results) WriteQuality(path string, now time.Time) error {
	if r.Quality == nil {
		return errors.New("bench: no speech was measured")
	}
	m, q := r.Machine, r.Config.Quality
	return r.Quality.Write(path, fmt.Sprintf("%s, %d cores, Linux %s, %s; %s; %d calls of %v for each condition.", m.CPU, m.Cores, m.Kernel, m.Go,
		now.UTC().Format(time.DateOnly), q.Seeds, q.Speech))
}

// Print writes the table, the targets and, last, the summary as one line of JSON.
func (r *Results) Print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s, %d cores, Linux %s, %s\n", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go)
	for _, p := range r.Parts {
		if p != nil {
			p.print(w)
		}
	}
	growthTable(w, r.Growth)
	r.printLoads(w)
	s := r.Summary()
	r.Quality.Print(w)
	if r.Config.Only != Signalling {
		s.targets(w)
	}
	r.Signalling.Print(w)
	if s.Others != nil && *s.Others > quiet {
		fmt.Fprintf(w, "\nOther programs used %.1f cores: these figures are of a busy machine, where every program pays for cold caches.\n", *s.Others)
	}
	line, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	_, err = fmt.Fprintf(w, "\n%s\n", line)
	return err
}

// quiet is the most that other programs may use, cores, for figures that speak for themselves.
const quiet = 0.2

func (p *Part) print(w io.Writer) {
	fmt.Fprintf(w, "\n%-12s %-24s %-24s %-8s %-10s %s\n", p.Work, "us CPU per packet", "calls per core", "system", "KiB/call", "delay p99 ms")
	for _, r := range p.Rows {
		kib := "-"
		if v := p.perCall(r.System); v != nil {
			kib = fmt.Sprintf("%.0f", *v)
		}
		delay := "-"
		if f := figure(r.byRound(p.Work, (*Sample).delay)); f != nil {
			delay = fmt.Sprintf("%.2f", f.Median)
		}
		fmt.Fprintf(w, "%-12s %-24s %-24s %-8s %-10s %s\n", r.System, show(figure(r.byRound(p.Work, (*Sample).perPacket)), 2),
			show(figure(r.byRound(p.Work, (*Sample).callsPerCore)), 0), r.systemShare(), kib, delay)
	}
	if f := ratio(p.find(isthmus).byRound(p.Work, (*Sample).perPacket), p.find(rival).byRound(p.Work, (*Sample).perPacket)); f != nil {
		fmt.Fprintf(w, "isthmus / rival, CPU per packet within rounds: %s\n", show(f, 3))
	}
	if len(p.Limits) > 0 {
		fmt.Fprintf(w, "%-12s %-24s %s\n", limit, "-", show(figure(p.limits(one)), 0))
		fmt.Fprintf(w, "%-12s %-24s %s  (as many codecs as calls)\n", "", "-", show(figure(p.limits(many)), 0))
		p.compareOpus(w)
	}
}

// compareOpus says when the gateway's Opus is not what the limit was measured with.
func (p *Part) compareOpus(w io.Writer) {
	r := p.find(isthmus)
	if r == nil || len(r.Samples) == 0 {
		return
	}
	ours, theirs := r.Samples[len(r.Samples)-1].Window.Listening, p.Limits[len(p.Limits)-1].One
	fmt.Fprintf(w, "Opus made: TOC %#02x, %.1f octets by the gateway; TOC %#02x, %.1f octets by the limit", ours.TOC, ours.Octets, theirs.TOC, theirs.Octets)
	if ours.TOC != theirs.TOC || math.Abs(ours.Octets/theirs.Octets-1) > 0.15 {
		fmt.Fprint(w, "  - THESE DIFFER: the limit is not that of the gateway's settings")
	}
	fmt.Fprintln(w)
}

// systemShare is how much of the CPU time was the kernel's.
func (r *Row) systemShare() string {
	var user, system float64
	for _, s := range r.Samples {
		user, system = user+s.User.Seconds(), system+s.System.Seconds()
	}
	if user+system == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*system/(user+system))
}

// show is the median with its spread.
func show(f *Figure, digits int) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, f.Median, digits, f.Low, digits, f.High)
}

// targets prints each ratio beside what it is to be.
func (s *Summary) targets(w io.Writer) {
	fmt.Fprintln(w)
	for _, t := range []struct {
		what  string
		value *float64
		bound string
		met   func(float64) bool
	}{
		{"relay / rtpengine", s.RelayRtpengine, "<= 0.5", func(v float64) bool { return v <= 0.5 }},
		{"relay / kernel floor", s.RelayFloor, "<= 1.25", func(v float64) bool { return v <= 1.25 }},
		{"Opus-PCMA / rtpengine", s.OpusRtpengine, ">= 3.5", func(v float64) bool { return v >= 3.5 }},
		{"Opus-PCMA / codec limit", s.OpusLimit, ">= 0.85", func(v float64) bool { return v >= 0.85 }},
		{"the same at 70 % of a core", s.OpusLimitAtLevel, ">= 0.85", func(v float64) bool { return v >= 0.85 }},
		{"Opus-AMR-WB / codec limit", s.WideLimit, ">= 0.85", func(v float64) bool { return v >= 0.85 }},
		{"KiB per relayed call", s.KiBPerCall, "<= 128", func(v float64) bool { return v <= 128 }},
		{"KiB per transcoded call", s.KiBPerCallOpus, "<= 128", func(v float64) bool { return v <= 128 }},
		{"the same at 70 % of a core", s.OpusKiBAtLevel, "<= 128", func(v float64) bool { return v <= 128 }},
		{"relay p99 at 70 %, ms", s.RelayP99, "<= 2", func(v float64) bool { return v <= 2 }},
		{"transcode p99 at 70 %, ms", s.TranscodeP99, "<= 40", func(v float64) bool { return v <= 40 }},
		{"speech below no gateway", s.Below, "<= 0.02", func(v float64) bool { return v <= quality.GoalBelow }},
		{"the same without what a second coding takes", s.Itself, "<= 0.02", func(v float64) bool { return v <= quality.GoalBelow }},
		{"delay added to speech, ms", s.Delay, "<= 40", func(v float64) bool { return v <= quality.GoalDelay }},
		{"level of speech, dB", s.Level, "+-0.5", func(v float64) bool { return math.Abs(v) <= quality.GoalLevel }},
	} {
		verdict, value := "not measured", "-"
		if t.value != nil {
			value, verdict = fmt.Sprintf("%.2f", *t.value), "missed"
			if t.met(*t.value) {
				verdict = "met"
			}
		}
		fmt.Fprintf(w, "%-26s %8s   target %-8s %s\n", t.what, value, t.bound, verdict)
	}
}
