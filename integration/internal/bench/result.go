package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/quality"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/signalling"
)

// Results of a run.
type Results struct {
	Machine Machine
	Config  Config
	Parts   [works]*Part // by Work; nil: not run

	Growth []GrowthPoint // in the order of the numbers of calls; none: not run
	Loads  []LoadSample  // none: not run
	Bare   *LoadSample   // the kernel floor with the calls of the higher load of relaying; nil: not run

	Signalling *signalling.Results // nil: not run
	Quality    *quality.Results    // nil: not run
}

// Part is what was measured of one kind of work.
type Part struct {
	Work   Work
	Calls  int
	Rows   []*Row
	Limits []LimitSample // transcoding only
}

// Row is what was measured of one system.
type Row struct {
	System            string
	Profile           string // SRTP; empty: plain
	EmptyKiB, FullKiB int    // resident before the first call and with all, after the rounds
	Samples           []Sample
}

// Sample is one window.
type Sample struct {
	Round        int
	Calls        int
	Window       load.Window
	User, System time.Duration // in ticks, over the warm-up too: for their proportion
	Others       float64       // cores that other programs used meanwhile
}

// LimitSample is the codec-only limit in one round: with one pair of codecs and with as many as there are calls.
type LimitSample struct {
	Round     int
	One, Many codecs.Limit
}

// row returns that of the system, a new one if there is none.
func (p *Part) row(system string) *Row {
	if r := p.find(system); r != nil {
		return r
	}
	r := &Row{System: system}
	p.Rows = append(p.Rows, r)
	return r
}

// find returns the row of the system, or nil.
func (p *Part) find(system string) *Row {
	if p == nil {
		return nil
	}
	for _, r := range p.Rows {
		if r.System == system {
			return r
		}
	}
	return nil
}

// enough is the least share of packets that must have arrived for a window to count: what drops is not fast.
const enough = 0.98

// fault says why the window does not count; empty: it does.
func (s *Sample) fault(w Work) string {
	win := &s.Window
	up, down := win.Counts[load.Up], win.Counts[load.Down]
	switch {
	case win.Share() < enough:
		return fmt.Sprintf("only %.1f %% arrived", 100*win.Share())
	case up.Wrong+down.Wrong > 0:
		return fmt.Sprintf("%d packets were not what had been sent", up.Wrong+down.Wrong)
	case w.media().Transcoded() && win.Listening.Heard < win.Listening.Of:
		return fmt.Sprintf("%d of %d recordings are not the audio that was sent (likeness %.2f)",
			win.Listening.Of-win.Listening.Heard, win.Listening.Of, win.Listening.Worst)
	}
	return ""
}

// perPacket is CPU time per delivered packet, microseconds.
func (s *Sample) perPacket() float64 {
	return micros(s.Window.Used) / float64(max(s.Window.Delivered(), 1))
}

// callsPerCore is how many such calls would use up a core.
func (s *Sample) callsPerCore() float64 {
	return float64(s.Calls) * float64(s.Window.Length) / float64(max(s.Window.Used, 1))
}

// line is the window for the progress output.
func (s *Sample) line(w Work) string {
	text := fmt.Sprintf("%6.2f us per packet, %5.1f %% arrived", s.perPacket(), 100*s.Window.Share())
	if w.media().Transcoded() {
		text += fmt.Sprintf(", %.0f calls/core, %d of %d recordings right", s.callsPerCore(), s.Window.Listening.Heard, s.Window.Listening.Of)
	}
	text += fmt.Sprintf(", delay p50 %.2f p99 %.2f ms", millis(s.Window.Delays.P50), millis(s.Window.Delays.P99))
	text += fmt.Sprintf(", others use %.1f cores", s.Others)
	if f := s.fault(w); f != "" {
		text += "  NOT COUNTED: " + f
	}
	return text
}

// byRound are the values of the windows that count, by round.
func (r *Row) byRound(w Work, value func(*Sample) float64) map[int]float64 {
	out := map[int]float64{}
	if r == nil {
		return out
	}
	for i := range r.Samples {
		if s := &r.Samples[i]; s.fault(w) == "" {
			out[s.Round] = value(s)
		}
	}
	return out
}

// Figure is a median with its spread; nil: not measured.
type Figure struct {
	Median, Low, High float64
	N                 int
}

// figure summarises values; nil when there are none.
func figure(values map[int]float64) *Figure {
	if len(values) == 0 {
		return nil
	}
	var v []float64
	for _, x := range values {
		v = append(v, x)
	}
	slices.Sort(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (m + v[len(v)/2-1]) / 2
	}
	return &Figure{Median: m, Low: v[0], High: v[len(v)-1], N: len(v)}
}

// ratio divides within each round that both have.
func ratio(a, b map[int]float64) *Figure {
	out := map[int]float64{}
	for round, x := range a {
		if y, ok := b[round]; ok && y != 0 {
			out[round] = x / y
		}
	}
	return figure(out)
}
