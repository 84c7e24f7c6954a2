package srtp

import "time"

// ration is how many packets of SSRCs that are not known may fail once one is: 50 per second, in bursts of 50. Each costs memory, which pion takes
// before it looks at the tag, where one of a known SSRC costs none. A new source of the peer's is authentic and spends nothing.
type ration struct {
	worth int64 // ns worth of packets
	at    int64 // when worth was right; 0: never
}

const (
	rationEach  = int64(20e6) // ns between packets
	rationBurst = 50 * rationEach
)

// left reports whether one more may be looked at.
func (r *ration) left(now int64) bool {
	if r.at == 0 {
		r.worth = rationBurst
	} else {
		r.worth = min(rationBurst, r.worth+now-r.at)
	}
	r.at = now
	return r.worth >= rationEach
}

// spend notes that one has failed.
func (r *ration) spend() { r.worth -= rationEach }

var begin = time.Now()

// monotonic is the time since some moment, ns; never 0.
func monotonic() int64 { return int64(time.Since(begin)) + 1 }
