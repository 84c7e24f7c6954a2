//go:build race

package callcore

// sequences of TestRandomCalls under the race detector, which is ten times slower and has little to find in a core without goroutines.
const sequences = 5_000

// everyStored: see norace_test.go.
const everyStored = 16
