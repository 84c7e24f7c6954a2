package rtp

// SeqDiff is a minus b in sequence number space, -32768..32767: positive when a is the later one (RFC 1982).
func SeqDiff(a, b uint16) int { return int(int16(a - b)) }

// TSDiff is a minus b in timestamp space, ticks: positive when a is the later one.
func TSDiff(a, b uint32) int { return int(int32(a - b)) }

// Ticks converts a duration in nanoseconds to ticks of a clock of clockRate Hz, rounded down.
// ns up to a day at 192 kHz does not overflow.
func Ticks(ns int64, clockRate uint32) int64 {
	const second = 1_000_000_000
	return ns/second*int64(clockRate) + ns%second*int64(clockRate)/second
}

// Nanos converts ticks of a clock of clockRate Hz to nanoseconds, rounded down; clockRate 0 yields 0.
func Nanos(ticks int64, clockRate uint32) int64 {
	const second = 1_000_000_000
	if clockRate == 0 {
		return 0
	}
	r := int64(clockRate)
	return ticks/r*second + ticks%r*second/r
}
