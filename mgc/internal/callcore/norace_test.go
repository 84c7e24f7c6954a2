//go:build !race

package callcore

// sequences of TestRandomCalls.
const sequences = 100_000

// everyStored says which sequences store their state as JSON before each event; the others copy what JSON keeps.
const everyStored = 4
