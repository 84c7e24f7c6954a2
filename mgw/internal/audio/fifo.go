package audio

// fifo holds decoded samples until an output frame is complete. Fixed size; positions move by copying, which is cheap at these lengths.
type fifo struct {
	s []int16
	n int
}

func newFIFO(size int) fifo { return fifo{s: make([]int16, size)} }

// len is the number of samples held.
func (f *fifo) len() int { return f.n }

// reset drops everything.
func (f *fifo) reset() { f.n = 0 }

// put appends pcm; what does not fit is cut, which the caller's loop excludes.
func (f *fifo) put(pcm []int16) { f.n += copy(f.s[f.n:], pcm) }

// take moves len(dst) samples out; the caller made sure that they are there.
func (f *fifo) take(dst []int16) {
	n := copy(dst, f.s[:f.n])
	copy(f.s, f.s[n:f.n])
	f.n -= n
}
