package jitter

const (
	// The delay histogram: a millisecond each, as a quiet network and the machine behind it may be late, then 5 each up to 240, a little beyond the
	// largest delay.
	fine    = 20
	coarse  = 44
	buckets = fine + coarse

	windowSec  = 2         // length of one of the two windows of the minimum, seconds
	nearlyAll  = 0.985     // share of the packets that the delay saves
	most       = 0.95      // and of those after a lost one, for their redundancy: what is late here costs a concealed packet, and only after a loss
	forgetMin  = 1.0 / 256 // weight of one packet in the long run
	trust      = 16        // packets in time that a new network is thought to have sent before: one that is late at the start is no habit
	lossMemory = 1.0 / 512 // weight of one packet in the loss estimate
	lossFirst  = 0.02      // loss that a new source is thought to have
)

// meter learns how late packets are against the fastest ones. A histogram of the lateness gives the delay that saves all but a few
// percent; the minimum over a sliding window follows clock drift and route changes.
type meter struct {
	clock int64
	limit int64 // largest delay, ticks

	based   bool
	ref     uint32 // transit of the first packet: all others are relative to it
	from    int64  // begin of the current window, arrival ticks
	current int64  // least transit in the current window
	before  int64  // and in the one before

	hist   [buckets]float32
	weight int     // packets counted, up to the long run
	target int64   // delay that saves nearlyAll, ticks
	soon   int64   // and most
	loss   float32 // share of packets missing at their time
}

func (m *meter) init(clock uint32, limit int64) {
	m.clock, m.limit = int64(clock), limit
	m.hist[0] = 1
	m.target, m.soon, m.loss = m.end(0), m.end(0), lossFirst
}

// bucket is the place of a lateness of at least 0 in the histogram, in it or beyond.
func (m *meter) bucket(late int64) int64 {
	if i := late * 1000 / m.clock; i < fine {
		return i
	}
	return fine + (late*1000/m.clock-fine)/5
}

// end is the delay that saves what is in a bucket and those before, ticks.
func (m *meter) end(bucket int64) int64 {
	n := bucket + 1
	if n > fine {
		n = fine + (n-fine)*5
	}
	return n * m.clock / 1000
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

// count puts a lateness into the histogram and derives the delays. What comes later than any delay could save does not count.
func (m *meter) count(late int64) {
	i := m.bucket(max(late, 0))
	if late > m.limit || i >= buckets {
		return
	}
	m.weight = min(m.weight+1, int(1/forgetMin)-trust)
	f := float32(1) / float32(m.weight+trust)
	keep := 1 - f
	var sum float32
	soon, target := int64(0), int64(0)
	for k := range m.hist {
		m.hist[k] *= keep
		if int64(k) == i {
			m.hist[k] += f
		}
		sum += m.hist[k]
		if sum < most {
			soon = int64(k) + 1
		}
		if sum < nearlyAll {
			target = int64(k) + 1
		}
	}
	m.soon, m.target = m.end(min(soon, buckets-1)), m.end(min(target, buckets-1))
}

// outcome takes whether a packet was there at its time.
func (m *meter) outcome(lost bool) {
	m.loss -= m.loss * lossMemory
	if lost {
		m.loss += lossMemory
	}
}
