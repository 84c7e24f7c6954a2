package load

import (
	"testing"
	"time"
)

func TestTimetableIsInOrderOfTimeAndOfTheScripts(t *testing.T) {
	at := func(ms int, n int) Sending { return Sending{At: time.Duration(ms) * time.Millisecond, Number: n} }
	all := timetable([]Script{{Up: {at(0, 0), at(45, 2), at(50, 1)}}, {Up: {at(0, 0)}, Down: {at(10, 0), at(45, 1)}}})
	want := []struct {
		ms, call, number int
		way              Direction
	}{{0, 0, 0, Up}, {0, 1, 0, Up}, {10, 1, 0, Down}, {45, 0, 2, Up}, {45, 1, 1, Down}, {50, 0, 1, Up}}
	if len(all) != len(want) {
		t.Fatalf("%d departures", len(all))
	}
	for i, w := range want {
		if d := all[i]; d.At != time.Duration(w.ms)*time.Millisecond || d.call != w.call || d.Number != w.number || d.way != w.way {
			t.Errorf("departure %d: %+v, want %+v", i, d, w)
		}
	}
}

func TestReplayWantsAScriptForEachCall(t *testing.T) {
	f := &Fleet{calls: make([]*call, 2)}
	if _, _, err := f.Replay(make([]Script, 1), 0); err == nil {
		t.Error("one script for two calls was taken")
	}
}
