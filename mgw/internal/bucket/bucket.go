// Package bucket is the token bucket of the media plane: policing of received octets (H.248.53), and rations of what strangers may cost. Floor 0.
// Owner: whoever holds the value.
package bucket

// Bucket holds tokens, octets or packets, and fills at a steady rate. The zero value admits everything.
type Bucket struct {
	rate  int64 // tokens per second; 0: no limit
	depth int64 // nano-tokens
	fill  int64 // nano-tokens
	last  int64 // monotonic ns
}

const second = 1_000_000_000

// New returns a full bucket. rate: tokens per second, 0 admits everything. burst: tokens.
func New(rate, burst uint32) Bucket {
	d := int64(burst) * second
	return Bucket{rate: int64(rate), depth: d, fill: d}
}

// Admit takes n tokens at time now, monotonic ns, if the bucket holds them. What is refused takes nothing.
func (b *Bucket) Admit(now int64, n int) bool {
	if !b.Holds(now, n) {
		return false
	}
	b.Take(n)
	return true
}

// Holds reports whether n tokens are there at time now, monotonic ns.
func (b *Bucket) Holds(now int64, n int) bool {
	if b.rate == 0 {
		return true
	}
	if b.last == 0 {
		b.last = now
	}
	if dt := now - b.last; dt > 0 {
		b.last = now
		// Comparing by division avoids the overflow of a long pause.
		if room := b.depth - b.fill; dt >= room/b.rate {
			b.fill = b.depth
		} else {
			b.fill += dt * b.rate
		}
	}
	return int64(n)*second <= b.fill
}

// Take takes n tokens that Holds has just reported.
func (b *Bucket) Take(n int) {
	if b.rate != 0 {
		b.fill -= int64(n) * second
	}
}
