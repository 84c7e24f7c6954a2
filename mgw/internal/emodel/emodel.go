// Package emodel estimates how a call sounds from what RTP and RTCP tell (ITU-T G.107). Floor 0; pure functions, no goroutine.
//
//	R = 93.2 - Id(delay) - Ie,eff(codec, loss)      MOS = 1..4.5 by annex B
//
// All other inputs of the model - noise, echo, side tone - are at its defaults: a gateway knows nothing of rooms and telephones. Wideband
// codecs are put on the narrow-band scale, where they lose nothing by themselves; what they gain is not counted.
package emodel

import (
	"math"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// defaultR is the rating without delay, loss and coding, all parameters at their defaults (G.107 §7.7).
const defaultR = 93.2

// Quality of one direction.
type Quality struct {
	Codec codec.Codec
	Loss  float64       // share of packets that were not played, 0..1: lost or too late, not repaired
	Delay time.Duration // one way, mouth to ear as far as it is known
	Burst float64       // burst ratio (G.107 §7.3); 0 means 1, losses at random
}

// R is the transmission rating, 0..100 (G.107 §7).
func (q Quality) R() float64 {
	return min(max(defaultR-delayImpairment(q.Delay)-q.lossImpairment(), 0), 100)
}

// MOS is the estimated mean opinion score, 1..4.5 (G.107 annex B).
func (q Quality) MOS() float64 {
	r := q.R()
	return max(1, 1+0.035*r+r*(r-60)*(100-r)*7e-6)
}

// delayImpairment is Idd: too long a delay even with perfect echo control; nothing up to 100 ms (G.107 §7.4, equation 7-27).
func delayImpairment(d time.Duration) float64 {
	ms := float64(d) / float64(time.Millisecond)
	if ms <= 100 {
		return 0
	}
	x := math.Log2(ms / 100)
	return 25 * (math.Pow(1+math.Pow(x, 6), 1./6) - 3*math.Pow(1+math.Pow(x/3, 6), 1./6) + 2)
}

// lossImpairment is Ie,eff (G.107 §7.5, equation 7-29).
func (q Quality) lossImpairment() float64 {
	c := robustnessOf(q.Codec)
	percent := 100 * min(max(q.Loss, 0), 1)
	if percent == 0 {
		return c.ie
	}
	burst := q.Burst
	if burst <= 0 {
		burst = 1
	}
	return c.ie + (95-c.ie)*percent/(percent/burst+c.bpl)
}
