package gate

// Bucket is a token bucket on octets (H.248.53 sustainable data rate and maximum burst size). The zero value admits everything.
type Bucket struct {
	rate  int64 // octets per second; 0: no limit
	depth int64 // nano-octets
	fill  int64 // nano-octets
	last  int64 // monotonic ns
}

const second = 1_000_000_000

// NewBucket returns a full bucket. rate: octets per second, 0 admits everything. burst: octets.
func NewBucket(rate, burst uint32) Bucket {
	d := int64(burst) * second
	return Bucket{rate: int64(rate), depth: d, fill: d}
}

// Admit takes n octets at time now, monotonic ns, if the bucket holds them. A refused packet takes nothing.
func (b *Bucket) Admit(now int64, n int) bool {
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
	need := int64(n) * second
	if need > b.fill {
		return false
	}
	b.fill -= need
	return true
}
