package transcode

// concealer hides lost frames of waveform codecs: it repeats the last pitch period, fades it out, and joins the first good frame to
// the repetition by an overlap. In the manner of G.711 Appendix I; own design, any rate.
type concealer struct {
	rate    int
	hist    []int16 // newest samples last, histMS long
	period  int     // samples of the pitch cycle being repeated
	phase   int     // position in that cycle
	lost    int     // samples concealed since the last good one
	offset  int     // step between the last good sample and the repetition, worn off at its start
	blanked bool    // nothing was ever decoded
}

const (
	histMS    = 40 // history kept, ms: two of the longest periods and a correlation window
	minPeriod = 2  // ms
	maxPeriod = 15 // ms
	corrMS    = 15 // length of the correlation window, ms
	holdMS    = 20 // full level, ms; fading after that
	fadeMS    = 60 // from full level to silence, ms
	joinMS    = 5  // overlap into the first good frame, ms
	seamMS    = 2  // overlap inside the repeated cycle, ms
)

// newConcealer returns a concealer for PCM of rate Hz.
func newConcealer(rate int) concealer {
	return concealer{rate: rate, hist: make([]int16, rate*histMS/1000), blanked: true}
}

// good takes decoded audio: it smooths the seam to a preceding concealment in pcm and remembers the rest.
func (c *concealer) good(pcm []int16) {
	if c.lost > 0 {
		c.join(pcm)
		c.lost = 0
	}
	c.blanked = false
	c.remember(pcm)
}

// conceal fills pcm with the continuation of the last good audio.
func (c *concealer) conceal(pcm []int16) {
	if c.blanked {
		clear(pcm)
		return
	}
	if c.lost == 0 {
		c.period, c.phase = c.pitch(), 0
		c.offset = int(c.hist[len(c.hist)-1]) - int(c.hist[len(c.hist)-1-c.period])
	}
	for i := range pcm {
		pcm[i] = c.sample()
	}
}

// sample is the next sample of the repetition at its level.
func (c *concealer) sample() int16 {
	v := int(c.cycle(c.phase)) * c.level() >> 15
	if n := c.rate * seamMS / 1000; c.lost < n {
		v = min(max(v+c.offset*(n-c.lost)/n, -32768), 32767)
	}
	c.phase++
	if c.phase == c.period {
		c.phase = 0
	}
	c.lost++
	return int16(v)
}

// cycle is sample i of the last period; its end is blended into the samples before its start, so that repeating it has no edge.
func (c *concealer) cycle(i int) int16 {
	n := len(c.hist)
	v := int(c.hist[n-c.period+i])
	seam := min(c.rate*seamMS/1000, c.period/2)
	if k := i - (c.period - seam); k >= 0 {
		before := int(c.hist[n-2*c.period+i])
		v = (v*(seam-k) + before*k) / seam
	}
	return int16(v)
}

// level is the gain after the samples already concealed, 0..32768.
func (c *concealer) level() int {
	past := c.lost - c.rate*holdMS/1000
	if past <= 0 {
		return 1 << 15
	}
	fade := c.rate * fadeMS / 1000
	return max(0, fade-past) << 15 / fade
}

// join cross-fades the continuation into the start of a good frame.
func (c *concealer) join(pcm []int16) {
	n := min(c.rate*joinMS/1000, len(pcm))
	for i := range n {
		old := int(c.sample())
		pcm[i] = int16((old*(n-i) + int(pcm[i])*i) / n)
	}
}

// remember appends pcm to the history.
func (c *concealer) remember(pcm []int16) {
	if len(pcm) >= len(c.hist) {
		copy(c.hist, pcm[len(pcm)-len(c.hist):])
		return
	}
	copy(c.hist, c.hist[len(pcm):])
	copy(c.hist[len(c.hist)-len(pcm):], pcm)
}

// pitch is the lag at which the newest audio repeats itself best, samples: normalised correlation, coarse then fine.
func (c *concealer) pitch() int {
	lo, hi, win := c.rate*minPeriod/1000, c.rate*maxPeriod/1000, c.rate*corrMS/1000
	hi = min(hi, len(c.hist)-win)
	step := c.rate / 8000
	best, at := -1.0, hi
	for lag := lo; lag <= hi; lag += 2 * step {
		if v := c.similarity(lag, win, 2); v > best {
			best, at = v, lag
		}
	}
	from, to := max(lo, at-2*step), min(hi, at+2*step)
	best = -1
	for lag := from; lag <= to; lag++ {
		if v := c.similarity(lag, win, 1); v > best {
			best, at = v, lag
		}
	}
	return at
}

// similarity is the squared normalised correlation of the last win samples with those lag before, negative when they oppose.
func (c *concealer) similarity(lag, win, stride int) float64 {
	n := len(c.hist)
	var cross, energy int64 = 0, 1
	for i := n - win; i < n; i += stride {
		a, b := int64(c.hist[i]), int64(c.hist[i-lag])
		cross += a * b
		energy += b * b
	}
	v := float64(cross) * float64(cross) / float64(energy)
	if cross < 0 {
		return -v
	}
	return v
}
