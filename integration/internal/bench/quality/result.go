package quality

import (
	"fmt"
	"io"
	"math"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/traces"
)

// Results of a run.
type Results struct {
	Config     Config
	Systems    []System
	Late       float64 // share of packets that the generator sent late, where that was too many
	conditions []traces.Condition
}

// System is what was measured of one: for each condition and direction, the mean over its calls.
type System struct {
	Name  string
	Means [][2]Score
}

// take reduces scores to means and keeps them.
func (r *Results) take(name string, calls []call, scores [][2]Score) {
	s := System{Name: name, Means: make([][2]Score, len(r.conditions))}
	for i, c := range calls {
		for d := range scores[i] {
			m, v, n := &s.Means[c.condition][d], scores[i][d], float64(r.Config.Seeds)
			m.Score += v.Score / n
			m.Level += v.Level / n
			m.Delay += v.Delay / n
			m.Last += v.Last / n
		}
	}
	r.Systems = append(r.Systems, s)
	fmt.Fprintf(r.Config.Out, "  %s: scored\n", name)
}

// find returns the system, nil when it was not measured.
func (r *Results) find(name string) *System {
	if r == nil {
		return nil
	}
	for i := range r.Systems {
		if r.Systems[i].Name == name {
			return &r.Systems[i]
		}
	}
	return nil
}

// Goals.
const (
	GoalBelow = 0.02 // below the reference
	GoalDelay = 40.0 // ms, clean
	GoalLevel = 0.5  // dB
)

// titles of the two directions, by load.Direction.
var titles = [2]string{"Opus to PCMA", "PCMA to Opus"}

// Print writes the tables.
func (r *Results) Print(w io.Writer) {
	if r == nil || len(r.Systems) == 0 {
		return
	}
	for d, title := range titles {
		fmt.Fprintf(w, "\n%-14s", title)
		for _, s := range r.Systems {
			fmt.Fprintf(w, " %-*s", width(s.Name), s.Name)
		}
		fmt.Fprintf(w, "\n%-14s", "")
		for _, s := range r.Systems {
			if s.Name == Reference {
				fmt.Fprintf(w, " %-18s", "ESTOI  level")
			} else {
				fmt.Fprintf(w, " %-38s", "ESTOI  (below)   delay ms  end   level")
			}
		}
		for i, c := range r.conditions {
			fmt.Fprintf(w, "\n%-14s", c.Name)
			for _, s := range r.Systems {
				fmt.Fprintf(w, " %-*s", width(s.Name), r.cell(&s, i, load.Direction(d)))
			}
		}
		fmt.Fprintln(w)
	}
	if r.Late > 0 {
		fmt.Fprintf(w, "The machine was busy: %.1f %% of the packets left more than %v late, as on a worse network than the condition says.\n", 100*r.Late, load.Tardy)
	}
}

// width is that of a system's columns.
func width(name string) int {
	if name == Reference {
		return 18
	}
	return 38
}

// cell is one system under one condition.
func (r *Results) cell(s *System, i int, d load.Direction) string {
	m := s.Means[i][d]
	if s.Name == Reference {
		return fmt.Sprintf("%.3f %+5.1f dB", m.Score, m.Level)
	}
	return fmt.Sprintf("%.3f (%+.3f)  %6.1f %6.1f  %+5.1f dB", m.Score, m.Score-r.find(Reference).Means[i][d].Score, m.Delay, m.Last, m.Level)
}

// below is how much the system falls below the reference where it does so most; nil when it was not measured.
func (r *Results) below(name string) *float64 {
	s, ref := r.find(name), r.find(Reference)
	if s == nil || ref == nil {
		return nil
	}
	worst := 0.0
	for i := range s.Means {
		for d := range s.Means[i] {
			worst = max(worst, ref.Means[i][d].Score-s.Means[i][d].Score)
		}
	}
	return rounded(worst)
}

func rounded(v float64) *float64 {
	v = math.Round(v*1000) / 1000
	return &v
}
