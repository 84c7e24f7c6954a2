package quality

import (
	"fmt"
	"math"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/traces"
)

// Results of a run.
type Results struct {
	Config     Config
	Parts      []*Part // one for each codec at the core
	Late       float64 // share of packets that the generator sent late, where that was too many
	conditions []traces.Condition
}

// Part is what was measured of Opus and one other codec.
type Part struct {
	pair    *pair
	Systems []System
}

// System is what was measured of one: for each condition and direction, the mean over its calls.
type System struct {
	Name  string
	Means [][2]Score
}

// take reduces scores to means and keeps them.
func (r *Results) take(p *Part, name string, calls []call, scores [][2]Score) {
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
	p.Systems = append(p.Systems, s)
	fmt.Fprintf(r.Config.Out, "  %s, %s: scored\n", p.pair.title(load.Up), name)
}

// find returns the system, nil when it was not measured.
func (p *Part) find(name string) *System {
	if p == nil {
		return nil
	}
	for i := range p.Systems {
		if p.Systems[i].Name == name {
			return &p.Systems[i]
		}
	}
	return nil
}

// gateway reports whether the system is one, and not what gateways are compared with.
func (s *System) gateway() bool { return s.Name != Reference && s.Name != Twice }

// at is the mean of a system in a condition and direction.
func (p *Part) at(name string, condition int, d load.Direction) Score {
	if s := p.find(name); s != nil {
		return s.Means[condition][d]
	}
	return Score{}
}

// Goals.
const (
	GoalBelow = 0.02 // below the reference
	GoalDelay = 40.0 // ms, clean
	GoalLevel = 0.5  // dB
)

// part is that of a pair, nil when it was not measured.
func (r *Results) part(m load.Media) *Part {
	if r == nil {
		return nil
	}
	for _, p := range r.Parts {
		if p.pair.media == m {
			return p
		}
	}
	return nil
}

// below is how much the system falls below another where it does so most; nil when one of them was not measured.
func (p *Part) below(name, other string) *float64 {
	s, ref := p.find(name), p.find(other)
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
