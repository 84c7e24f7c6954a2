//go:build race

package callcore

// sequences of TestRandomCalls under the race detector, which makes reviving a state ten times slower.
const sequences = 2_000
