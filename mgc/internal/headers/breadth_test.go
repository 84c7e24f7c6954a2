package headers

import "testing"

func TestR5393_BreadthLeft(t *testing.T) {
	for value, want := range map[string]bool{"": true, "0": false, "00": false, "1": true, "60": true, "10": true, "many": true, "-1": true} {
		m := Msg{Method: "INVITE"}
		if value != "" {
			m.Add("Max-Breadth", value)
		}
		if BreadthLeft(&m) != want {
			t.Errorf("%q: %v", value, !want)
		}
	}
}
