package transcode

import (
	"fmt"
	"math"
)

const (
	halfPairs  = 12              // non-zero taps on each side of the centre
	halfReach  = 2*halfPairs - 1 // samples at the higher rate to each side
	halfShape  = 5.6             // Kaiser window: stop band about 60 dB down from 4.6 kHz at 16 kHz
	maxConvert = 160             // samples at a time; even: what is kept for a stream has room for them
)

// Resampler converts between 8 and 16 kHz with a half-band filter; its delay is 1.4 ms. Use NewResampler.
type Resampler struct {
	up   bool
	taps [halfPairs]int32 // Q15, from the centre outwards; the same on both sides
	x    []int16          // history, then the input of one call
	keep int              // length of the history
}

// NewResampler converts from one rate to the other, Hz. Errors: ErrRate for anything but 8000 and 16000 in some order.
func NewResampler(from, to int) (*Resampler, error) {
	if from+to != 24000 || from != 8000 && from != 16000 {
		return nil, fmt.Errorf("%w: conversion from %d to %d Hz", ErrRate, from, to)
	}
	r := &Resampler{up: to > from, keep: 2 * halfReach}
	if r.up {
		r.keep = 2*halfPairs - 1
	}
	r.design()
	r.x = make([]int16, r.keep+maxConvert)
	return r, nil
}

// design makes a windowed sinc with every second tap zero, normalised to unit gain.
func (r *Resampler) design() {
	var h [halfPairs]float64
	sum := 0.0
	for k := range h {
		n := float64(2*k + 1)
		w := n / (halfReach + 1)
		h[k] = math.Sin(math.Pi*n/2) / (math.Pi * n) * bessel(halfShape*math.Sqrt(1-w*w)) / bessel(halfShape)
		sum += 2 * h[k]
	}
	for k := range h {
		r.taps[k] = int32(math.Round(h[k] / sum * 0.5 * (1 << 15)))
	}
}

// bessel is the modified Bessel function of order zero.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-9*sum; k++ {
		term *= x / 2 / k * x / 2 / k
		sum += term
	}
	return sum
}

// Process converts in, an even number of samples when the rate is halved, into out and returns the number of samples written. out: twice or
// half the length of in. in and out must not overlap.
func (r *Resampler) Process(in, out []int16) int {
	wrote := 0
	for len(in) > 0 {
		n := copy(r.x[r.keep:], in)
		x := r.x[:r.keep+n]
		if r.up {
			wrote += r.double(x, out[wrote:])
		} else {
			wrote += r.halve(x, out[wrote:])
		}
		copy(r.x[:r.keep], x[n:])
		in = in[n:]
	}
	return wrote
}

// halve filters and keeps every second sample.
func (r *Resampler) halve(x, out []int16) int {
	n := (len(x) - r.keep) / 2
	for i := range n {
		c := 2*i + halfReach
		acc := int32(x[c])<<14 + 1<<14
		for k, t := range r.taps {
			acc += t * (int32(x[c-1-2*k]) + int32(x[c+1+2*k]))
		}
		out[i] = int16(sat16(acc >> 15))
	}
	return n
}

// double keeps every sample and puts a filtered one between.
func (r *Resampler) double(x, out []int16) int {
	n := len(x) - r.keep
	for i := range n {
		c := i + halfPairs - 1
		acc := int32(1 << 13)
		for k, t := range r.taps {
			acc += t * (int32(x[c-k]) + int32(x[c+1+k]))
		}
		out[2*i] = x[c]
		out[2*i+1] = int16(sat16(acc >> 14))
	}
	return 2 * n
}

// sat16 limits v to 16 bits.
func sat16(v int32) int32 { return min(max(v, -32768), 32767) }
