//go:build !cgo || noopus || noamr

package transcodetest

// full is false: this build lacks codecs.
const full = false
