package estoi

import (
	"math"
	"math/cmplx"
)

// transform is an FFT of one size, a power of two: the roots of unity that it needs.
type transform struct{ twiddles []complex128 }

func newTransform(size int) transform {
	t := transform{make([]complex128, size/2)}
	for i := range t.twiddles {
		t.twiddles[i] = cmplx.Rect(1, -2*math.Pi*float64(i)/float64(size))
	}
	return t
}

func (t transform) size() int { return 2 * len(t.twiddles) }

// run transforms a in place: radix 2, decimation in time.
func (t transform) run(a []complex128) {
	size := t.size()
	for i, j := 1, 0; i < size; i++ {
		bit := size >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		j ^= bit
		if i < j {
			a[i], a[j] = a[j], a[i]
		}
	}
	for part := 2; part <= size; part <<= 1 {
		half, stride := part/2, size/part
		for from := 0; from < size; from += part {
			for k := range half {
				u, v := a[from+k], a[from+k+half]*t.twiddles[k*stride]
				a[from+k], a[from+k+half] = u+v, u-v
			}
		}
	}
}
