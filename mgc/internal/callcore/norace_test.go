//go:build !race

package callcore

// sequences of TestRandomCalls.
const sequences = 12_000
