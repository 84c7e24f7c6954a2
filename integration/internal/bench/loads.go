package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/cores"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/procstat"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/systems"
)

// The delay under load is measured with one packet thread and one core, of which calls use 30 and 70 %; the generator has another core.

// levels are shares of the core, percent.
var levels = [...]int{30, 70}

const (
	nearly  = 10  // percent by which a load may miss its level before it is tried again
	drowned = 0.9 // share of its core from which on the generator sends in bursts
)

// LoadSample is the gateway with one packet thread under a load.
type LoadSample struct {
	Work   Work
	Level  int // percent of a core that was aimed at
	Calls  int
	Sample Sample
	Limit  *codecs.Limit // of the codecs alone, measured right after; transcoding only
	Memory Memory
}

// Memory is the resident memory of the gateway at points of the measurement, KiB. More calls may be up than speak.
type Memory struct {
	Empty, Up, Speaking int // before the first call, with all up and silent, after the window
	Calls               int // that are up
}

// perCall is what a call added that was up and spoke, KiB; 0: not measured.
func (m *Memory) perCall(speaking int) float64 {
	if m.Speaking == 0 || m.Calls == 0 || speaking == 0 {
		return 0
	}
	return float64(m.Up-m.Empty)/float64(m.Calls) + float64(m.Speaking-m.Up)/float64(speaking)
}

// share is the load that there was, percent of a core.
func (s *LoadSample) share() float64 {
	return 100 * s.Sample.Window.Used.Seconds() / max(s.Sample.Window.Length.Seconds(), 1e-9)
}

// loads measures delays at each level.
func (r *Results) loads(ctx context.Context, m *codecs.Material) error {
	for _, l := range [...]struct {
		work Work
		most int // calls
	}{{Relay, 1600}, {Transcode, 240}} {
		p := &part{work: l.work, c: &r.Config, material: m}
		err := errors.Join(r.loadsOf(ctx, p, l.most), p.close())
		if err != nil {
			return fmt.Errorf("%s, %s: %w", Delays, l.work, err)
		}
		if l.work == Relay {
			p := &part{work: Relay, material: m}
			if err := errors.Join(r.bare(ctx, p), p.close()); err != nil {
				return fmt.Errorf("%s, %s: %w", Delays, floor, err)
			}
		}
	}
	return nil
}

// bare measures the kernel floor with as many calls as the gateway has just had, each again on a core of its own: less delay than that no relay
// has on this machine.
func (r *Results) bare(ctx context.Context, p *part) error {
	c := r.Config
	calls := r.Loads[len(r.Loads)-1].Calls
	c.Calls[Relay] = calls
	p.c, p.result = &c, Part{Work: Relay, Calls: calls}
	sys, err := systems.StartFloor(c.Floor[0], c.Floor[1:]...)
	s, err := p.alone(ctx, sys, err)
	if err != nil {
		return err
	}
	at, err := p.under(ctx, s, calls, levels[len(levels)-1])
	if err == nil {
		r.Bare = &at
	}
	return err
}

func (r *Results) loadsOf(ctx context.Context, p *part, most int) error {
	c := r.Config
	if c.MaxCalls > 0 {
		most = min(most, c.MaxCalls)
	}
	c.Calls[p.work] = most
	p.c, p.result = &c, Part{Work: p.work, Calls: most}
	p.say("\n%s under load: one packet thread", p.work)
	sys, err := systems.StartIsthmus(ctx, c.Gateway, 1, c.Log)
	s, err := p.alone(ctx, sys, err)
	if err != nil {
		return err
	}
	memory := Memory{Empty: s.empty, Calls: most}
	if memory.Up, err = procstat.Resident(s.sys.Pid()); err != nil {
		return err
	}
	calls := most / 5
	at, err := p.under(ctx, s, calls, 0)
	for _, level := range levels {
		for try := 0; err == nil && try < 2; try++ {
			calls = min(most, max(1, int(float64(at.Calls)*float64(level)/max(at.share(), 1))))
			at, err = p.under(ctx, s, calls, level)
			if off := at.share() - float64(level); off < nearly && off > -nearly || calls == most && off < 0 {
				break
			}
		}
		if err == nil {
			at.Memory = memory
			at.Memory.Speaking, err = procstat.Resident(s.sys.Pid())
		}
		if err == nil && p.work.media().Transcoded() {
			var l codecs.Limit
			l, err = codecs.MeasureLimit(p.material, p.work.core(), 1, c.LimitTime)
			at.Limit = &l
		}
		if err != nil {
			return err
		}
		r.Loads = append(r.Loads, at)
	}
	return nil
}

// alone sets the calls of a started system up, the only one of p, and gives it and the generator a core each.
func (p *part) alone(ctx context.Context, sys systems.System, err error) (*subject, error) {
	if err := p.add(sys, err); err != nil {
		return nil, err
	}
	s := p.subjects[0]
	if err := p.setUp(ctx, s); err != nil {
		return nil, err
	}
	return s, s.part()
}

// part gives system and generator a core each, where there are two: one that is put onto the other's core waits for its turn.
func (s *subject) part() error {
	system, generator, err := cores.Halves()
	if errors.Is(err, cores.ErrFew) {
		return nil
	}
	if err == nil {
		err = cores.Confine(s.sys.Pid(), &system)
	}
	if err == nil {
		s.fleet.Keep(&generator)
	}
	return err
}

// under runs a window with so many of the calls.
func (p *part) under(ctx context.Context, s *subject, calls, level int) (out LoadSample, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	s.fleet.Use(calls)
	others, err := newBystanders(s.sys.Pid())
	if err != nil {
		return out, err
	}
	w, err := s.fleet.Run(p.c.Warm, p.c.Window, func() (time.Duration, error) { return procstat.CPU(s.sys.Pid()) })
	if err != nil {
		return out, err
	}
	out = LoadSample{Work: p.work, Level: level, Calls: calls, Sample: Sample{Window: w, Calls: calls}}
	if out.Sample.Others, err = others.cores(); err != nil {
		return out, err
	}
	if level == 0 {
		p.say("  trial: %s", out.line())
	} else {
		p.say("  %4d%%: %s", level, out.line())
	}
	return out, nil
}

func (s *LoadSample) line() string {
	d := s.Sample.Window.Delays
	text := fmt.Sprintf("%4d calls use %.0f %% of a core, delay p50 %.2f p99 %.2f ms", s.Calls, s.share(), millis(d.P50), millis(d.P99))
	if s.Limit != nil {
		text += fmt.Sprintf(", %.2f of the codec limit", s.Sample.callsPerCore()/s.Limit.CallsPerCore())
	}
	if own := s.Sample.Window.Own.Seconds() / s.Sample.Window.Length.Seconds(); own > drowned {
		text += fmt.Sprintf("; the generator used %.0f %% of its core: it sends in bursts", 100*own)
	}
	if f := s.Sample.fault(s.Work); f != "" {
		text += "  NOT COUNTED: " + f
	}
	return text
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }

// LoadSummary is the part of the summary about delays under load, ms, and what transcoding makes of the codec limit and takes of memory at 70 %.
type LoadSummary struct {
	RelayP50Low      *float64 `json:"delay_p50_ms_relay_30"`
	RelayP99Low      *float64 `json:"delay_p99_ms_relay_30"`
	RelayP50         *float64 `json:"delay_p50_ms_relay_70"`
	RelayP99         *float64 `json:"delay_p99_ms_relay_70"`
	TranscodeP50Low  *float64 `json:"delay_p50_ms_transcode_30"`
	TranscodeP99Low  *float64 `json:"delay_p99_ms_transcode_30"`
	TranscodeP50     *float64 `json:"delay_p50_ms_transcode_70"`
	TranscodeP99     *float64 `json:"delay_p99_ms_transcode_70"`
	BareP99          *float64 `json:"delay_p99_ms_floor_70"`
	RelayShare       *float64 `json:"load_percent_relay_70"`
	TranscodeShare   *float64 `json:"load_percent_transcode_70"`
	OpusLimitAtLevel *float64 `json:"opus_pcma_vs_limit_70"`
	OpusKiBAtLevel   *float64 `json:"kib_per_call_opus_70"`
	OpusCallsAtLevel *float64 `json:"opus_pcma_calls_70"`
}

func (r *Results) loadSummary() (s LoadSummary) {
	put := func(to **float64, v float64) { v = round(v); *to = &v }
	if r.Bare != nil && r.Bare.Sample.fault(Relay) == "" {
		put(&s.BareP99, millis(r.Bare.Sample.Window.Delays.P99))
	}
	for i := range r.Loads {
		l := &r.Loads[i]
		if l.Sample.fault(l.Work) != "" {
			continue
		}
		p50, p99, share := &s.RelayP50, &s.RelayP99, &s.RelayShare
		switch {
		case l.Work == Relay && l.Level == levels[0]:
			p50, p99, share = &s.RelayP50Low, &s.RelayP99Low, nil
		case l.Work != Relay && l.Level == levels[0]:
			p50, p99, share = &s.TranscodeP50Low, &s.TranscodeP99Low, nil
		case l.Work != Relay:
			p50, p99, share = &s.TranscodeP50, &s.TranscodeP99, &s.TranscodeShare
		}
		put(p50, millis(l.Sample.Window.Delays.P50))
		put(p99, millis(l.Sample.Window.Delays.P99))
		if share == nil {
			continue
		}
		put(share, l.share())
		if l.Limit != nil {
			put(&s.OpusLimitAtLevel, l.Sample.callsPerCore()/l.Limit.CallsPerCore())
		}
		if kib := l.Memory.perCall(l.Calls); l.Work != Relay && kib > 0 {
			put(&s.OpusKiBAtLevel, kib)
			put(&s.OpusCallsAtLevel, float64(l.Calls))
		}
	}
	return s
}

func (r *Results) printLoads(w io.Writer) {
	if len(r.Loads) == 0 {
		return
	}
	fmt.Fprintf(w, "\ndelay under load, one packet thread (transcoded: of what is heard, with look-ahead of the codecs and jitter buffer)\n")
	for i := range r.Loads {
		l := &r.Loads[i]
		fmt.Fprintf(w, "%-10s %3d %%  %s", l.Work, l.Level, l.line())
		if kib := l.Memory.perCall(l.Calls); kib > 0 {
			fmt.Fprintf(w, ", %.0f KiB per call", kib)
		}
		fmt.Fprintln(w)
	}
	if r.Bare != nil {
		fmt.Fprintf(w, "%-10s        %s\n", floor, r.Bare.line())
	}
}
