// Package specs tells which rows of the conformance list have a test: a test that covers a row carries the row's id in its
// name. Floor 1 of the integration module.
package specs

import (
	"bufio"
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed rows.tsv
var list string

// Row is one requirement of the conformance list.
type Row struct {
	ID       string // e.g. "REG-14", "R7118-1", "R4475/5118"
	Section  string // "A.1" to "A.10" (3GPP, GSMA), "B.1" to "B.3" (RFCs)
	Priority string // "M", "S" or "O"
	Source   string // where the requirement stands
}

// Rows returns the conformance list in its order.
func Rows() ([]Row, error) { return parse(list) }

func parse(text string) ([]Row, error) {
	var rows []Row
	seen := map[string]bool{}
	for n, in := 1, bufio.NewScanner(strings.NewReader(text)); in.Scan(); n++ {
		line := in.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		switch {
		case len(f) != 4:
			return nil, fmt.Errorf("rows.tsv:%d: %d columns, want 4", n, len(f))
		case !strings.Contains("MSO", f[2]) || len(f[2]) != 1:
			return nil, fmt.Errorf("rows.tsv:%d: priority %q, want M, S or O", n, f[2])
		case seen[f[0]]:
			return nil, fmt.Errorf("rows.tsv:%d: row %s stands twice", n, f[0])
		}
		seen[f[0]] = true
		rows = append(rows, Row{ID: f[0], Section: f[1], Priority: f[2], Source: f[3]})
	}
	return rows, nil
}

// numbers finds the RFC numbers of an id such as "R8829/9429".
var numbers = regexp.MustCompile(`\d{4}`)

// spellings returns how the row's id may stand in a name: REG-14 as REG14 (Go identifiers) or REG-14 (texts), R7118-1 as
// R7118_1 or R7118-1, R8829/9429 as R8829 or R9429.
func (r Row) spellings() []string {
	switch {
	case strings.Contains(r.ID, "/"):
		var out []string
		for _, n := range numbers.FindAllString(r.ID, -1) {
			out = append(out, "R"+n)
		}
		return out
	case strings.HasPrefix(r.ID, "R") && numbers.MatchString(r.ID): // R7118-1: without a separator it would be another number
		return []string{r.ID, strings.ReplaceAll(r.ID, "-", "_")}
	}
	return []string{r.ID, strings.ReplaceAll(r.ID, "-", "")}
}

// Covers reports whether a test's name carries the row's id.
func (r Row) Covers(name string) bool {
	for _, s := range r.spellings() {
		for from := 0; ; {
			i := strings.Index(name[from:], s)
			if i < 0 {
				break
			}
			i += from
			if begins(name[:i]) && ends(name[i+len(s):]) {
				return true
			}
			from = i + 1
		}
	}
	return false
}

// begins reports whether an id may begin after before: at a word's start, or after Test and its like.
func begins(before string) bool {
	if before == "" {
		return true
	}
	for _, p := range []string{"Test", "Fuzz", "Benchmark"} {
		if before == p {
			return true
		}
	}
	c := before[len(before)-1]
	return !isAlnum(c)
}

// ends reports whether an id may end before after: not inside a number, and not where a sub-number follows (R7118_1 is not R7118).
func ends(after string) bool {
	if after == "" {
		return true
	}
	switch c := after[0]; {
	case c >= '0' && c <= '9', c >= 'a' && c <= 'z':
		return false
	case c == '_' || c == '-':
		return len(after) < 2 || after[1] < '0' || after[1] > '9'
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
