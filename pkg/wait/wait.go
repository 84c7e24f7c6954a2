// Package wait is how tests wait for what other goroutines and processes do: for a condition or a value, with a bound that no healthy machine comes
// near. In a synctest bubble its time is the bubble's.
package wait

import (
	"testing"
	"time"
)

// Limit bounds every wait.
const Limit = 15 * time.Second

// Until asks every few milliseconds whether something holds, and ends the test when it does not within Limit; what tells what was waited for.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.NewTimer(Limit)
	defer late.Stop()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("not within %v: %s", Limit, what)
		}
	}
}

// Receive takes one value from c, and ends the test when none comes within Limit.
func Receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	late := time.NewTimer(Limit)
	defer late.Stop()
	select {
	case v := <-c:
		return v
	case <-late.C:
		t.Fatalf("nothing came within %v", Limit)
		panic("unreachable")
	}
}
