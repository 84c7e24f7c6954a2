//go:build cgo && !noopus && !noamr

package transcodetest

// full: every codec is built.
const full = true
