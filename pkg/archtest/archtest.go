// Package archtest checks a module's floors: each internal package stands on a floor and imports only from lower ones.
// Floor 1 of pkg; used by tests only.
package archtest

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Floors is a module's import policy as data.
type Floors struct {
	Module  string              // module path; packages below are relative to it
	Floor   map[string]int      // "internal/flow" -> floor
	Allow   map[string][]string // exceptions "from" -> ["to"], each argued in an ADR
	Foreign map[string][]string // imports forbidden to a package ("*": to all); "x/..." includes what is below x
}

// Violations lists what breaks the policy: a package without a floor, and an import that does not go down. Empty: none.
// It runs "go list" in dir.
func (f Floors) Violations(dir string) ([]string, error) {
	cmd := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var bad []string
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.Contains(words[0], "/node_modules/") { // npm packages may hold Go files
			continue
		}
		bad = append(bad, f.check(words[0], words[1:])...)
	}
	slices.Sort(bad)
	return bad, nil
}

// check applies the policy to one package.
func (f Floors) check(pkg string, imports []string) []string {
	name := strings.TrimPrefix(strings.TrimPrefix(pkg, f.Module), "/")
	floor, ok := f.Floor[name]
	if !ok {
		return []string{fmt.Sprintf("%s stands on no floor: add it to the table", name)}
	}
	var bad []string
	for _, imp := range imports {
		for _, foreign := range append(f.Foreign["*"], f.Foreign[name]...) {
			if below, all := strings.CutSuffix(foreign, "/..."); imp == below || (all && strings.HasPrefix(imp, below+"/")) {
				bad = append(bad, fmt.Sprintf("%s must not import %s", name, imp))
			}
		}
		rel, inside := strings.CutPrefix(imp, f.Module+"/")
		if !inside || slices.Contains(f.Allow[name], rel) {
			continue
		}
		if to, ok := f.Floor[rel]; ok && to >= floor {
			bad = append(bad, fmt.Sprintf("%s (floor %d) must not import %s (floor %d)", name, floor, rel, to))
		}
	}
	return bad
}
