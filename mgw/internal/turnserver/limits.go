package turnserver

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// slots is the size of the table of rates: sources that fall on one slot share it, and the table never grows.
const slots = 4096

// rates bounds requests per source with memory that no number of sources changes. Safe for concurrent use.
type rates struct {
	rate, burst float64
	seed        maphash.Seed

	mu    sync.Mutex // guards table; held for a few nanoseconds
	table [slots]struct {
		tokens float64
		at     time.Time
	}
}

func newRates(perSecond int) *rates {
	return &rates{rate: float64(perSecond), burst: 4 * float64(perSecond), seed: maphash.MakeSeed()}
}

func (r *rates) take(now time.Time, src netip.Addr) bool {
	s := &r.table[maphash.Comparable(r.seed, source(src))%slots]
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.at.IsZero() {
		s.tokens = r.burst
	} else {
		s.tokens = min(r.burst, s.tokens+r.rate*now.Sub(s.at).Seconds())
	}
	s.at = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// police bounds the bit rate of one direction of an allocation; half a second of it may come at once. Owner: whoever moves packets that way.
type police struct {
	rate, burst, tokens float64 // bytes per second, bytes, bytes
	at                  time.Time
}

func newPolice(bitsPerSecond int, now time.Time) police {
	b := float64(bitsPerSecond) / 8
	return police{rate: b, burst: max(b/2, maxMessage), tokens: max(b/2, maxMessage), at: now}
}

func (p *police) take(now time.Time, n int) bool {
	p.tokens = min(p.burst, p.tokens+p.rate*now.Sub(p.at).Seconds())
	p.at = now
	if p.tokens < float64(n) {
		return false
	}
	p.tokens -= float64(n)
	return true
}

// counts counts by key and forgets keys at zero, so that it holds no more keys than there are things counted.
type counts[K comparable] map[K]int

func (c counts[K]) add(k K) { c[k]++ }

func (c counts[K]) drop(k K) {
	if c[k]--; c[k] <= 0 {
		delete(c, k)
	}
}
