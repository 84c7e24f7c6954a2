// Package traces makes what a network does to a stream of packets: which are lost and when the others arrive. Floor 0 of the integration
// module; pure: the same seed gives the same trace.
package traces

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Condition describes a network and the clock of the one who sends.
type Condition struct {
	Name   string
	Loss   float64       // share of packets lost
	Burst  float64       // mean number of packets lost in a row (Gilbert's model); 0: at random
	Jitter time.Duration // each packet is late by an equally distributed time up to this
	Drift  float64       // how much slower than ours the sender's clock runs, parts
}

// Conditions are those of the bench.
func Conditions() []Condition {
	return []Condition{
		{Name: "clean"},
		{Name: "2 % loss", Loss: 0.02},
		{Name: "5 % loss", Loss: 0.05},
		{Name: "10 % loss", Loss: 0.10},
		{Name: "5 % bursts", Loss: 0.05, Burst: 3},
		{Name: "50 ms jitter", Jitter: 50 * time.Millisecond},
		{Name: "5 % + 50 ms", Loss: 0.05, Jitter: 50 * time.Millisecond},
		{Name: "+200 ppm", Drift: 200e-6},
		{Name: "-200 ppm", Drift: -200e-6},
	}
}

// Arrival is a packet that comes through.
type Arrival struct {
	Packet int           // number, from 0
	At     time.Duration // from the time when the first packet left
}

// Make returns the arrivals of n packets, sent every ptime, in order of time.
func (c Condition) Make(seed uint64, n int, ptime time.Duration) []Arrival {
	r := rand.New(rand.NewPCG(seed, 0x7ace))
	var out []Arrival
	bad := false
	for k := range n {
		bad = c.lose(r, bad)
		late := time.Duration(r.Int64N(int64(c.Jitter) + 1))
		if bad {
			continue
		}
		out = append(out, Arrival{k, time.Duration(float64(k)*float64(ptime)*(1+c.Drift)) + late})
	}
	slices.SortStableFunc(out, func(a, b Arrival) int { return int(a.At - b.At) })
	return out
}

// lose decides about the next packet. bad: the one before was lost.
func (c Condition) lose(r *rand.Rand, bad bool) bool {
	v := r.Float64()
	switch {
	case c.Burst <= 1:
		return v < c.Loss
	case bad:
		return v >= 1/c.Burst
	}
	return v < c.Loss/(1-c.Loss)/c.Burst
}
