// Package race tells tests whether the race detector runs with them. It makes arithmetic ten times slower and finds next to nothing there, and it
// allocates: such tests do less with it, and integration/scripts/test.sh runs those once more without. It finds them by the use of this package in the
// function Test... itself.
package race

import "testing"

// Slow skips a test under the race detector.
func Slow(t testing.TB) {
	t.Helper()
	if Enabled {
		t.Skip("nearly all of it is arithmetic: it runs without the race detector")
	}
}

// Fewer is n, or less under the race detector.
func Fewer(n, less int) int {
	if Enabled {
		return less
	}
	return n
}

// Allocs is how many allocations a step may have that has none of its own: the detector makes sync.Pool forget at random.
func Allocs(n float64) float64 {
	if Enabled {
		return n
	}
	return 0
}
