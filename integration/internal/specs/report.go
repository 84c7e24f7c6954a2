package specs

import (
	"fmt"
	"io"
	"strings"
)

// Report is the conformance list with its tests.
type Report struct {
	Rows     int      `json:"rows"`      // rows looked at
	WithTest int      `json:"with_test"` // of these, rows with at least one test
	Without  []string `json:"without"`   // ids of the others, in order

	lines []line
}

type line struct {
	row   Row
	tests []Test
}

// Filter chooses rows; empty fields choose all.
type Filter struct {
	Sections   []string // e.g. "A.2", or "A.1-A.7" for a range
	Priorities string   // e.g. "MS"
}

// Make matches rows with tests.
func Make(rows []Row, tests []Test, f Filter) (Report, error) {
	r := Report{Without: []string{}}
	want, err := f.sections(rows)
	if err != nil {
		return r, err
	}
	for _, row := range rows {
		if !want[row.Section] || f.Priorities != "" && !strings.Contains(f.Priorities, row.Priority) {
			continue
		}
		l := line{row: row}
		for _, t := range tests {
			if row.Covers(t.Name) {
				l.tests = append(l.tests, t)
			}
		}
		r.lines = append(r.lines, l)
		r.Rows++
		if len(l.tests) > 0 {
			r.WithTest++
		} else {
			r.Without = append(r.Without, row.ID)
		}
	}
	return r, nil
}

// sections resolves ranges over the sections in the order of the list.
func (f Filter) sections(rows []Row) (map[string]bool, error) {
	var order []string
	at := map[string]int{}
	for _, r := range rows {
		if _, ok := at[r.Section]; !ok {
			at[r.Section] = len(order)
			order = append(order, r.Section)
		}
	}
	want := map[string]bool{}
	if len(f.Sections) == 0 {
		f.Sections = []string{order[0] + "-" + order[len(order)-1]}
	}
	for _, s := range f.Sections {
		first, last, ranged := strings.Cut(s, "-")
		if !ranged {
			last = first
		}
		i, ok := at[first]
		j, ok2 := at[last]
		if !ok || !ok2 || j < i {
			return nil, fmt.Errorf("no section %q; there are %s", s, strings.Join(order, ", "))
		}
		for _, name := range order[i : j+1] {
			want[name] = true
		}
	}
	return want, nil
}

// Print writes a line per row, then the counts by section.
func (r Report) Print(w io.Writer, files bool) {
	type count struct{ rows, with int }
	counts := map[string]*count{}
	var order []string
	for _, l := range r.lines {
		c := counts[l.row.Section]
		if c == nil {
			c = &count{}
			counts[l.row.Section] = c
			order = append(order, l.row.Section)
		}
		c.rows++
		shown := "-"
		if n := len(l.tests); n > 0 {
			c.with++
			shown = l.tests[0].Name
			if n > 1 {
				shown += fmt.Sprintf("  (+%d)", n-1)
			}
		}
		fmt.Fprintf(w, "%-5s %-12s %s  %-46.46s %s\n", l.row.Section, l.row.ID, l.row.Priority, l.row.Source, shown)
		if files {
			for _, t := range l.tests {
				fmt.Fprintf(w, "        %s  %s\n", t.File, t.Name)
			}
		}
	}
	fmt.Fprintln(w)
	for _, s := range order {
		fmt.Fprintf(w, "%-5s %3d rows, %3d with a test\n", s, counts[s].rows, counts[s].with)
	}
}
