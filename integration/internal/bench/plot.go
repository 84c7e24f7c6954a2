package bench

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// PlotName is the file that WriteDocs makes.
const PlotName = "growth.svg"

// WriteDocs writes the plot of growth into the folder, with the date and the machine on it. It does nothing when growth was not measured.
func (r *Results) WriteDocs(dir, date string) error {
	if len(r.Growth) == 0 {
		return nil
	}
	head := fmt.Sprintf("Relayed calls: %s, %d cores, Linux %s, %s", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, date)
	if err := os.WriteFile(filepath.Join(dir, PlotName), plot(head, r.Growth), 0o644); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// Sizes of the drawing, px.
const (
	panelW, panelH = 300, 220
	marginX        = 56
	marginY        = 48
)

var colours = [...]string{"#0b62a4", "#c0392b", "#7a8a99", "#2e8b57"}

// plot draws the points: one panel each for CPU, memory and delay over the number of calls, which has a logarithmic scale.
func plot(head string, points []GrowthPoint) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n",
		3*(panelW+marginX)+marginX, panelH+2*marginY+24)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	fmt.Fprintf(&b, `<text x="%d" y="18" font-size="13">%s</text>`+"\n", marginX, escape(head))
	for i, p := range []struct {
		name  string
		value func(GrowthPoint) *float64
	}{
		{"us of CPU per packet", func(g GrowthPoint) *float64 { return g.PerPacket }},
		{"KiB per call", func(g GrowthPoint) *float64 { return g.KiB }},
		{"one-way delay p99, ms", func(g GrowthPoint) *float64 { return g.Delay }},
	} {
		panel(&b, marginX+i*(panelW+marginX), p.name, points, p.value)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func panel(b *bytes.Buffer, left int, name string, points []GrowthPoint, value func(GrowthPoint) *float64) {
	systems, calls, at := arrange(points)
	top, most := marginY, 0.0
	for _, g := range points {
		if v := value(g); v != nil {
			most = math.Max(most, *v)
		}
	}
	most = ceiling(most)
	lo, hi := math.Log10(float64(calls[0])), math.Log10(float64(calls[len(calls)-1]))
	x := func(n int) float64 {
		return float64(left) + panelW*(math.Log10(float64(n))-lo)/math.Max(hi-lo, 1e-9)
	}
	y := func(v float64) float64 { return float64(top) + panelH*(1-v/most) }
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", left, top-8, name)
	for i := range 5 {
		v := most * float64(i) / 4
		fmt.Fprintf(b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.3g</text>`+"\n", left, y(v), panelW, left-5, y(v)+4, v)
	}
	for _, n := range calls {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(n), top+panelH+16, n)
	}
	for i, s := range systems {
		colour, line := colours[i%len(colours)], ""
		for _, n := range calls {
			g, ok := at[place{s, n}]
			if v := value(g); ok && v != nil {
				line += fmt.Sprintf("%.1f,%.1f ", x(n), y(*v))
				fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(n), y(*v), colour)
			}
		}
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", strings.TrimSpace(line), colour)
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+i*100, top+panelH+36, colour, escape(s))
	}
}

// ceiling is the round number above v that the scale ends with.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, k := range [...]float64{1, 2, 4, 6, 8, 10} {
		if k*unit >= v {
			return k * unit
		}
	}
	return 10 * unit
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
