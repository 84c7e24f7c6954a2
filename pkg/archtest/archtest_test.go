package archtest

import "testing"

func TestCheckSeesEachKindOfBreach(t *testing.T) {
	f := Floors{
		Module:  "m",
		Floor:   map[string]int{"low": 0, "mid": 1, "mid2": 1, "top": 2},
		Allow:   map[string][]string{"mid2": {"mid"}},
		Foreign: map[string][]string{"*": {"other/mgw/..."}, "low": {"net"}},
	}
	cases := []struct {
		pkg     string
		imports []string
		bad     int
	}{
		{"m/top", []string{"m/low", "m/mid", "fmt"}, 0},
		{"m/low", []string{"m/top"}, 1},
		{"m/mid", []string{"m/mid2"}, 1},
		{"m/mid2", []string{"m/mid"}, 0},
		{"m/new", nil, 1},
		{"m/top", []string{"other/mgw/x"}, 1},
		{"m/low", []string{"net", "net/http", "netx"}, 1},
	}
	for _, c := range cases {
		if got := f.check(c.pkg, c.imports); len(got) != c.bad {
			t.Errorf("%s %v: %v", c.pkg, c.imports, got)
		}
	}
}
