//go:build race

package srtp

// raceAllocs is what the race detector itself adds per packet: it makes sync.Pool, which crypto/hmac uses, forget at random.
const raceAllocs = 1
