//go:build !cgo

package transcode

// Outside is 0: nothing is outside Go's heap.
func Outside() int { return 0 }
