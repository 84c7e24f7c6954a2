//go:build !race

package callcore

// sequences of TestRandomCalls.
const sequences = 100_000
