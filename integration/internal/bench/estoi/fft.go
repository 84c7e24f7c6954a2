package estoi

import (
	"math"
	"math/cmplx"
)

const fftSize = 512

// twiddles are the roots of unity that fft needs; never written after start.
var twiddles = func() (w [fftSize / 2]complex128) {
	for i := range w {
		w[i] = cmplx.Rect(1, -2*math.Pi*float64(i)/fftSize)
	}
	return w
}()

// fft transforms a in place: radix 2, decimation in time.
func fft(a *[fftSize]complex128) {
	for i, j := 1, 0; i < fftSize; i++ {
		bit := fftSize >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		j ^= bit
		if i < j {
			a[i], a[j] = a[j], a[i]
		}
	}
	for size := 2; size <= fftSize; size <<= 1 {
		half, stride := size/2, fftSize/size
		for from := 0; from < fftSize; from += size {
			for k := range half {
				u, v := a[from+k], a[from+k+half]*twiddles[k*stride]
				a[from+k], a[from+k+half] = u+v, u-v
			}
		}
	}
}
