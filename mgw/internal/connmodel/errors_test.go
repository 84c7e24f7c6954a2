package connmodel

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestErrorTextsStayShortAndValid(t *testing.T) {
	for shift := range 4 { // a cut at each place of a three-byte character
		long := strings.Repeat("x", shift) + strings.Repeat("€", 200)
		if c := Clip(long); len(c) > maxEchoedValue || !utf8.ValidString(c) {
			t.Errorf("clipped to %q", c)
		}
		if e := Errorf(CodeInternal, "%s", long); len(e.Text) > maxErrorText || !utf8.ValidString(e.Text) {
			t.Errorf("text %q", e.Text)
		}
	}
	if Clip("short") != "short" {
		t.Error("a short value was changed")
	}
}
