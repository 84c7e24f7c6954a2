//go:build !race

package flow

// raceAllocs is what the race detector itself adds per packet.
const raceAllocs = 0
