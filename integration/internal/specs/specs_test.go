package specs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestListParses(t *testing.T) {
	rows, err := Rows()
	if err != nil || len(rows) < 200 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, bad := range []string{"REG-01\tA.2\tM", "REG-01\tA.2\tX\ty", "A-1\tA.1\tM\tx\nA-1\tA.1\tM\tx"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		id, test string
		want     bool
	}{
		{"REG-14", "TestREG01_REG14_DigestPasses", true},
		{"REG-14", "TestREG140_Other", false},
		{"REG-14", "REG-14 path is added", true},
		{"REG-1", "REG-14 path is added", false},
		{"IQ-09", "TestIQ09HangingContext", true},
		{"IQ-09", "TestMIQ09", false},
		{"R7118-1", "TestR7118_1_Subprotocol", true},
		{"R7118-1", "TestR7118_10", false},
		{"R4733", "TestR4733_Keys", true},
		{"R3327", "TestR3327_1_Keys", false},
		{"R8829/9429", "TestR9429_Answers", true},
		{"R4475/5118", "TestR4475", true},
		{"R4475/5118", "TestRFC4475", false},
	} {
		if got := (Row{ID: c.id}).Covers(c.test); got != c.want {
			t.Errorf("%s in %q: %v", c.id, c.test, got)
		}
	}
}

func TestScanAndReport(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a_test.go", "package a\nimport \"testing\"\nfunc TestREG01_X(t *testing.T) { t.Run(\"REG-15 y\", nil); _ = \"a text on REG-16\" }\n"+
		"var table = []struct{ name string }{{name: \"MO-18 hold\"}}\nvar other = []any{both(\"MT-05_extension\", nil), scenario{\"MO12_MT06_Calls\", nil}, t.Errorf(\"MT-07: wrong %d\", 1)}\nfunc helperREG17() {}\n")
	write("b.mjs", "await step('MT-01 incoming', async () => {})\n// step REG-18\n")
	tests, err := Scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := Rows()
	r, err := Make(rows, tests, Filter{Sections: []string{"A.2-A.4"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"REG-01", "REG-15", "MO-12", "MO-18", "MT-01", "MT-05", "MT-06"} {
		if slices.Contains(r.Without, id) {
			t.Errorf("%s has a test", id)
		}
	}
	if r.WithTest != 7 || r.Rows != r.WithTest+len(r.Without) {
		t.Errorf("%d of %d rows, without %v", r.WithTest, r.Rows, r.Without)
	}
	var b bytes.Buffer
	r.Print(&b, true)
	if !strings.Contains(b.String(), "a_test.go:3") {
		t.Errorf("no place in:\n%s", b.String())
	}
	if _, err := Make(rows, tests, Filter{Sections: []string{"Z.1"}}); err == nil {
		t.Error("section Z.1 was taken")
	}
	write("c_test.go", "package broken {")
	if _, err := Scan(dir); err == nil {
		t.Error("a broken file was passed over")
	}
}
