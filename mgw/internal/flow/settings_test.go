package flow

import (
	"testing"
	"time"
)

func TestRFC8866_6_4_PtimeIsWhatCanBeMadeAndIsNotLonger(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{0: 10, 5: 10, 10: 10, 19: 10, 20: 20, 30: 20, 40: 40, 50: 40, 60: 60, 200: 60} {
		got := Ptime(asked * time.Millisecond)
		if got != want*time.Millisecond {
			t.Errorf("%d ms: %v, want %d ms", asked, got, want)
		}
		if err := (&Settings{Ptime: got}).check(); err != nil {
			t.Error(err)
		}
	}
}
