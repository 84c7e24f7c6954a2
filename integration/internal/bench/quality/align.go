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

// alignment says where each frame of clean is in got: frame k, from k*frame on, at k*frame+lag[k].
type alignment struct{ lag []int }

// align finds them: roughly by how the loudness moves over longer pieces, then blocks by the waveform, then frames near where the blocks around
// them are, so that a piece left out or put in within a block costs no more than itself.
func align(clean, got []float64) alignment {
	blocks := alignBlocks(clean, got)
	a := alignment{lag: make([]int, (len(clean)+frame-1)/frame)}
	at := blocks[0]
	for k := range a.lag {
		from := min(max(0, k*frame+frame/2-around/2), max(0, len(clean)-around))
		b := min(k*frame/step, len(blocks)-1)
		best, like := at, correlation(clean, got, from, min(around, len(clean)), at, 1)+firmer
		for _, near := range blocks[max(0, b-2):min(b+3, len(blocks))] {
			for _, lag := range [...]int{near, near - frame, near + frame} {
				if v := correlation(clean, got, from, min(around, len(clean)), lag, 1); v > like {
					best, like = lag, v
				}
			}
		}
		at = best
		a.lag[k] = at
	}
	return a
}

const (
	around = 4 * frame // samples by which a frame is aligned
	firmer = 0.1       // a place must be so much better than the one of the frame before
)

// alignBlocks is the lag of each block. Blocks of pauses and what is not found again keep the lag before.
func alignBlocks(clean, got []float64) (lags []int) {
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
		lags = append(lags, at)
	}
	if len(lags) == 0 {
		lags = []int{at}
	}
	return lags
}

const (
	hop   = rate / 100 // of the loudness, samples: 10 ms
	piece = 140        // hops that are compared at once
	move  = 20 * hop   // samples from one piece to the next
	early = 250        // hops by which got may be early: one who loses every fifth packet and does not say so is 2 s early after 10 s
	late  = 60         // and late
	stray = 0.004      // what a hop of change between two pieces costs of their correlation
)

// roughly is the lag of each move samples of clean, found by the loudness around it, samples: the path that is best as a whole.
func roughly(clean, got []float64) []int {
	a, b := loudness10(clean), loudness10(got)
	n := max(1, len(clean)/move)
	const lags = early + late + 1
	var best [lags]float64 // of the paths that end in each lag
	from := make([][lags]int16, n)
	for l := range best {
		best[l] = -stray / 4 * math.Abs(float64(l-early))
	}
	for k := range n {
		var next [lags]float64
		begin := min(max(0, k*move/hop+move/hop/2-piece/2), max(0, len(a)-piece))
		for l := range next {
			next[l] = math.Inf(-1)
			for m := range best {
				if v := best[m] - stray*math.Abs(float64(l-m)); v > next[l] {
					next[l], from[k][l] = v, int16(m)
				}
			}
			next[l] += alike(a, b, begin, l-early)
		}
		best = next
	}
	out := make([]int, n)
	l := 0
	for m, v := range best {
		if v > best[l] {
			l = m
		}
	}
	for k := n - 1; k >= 0; k-- {
		out[k] = (l - early) * hop
		l = int(from[k][l])
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
	return a.lag[min(max(0, i/frame), len(a.lag)-1)]
}

// usual is the median lag.
func (a alignment) usual() int {
	l := slices.Sorted(slices.Values(a.lag))
	if len(l) == 0 {
		return 0
	}
	return l[len(l)/2]
}

// apply lays got out along clean of n samples, frames fading into each other where the lag changes. wide: both have so many times rate.
func (a alignment) apply(got []float64, n, wide int) []float64 {
	out := make([]float64, n)
	sample := func(i int) float64 {
		if i < 0 || i >= len(got) {
			return 0
		}
		return got[i]
	}
	for i := range out {
		k := min(i/(frame*wide), len(a.lag)-1)
		out[i] = sample(i + a.lag[k]*wide)
		if d := i - k*frame*wide; k > 0 && a.lag[k] != a.lag[k-1] && d < seam*wide {
			w := (float64(d) + 0.5) / float64(seam*wide)
			out[i] = w*out[i] + (1-w)*sample(i+a.lag[k-1]*wide)
		}
	}
	return out
}

// seam is the length of a fade, samples.
const seam = frame / 4

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
