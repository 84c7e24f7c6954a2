package bench

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
)

// growthWindow is the length of the one window of each system at each number of calls, at most.
const growthWindow = 3 * time.Second

// GrowthPoint is one system with so many relayed calls. null: no window that counts.
type GrowthPoint struct {
	System    string   `json:"system"`
	Calls     int      `json:"calls"`
	PerPacket *float64 `json:"us_per_packet"`
	KiB       *float64 `json:"kib_per_call"`
	Delay     *float64 `json:"delay_p99_ms"`
}

// growth measures relaying with more and more calls, each number in fresh processes.
func (r *Results) growth(ctx context.Context, m *codecs.Material) error {
	for _, n := range r.Config.Growth {
		c := r.Config
		c.Calls[Relay], c.Rounds, c.Window = n, 1, min(c.Window, growthWindow)
		p := &part{work: Relay, c: &c, material: m}
		err := p.run(ctx)
		r.Growth = append(r.Growth, p.result.points()...)
		if err != nil {
			return fmt.Errorf("%s, %d calls: %w", Growth, n, err)
		}
	}
	return nil
}

// points are the part's figures by system.
func (p *Part) points() (out []GrowthPoint) {
	for _, row := range p.Rows {
		g := GrowthPoint{System: row.System, Calls: p.Calls, KiB: p.perCall(row.System)}
		g.PerPacket = median(figure(row.byRound(p.Work, (*Sample).perPacket)))
		if d := median(figure(row.byRound(p.Work, (*Sample).delay))); d != nil && *d > 0 {
			g.Delay = d
		}
		out = append(out, g)
	}
	return out
}

// growthTable writes the points as a table of Markdown, a row per number of calls.
func growthTable(w io.Writer, points []GrowthPoint) {
	systems, calls, at := arrange(points)
	if len(points) == 0 {
		return
	}
	columns := []struct {
		name  string
		value func(GrowthPoint) *float64
		form  string
	}{
		{"us per packet", func(g GrowthPoint) *float64 { return g.PerPacket }, "%.1f"},
		{"KiB per call", func(g GrowthPoint) *float64 { return g.KiB }, "%.0f"},
		{"delay p99, ms", func(g GrowthPoint) *float64 { return g.Delay }, "%.2f"},
	}
	fmt.Fprint(w, "\n| calls |")
	for _, c := range columns {
		for _, s := range systems {
			fmt.Fprintf(w, " %s: %s |", s, c.name)
		}
	}
	fmt.Fprint(w, "\n|---|")
	for range len(columns) * len(systems) {
		fmt.Fprint(w, "---|")
	}
	for _, n := range calls {
		fmt.Fprintf(w, "\n| %d |", n)
		for _, c := range columns {
			for _, s := range systems {
				if g, ok := at[place{s, n}]; ok && c.value(g) != nil {
					fmt.Fprintf(w, " "+c.form+" |", *c.value(g))
				} else {
					fmt.Fprint(w, " - |")
				}
			}
		}
	}
	fmt.Fprintln(w)
}

// place is a point's.
type place struct {
	system string
	calls  int
}

// arrange lists systems and numbers of calls in the order of the points.
func arrange(points []GrowthPoint) (systems []string, calls []int, at map[place]GrowthPoint) {
	at = map[place]GrowthPoint{}
	seen, counted := map[string]bool{}, map[int]bool{}
	for _, g := range points {
		at[place{g.System, g.Calls}] = g
		if !seen[g.System] {
			seen[g.System] = true
			systems = append(systems, g.System)
		}
		if !counted[g.Calls] {
			counted[g.Calls] = true
			calls = append(calls, g.Calls)
		}
	}
	return systems, calls, at
}
