package rtpua

import (
	"sync"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Recorder is a Sink that keeps the newest samples, at most Max of them (default one minute), and
// meters tones. Its own lock makes it safe to read while a call runs.
type Recorder struct {
	Max   int
	mu    sync.Mutex // guards the fields below
	pcm   []int16
	total uint64
	meter tone.Meter
}

// Write implements tone.Sink.
func (r *Recorder) Write(pcm []int16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.Max
	if limit == 0 {
		limit = 60 * tone.Rate
	}
	r.meter.Write(pcm)
	r.total += uint64(len(pcm))
	r.pcm = append(r.pcm, pcm...)
	if len(r.pcm) > 2*limit { // trimmed rarely, so that appending stays cheap
		r.pcm = r.pcm[:copy(r.pcm, r.pcm[len(r.pcm)-limit:])]
	}
}

// Samples returns a copy of the newest n samples, fewer if fewer were recorded; n <= 0 gives all kept.
func (r *Recorder) Samples(n int) []int16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.pcm
	if n > 0 && len(all) > n {
		all = all[len(all)-n:]
	}
	return append([]int16(nil), all...)
}

// Forget drops the samples kept, not what was metered.
func (r *Recorder) Forget() {
	r.mu.Lock()
	r.pcm = nil
	r.mu.Unlock()
}

// Total counts all samples ever written.
func (r *Recorder) Total() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// Heard gives the tone that sounded longest and for how many seconds, and the newest 200 ms.
func (r *Recorder) Heard() (heard tone.Detection, seconds float64, last tone.Detection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	heard, seconds = r.meter.Heard()
	return heard, seconds, r.meter.Last()
}

// Echo is a Sink and a Source: what is written comes out again. It keeps at most half a second and
// drops the oldest beyond that, so that a clock faster than ours cannot make it lag.
type Echo struct {
	mu  sync.Mutex // guards buf
	buf []int16
}

const echoMax = tone.Rate / 2

// Write implements tone.Sink.
func (e *Echo) Write(pcm []int16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf = append(e.buf, pcm...)
	if over := len(e.buf) - echoMax; over > 0 {
		e.buf = e.buf[:copy(e.buf, e.buf[over:])]
	}
}

// Fill implements tone.Source; it never runs dry, but gives silence while nothing is waiting.
func (e *Echo) Fill(dst []int16) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := copy(dst, e.buf)
	clear(dst[n:])
	e.buf = e.buf[:copy(e.buf, e.buf[n:])]
	return true
}

// Tee writes to both sinks.
type Tee struct{ A, B tone.Sink }

// Write implements tone.Sink.
func (t Tee) Write(pcm []int16) {
	t.A.Write(pcm)
	t.B.Write(pcm)
}
