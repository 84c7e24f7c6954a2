package ice

// ration is how many checks from addresses that have not authenticated one agent looks at: 100 per second, in bursts of 200. A browser sends
// one per 50 ms and pair while it connects (RFC 8445 §14.2). The zero value is ready.
type ration struct {
	left int64 // ns worth of checks
	at   int64 // when left was right; 0: never
}

const (
	rationEach  = int64(10e6) // ns between checks
	rationBurst = 200 * rationEach
)

// take reports whether one more may be looked at.
func (r *ration) take(now int64) bool {
	if r.at == 0 {
		r.left = rationBurst
	} else {
		r.left = min(rationBurst, r.left+now-r.at)
	}
	r.at = now
	if r.left < rationEach {
		return false
	}
	r.left -= rationEach
	return true
}
