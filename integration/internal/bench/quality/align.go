package quality

import (
	"math"
	"slices"
)

const (
	block    = 2560 // samples that are aligned at once: 320 ms, as long as a short word
	step     = block / 2
	reach    = 400  // how far from where the loudness says a block is looked for, samples
	clearer  = 0.03 // a place must be so much better than the one of the block before
	likeness = 0.3  // least correlation of a block that is found at all
)

// alignment says where the blocks of clean are in got: block k, from k*step on, at k*step+lag[k].
type alignment struct{ lag []int }

// align finds them: roughly by how the loudness moves over longer pieces, then by the waveform. Blocks of pauses and what is not found again
// keep the lag before.
func align(clean, got []float64) alignment {
	a := alignment{}
	rough := roughly(clean, got)
	loud := 0.0
	for from := 0; from+block <= len(clean); from += step {
		loud = max(loud, energy(clean[from:from+block]))
	}
	at := rough[0]
	for from := 0; from+block <= len(clean); from += step {
		if energy(clean[from:from+block]) > loud/1e4 {
			there := correlation(clean, got, from, block, at, 1)
			near := rough[min((from+block/2)/move, len(rough)-1)]
			if lag, like := find(clean, got, from, block, near-reach, near+reach); like > likeness && like > there+clearer {
				at = lag
			}
		}
		a.lag = append(a.lag, at)
	}
	return a
}

const (
	hop   = rate / 100 // of the loudness, samples: 10 ms
	piece = 140        // hops that are compared at once
	move  = 20 * hop   // samples from one piece to the next
	span  = 150        // hops by which got may be early or late at most
	stray = 0.0015     // what a hop of change costs of the correlation
)

// roughly is the lag of each move samples of clean, found by the loudness around it, samples.
func roughly(clean, got []float64) []int {
	a, b := loudness10(clean), loudness10(got)
	n := max(1, len(clean)/move)
	out := make([]int, n)
	last := 0
	for k := range out {
		from := min(max(0, k*move/hop+move/hop/2-piece/2), max(0, len(a)-piece))
		best := math.Inf(-1)
		for lag := -span; lag <= span; lag++ {
			v := alike(a, b, from, lag)
			if k > 0 {
				v -= stray * math.Abs(float64(lag-last))
			}
			if v > best {
				best, out[k] = v, lag
			}
		}
		last = out[k]
		out[k] *= hop
	}
	return out
}

// loudness10 is the level of each hop, dB above a floor under which everything is silence.
func loudness10(x []float64) []float64 {
	out := make([]float64, len(x)/hop)
	for i := range out {
		out[i] = max(0, 10*math.Log10(energy(x[i*hop:(i+1)*hop])/hop+1)-20)
	}
	return out
}

// alike is the correlation of a piece of a from from on with b at the lag; beyond its ends b is silent.
func alike(a, b []float64, from, lag int) float64 {
	var sa, sb, saa, sbb, sab, n float64
	for i := from; i < min(from+piece, len(a)); i++ {
		x, y := a[i], 0.0
		if k := i + lag; k >= 0 && k < len(b) {
			y = b[k]
		}
		sa, sb, saa, sbb, sab, n = sa+x, sb+y, saa+x*x, sbb+y*y, sab+x*y, n+1
	}
	va, vb := saa-sa*sa/n, sbb-sb*sb/n
	if va <= n || vb <= n {
		return 0
	}
	return (sab - sa*sb/n) / math.Sqrt(va*vb)
}

// at is the lag of a sample of clean.
func (a alignment) at(i int) int {
	if len(a.lag) == 0 {
		return 0
	}
	return a.lag[min(max(0, (i-step/2)/step), len(a.lag)-1)]
}

// usual is the median lag.
func (a alignment) usual() int {
	l := slices.Sorted(slices.Values(a.lag))
	if len(l) == 0 {
		return 0
	}
	return l[len(l)/2]
}

// apply lays got out along clean, blocks fading into each other.
func (a alignment) apply(got []float64, n int) []float64 {
	out := make([]float64, n)
	for k, lag := range a.lag {
		for i := range block {
			to := k*step + i
			from := to + lag
			if to < n && from >= 0 && from < len(got) {
				w := 0.5 - 0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/block)
				if k == 0 && i < step || k == len(a.lag)-1 && i >= step {
					w = 1
				}
				out[to] += w * got[from]
			}
		}
	}
	return out
}

// find is the lag, from lo to hi, at which n samples of clean from from on are most like got, and how much.
func find(clean, got []float64, from, n, lo, hi int) (lag int, like float64) {
	best := math.Inf(-1)
	for l := lo; l <= hi; l += 2 {
		if v := correlation(clean, got, from, n, l, 3); v > best {
			best, lag = v, l
		}
	}
	best, mid := math.Inf(-1), lag
	for l := mid - 2; l <= mid+2; l++ {
		if v := correlation(clean, got, from, n, l, 1); v > best {
			best, lag = v, l
		}
	}
	return lag, best
}

// correlation of n samples of clean from from on, one in stride, with those of got at the lag; samples beyond got are silence.
func correlation(clean, got []float64, from, n, lag, stride int) float64 {
	var cross, ea, eb float64
	for i := from; i < from+n; i += stride {
		x, y := clean[i], 0.0
		if k := i + lag; k >= 0 && k < len(got) {
			y = got[k]
		}
		cross, ea, eb = cross+x*y, ea+x*x, eb+y*y
	}
	if ea < 1 || eb < 1 {
		return 0
	}
	return cross / math.Sqrt(ea*eb)
}

func energy(x []float64) (sum float64) {
	for _, v := range x {
		sum += v * v
	}
	return sum
}
