package audio

// fifo holds decoded samples until an output frame is complete. Positions move by copying, which is cheap at these lengths. Its memory grows with
// what it has to hold, up to most samples.
type fifo struct {
	s    []int16
	n    int
	most int
}

func newFIFO(size int) fifo { return fifo{most: size} }

// grow makes place for n samples in all, and for half as many more: what a change of length needs comes later.
func (f *fifo) grow(n int) {
	if n = min(n, f.most); n > len(f.s) {
		s := make([]int16, min(n+n/2, f.most))
		copy(s, f.s[:f.n])
		f.s = s
	}
}

// len is the number of samples held.
func (f *fifo) len() int { return f.n }

// reset drops everything, memory too.
func (f *fifo) reset() { f.s, f.n = nil, 0 }

// put appends pcm; what does not fit is cut, which the caller's loop excludes.
func (f *fifo) put(pcm []int16) {
	f.grow(f.n + len(pcm))
	f.n += copy(f.s[f.n:], pcm)
}

// take moves len(dst) samples out; the caller made sure that they are there.
func (f *fifo) take(dst []int16) {
	n := copy(dst, f.s[:f.n])
	copy(f.s, f.s[n:f.n])
	f.n -= n
}
