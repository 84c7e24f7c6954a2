package signals

// Clip is an announcement as PCM, mono, at two rates. It is immutable and shared.
type Clip struct {
	narrow []int16 // 8000 Hz
	wide   []int16 // 16000 Hz
}

const (
	narrowRate = 8000
	wideRate   = 16000
)

// Make makes a Clip of mono PCM at rate, Hz: 8000, 16000 or 48000.
func Make(pcm []int16, rate int) *Clip {
	return &Clip{narrow: resample(pcm, rate, narrowRate), wide: resample(pcm, rate, wideRate)}
}

// Bytes is the memory that it takes.
func (c *Clip) Bytes() int { return 2 * (len(c.narrow) + len(c.wide)) }

// length in units of base.
func (c *Clip) length() int64 { return int64(len(c.narrow)) * (base / narrowRate) }

// sample is the one at a position, units of base, for a stream of rate.
func (c *Clip) sample(at int64, rate int) float64 {
	pcm, step := c.wide, int64(base/wideRate)
	if rate == narrowRate {
		pcm, step = c.narrow, int64(base/narrowRate)
	}
	i := at / step
	if i >= int64(len(pcm)) {
		return 0
	}
	v := float64(pcm[i])
	if rest := at % step; rest != 0 && i+1 < int64(len(pcm)) { // rates beyond 16 kHz: a straight line is good enough for speech
		v += (float64(pcm[i+1]) - v) * float64(rest) / float64(step)
	}
	return v
}
