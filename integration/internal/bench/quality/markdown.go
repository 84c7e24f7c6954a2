package quality

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// Print writes the tables, as Markdown.
func (r *Results) Print(w io.Writer) {
	if r == nil {
		return
	}
	for _, p := range r.Parts {
		if len(p.Systems) == 0 {
			continue
		}
		for d := range load.Direction(2) {
			r.table(w, p, d)
		}
	}
	if r.Late > 0 {
		fmt.Fprintf(w, "\nThe machine was busy: %.1f %% of the packets left more than %v late, as on a worse network than the condition says.\n", 100*r.Late, load.Tardy)
	}
}

func (r *Results) table(w io.Writer, p *Part, d load.Direction) {
	fmt.Fprintf(w, "\n| %s |", p.pair.title(d))
	rule := "\n|---|"
	for _, s := range p.Systems {
		if !s.gateway() {
			fmt.Fprintf(w, " %s |", s.Name)
			rule += "---|"
			continue
		}
		fmt.Fprintf(w, " %s (below; by itself) | delay ms, end | level dB (by itself) |", s.Name)
		rule += "---|---|---|"
	}
	fmt.Fprint(w, rule)
	for i, c := range r.conditions {
		fmt.Fprintf(w, "\n| %s |", c.Name)
		ref, twice := p.at(Reference, i, d), p.at(Twice, i, d)
		for _, s := range p.Systems {
			m := s.Means[i][d]
			if !s.gateway() {
				fmt.Fprintf(w, " %.3f (%+.1f dB) |", m.Score, m.Level)
				continue
			}
			fmt.Fprintf(w, " %.3f (%+.3f; %+.3f) | %.1f, %.1f | %+.1f (%+.1f) |", m.Score, m.Score-ref.Score, m.Score-twice.Score, m.Delay, m.Last, m.Level, m.Level-twice.Level)
		}
	}
	fmt.Fprintln(w)
}

// The lines between which a document holds the tables.
const (
	docBegin = "<!-- figures: written by the bench, -quality-doc -->"
	docEnd   = "<!-- end of figures -->"
)

// Write puts heading and tables into the document at path, in place of those that it holds. Errors: a document without place for them, those
// of its file.
func (r *Results) Write(path, heading string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("quality: %w", err)
	}
	before, rest, ok := strings.Cut(string(b), docBegin)
	_, after, ok2 := strings.Cut(rest, docEnd)
	if !ok || !ok2 {
		return fmt.Errorf("quality: %s: %w", path, errNoPlace)
	}
	var out bytes.Buffer
	out.WriteString(before + docBegin + "\n\n" + heading + "\n")
	r.Print(&out)
	out.WriteString("\n" + docEnd + after)
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("quality: %w", err)
	}
	return nil
}

var errNoPlace = errors.New("no lines that begin and end the figures")
