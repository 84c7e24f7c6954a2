package jitter

const (
	buckets    = 48  // of the delay histogram: 240 ms, a little beyond the largest delay
	bucketRate = 200 // buckets per second: 5 ms each
	windowSec  = 2   // length of one of the two windows of the minimum, seconds
	quantile   = 0.985
	forgetMin  = 1.0 / 256 // weight of one packet in the long run
	lossMemory = 1.0 / 512 // weight of one packet in the loss estimate
	lossFirst  = 0.02      // loss that a new source is thought to have
)

// meter learns how late packets are against the fastest ones. A histogram of the lateness gives the delay that saves all but a few
// percent; the minimum over a sliding window follows clock drift and route changes.
type meter struct {
	clock  int64
	bucket int64 // ticks per bucket
	most   int64 // largest delay, ticks

	based   bool
	ref     uint32 // transit of the first packet: all others are relative to it
	from    int64  // begin of the current window, arrival ticks
	current int64  // least transit in the current window
	before  int64  // and in the one before

	hist   [buckets]float32
	weight int     // packets counted, up to the long run
	target int64   // ticks
	loss   float32 // share of packets missing at their time
}

func (m *meter) init(clock uint32, most int64) {
	m.clock, m.bucket, m.most = int64(clock), int64(clock)/bucketRate, most
	m.target, m.loss = m.bucket, lossFirst
}

// rebase starts the minimum anew, for another source; the histogram stays.
func (m *meter) rebase() { m.based = false }

// transit is the relative transit time of ts at arrival, ticks.
func (m *meter) transit(arrival int64, ts uint32) int64 {
	return int64(int32(uint32(arrival) - ts - m.ref))
}

// base is the transit of the fastest packet lately.
func (m *meter) base() int64 { return min(m.current, m.before) }

// lateness is how long after the fastest packet's schedule ts would be played (or arrives) at time at, ticks; 0 without a base.
func (m *meter) lateness(at int64, ts uint32) int64 {
	if !m.based {
		return 0
	}
	return m.transit(at, ts) - m.base()
}

// due is the timestamp of a packet that arrives at that time as early as the fastest ones.
func (m *meter) due(arrival int64) uint32 {
	return uint32(arrival) - m.ref - uint32(m.base())
}

// add takes one arrival.
func (m *meter) add(arrival int64, ts uint32) {
	if !m.based {
		m.based, m.ref, m.from = true, uint32(arrival)-ts, arrival
		m.current, m.before = 0, 0
	}
	t := m.transit(arrival, ts)
	if arrival-m.from > windowSec*m.clock {
		m.before, m.current, m.from = m.current, t, arrival
	}
	m.current = min(m.current, t)
	m.count(t - m.base())
}

// count puts a lateness into the histogram and derives the target. What comes later than any delay could save does not count.
func (m *meter) count(late int64) {
	if late > m.most || late >= buckets*m.bucket {
		return
	}
	m.weight = min(m.weight+1, int(1/forgetMin))
	f := float32(1) / float32(m.weight)
	i := min(max(late/m.bucket, 0), buckets-1)
	var sum float32
	q := int64(-1)
	for k := range m.hist {
		m.hist[k] -= m.hist[k] * f
		if int64(k) == i {
			m.hist[k] += f
		}
		sum += m.hist[k]
		if q < 0 && sum >= quantile {
			q = int64(k)
		}
	}
	if q < 0 {
		q = buckets - 1
	}
	m.target = (q + 1) * m.bucket
}

// outcome takes whether a packet was there at its time.
func (m *meter) outcome(lost bool) {
	m.loss -= m.loss * lossMemory
	if lost {
		m.loss += lossMemory
	}
}
