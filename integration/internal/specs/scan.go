package specs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Test is a test by name.
type Test struct {
	Name string // function, or the text of a sub-test or step
	File string // path from the scanned root, with line
}

// Scan finds the tests below root: Go test functions, constant names of Go sub-tests (the first argument of Run, a field of a table
// called name, a map key, or any text that begins like "MT-01_", "MT01_" or "MT-01 "), and step names of browser scripts. Errors:
// of reading or parsing a file.
func Scan(root string) ([]Test, error) {
	var tests []Test
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		var found []Test
		switch {
		case strings.HasSuffix(path, "_test.go"):
			found, err = scanGo(path, rel)
		case strings.HasSuffix(path, ".mjs"):
			found, err = scanScript(path, rel)
		}
		tests = append(tests, found...)
		return err
	})
	return tests, err
}

func scanGo(path, rel string) ([]Test, error) {
	files := token.NewFileSet()
	tree, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var tests []Test
	add := func(name string, at token.Pos) {
		tests = append(tests, Test{Name: name, File: fmt.Sprintf("%s:%d", rel, files.Position(at).Line)})
	}
	text := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				add(s, l.Pos())
			}
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && isTest(n.Name.Name) {
				add(n.Name.Name, n.Pos())
			}
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Run" && len(n.Args) == 2 {
				text(n.Args[0])
			}
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && named.MatchString(s) {
				add(s, n.Pos())
			}
		case *ast.KeyValueExpr:
			if k, ok := n.Key.(*ast.Ident); ok && strings.EqualFold(k.Name, "name") {
				text(n.Value)
			}
			text(n.Key)
		}
		return true
	})
	return tests, nil
}

// named matches the text of a sub-test that is named after a row in either spelling, and no message about one ("MT-07: ...").
var named = regexp.MustCompile(`^(?:[A-Z]{2,4}-?\d+|R\d{4}(?:[-_]\d)?)[_ ]\w[^:%]*$`)

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Benchmark")
}

// step finds step('name', ...) of browser scripts.
var step = regexp.MustCompile(`\b(?:step|test|it)\(\s*['"\x60]([^'"\x60]+)['"\x60]`)

func scanScript(path, rel string) ([]Test, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var tests []Test
	for _, m := range step.FindAllSubmatchIndex(raw, -1) {
		line := 1 + strings.Count(string(raw[:m[0]]), "\n")
		tests = append(tests, Test{Name: string(raw[m[2]:m[3]]), File: fmt.Sprintf("%s:%d", rel, line)})
	}
	return tests, nil
}
