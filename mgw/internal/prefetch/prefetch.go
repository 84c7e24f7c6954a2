// Package prefetch asks the processor to fetch memory that will be needed soon, and does not wait for it. Floor 0. // hot
// Owner: none. Where the processor's instruction for it is not known here, nothing happens.
package prefetch

import "unsafe"

// Line is the length of a cache line as far as it is assumed here, octets; a wrong one costs a little and breaks nothing.
const Line = 64

// Of asks for all of *p, or for its first n octets when that is less. A nil p is no harm.
func Of[T any](p *T, n uintptr) { lines(unsafe.Pointer(p), (min(n, unsafe.Sizeof(*p))+Line-1)/Line) }

// At asks for n octets from p on, whatever is there: nothing is read. A nil p is no harm.
func At(p unsafe.Pointer, n uintptr) { lines(p, (n+Line-1)/Line) }
