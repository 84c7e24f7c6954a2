package amr

import (
	"fmt"
	"strconv"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Params are the format parameters of one AMR or AMR-WB payload type (RFC 4867 §8.1, §8.2).
type Params struct {
	Format
	Modes    codec.Modes // that may be sent
	Period   uint8       // frames between two places where the mode may change, 1 or 2
	Neighbor bool        // only to the next mode of the set
	// Capability is 2 when the one who said so can keep to Period 2, else 1.
	Capability uint8
	// MaxRed is the longest time between a frame and its repetition, ms; -1: no limit was told.
	MaxRed int
}

// ParseParams reads the parameters of c. Unknown ones are ignored. Errors: ErrParam for a value that is not allowed, ErrOption for crc,
// robust-sorting, interleaving and several channels; both name parameter and value.
func ParseParams(c codec.Codec) (Params, error) {
	p := Params{Period: 1, Capability: 1, MaxRed: -1}
	switch {
	case c.Is(codec.AMRWB):
		p.Codec = Wide
	case !c.Is(codec.AMR):
		return Params{}, fmt.Errorf("%w: %s is not AMR", ErrParam, c.Name)
	}
	if c.ClockRate != p.Codec.ClockRate() {
		return Params{}, fmt.Errorf("%w: %s at %d Hz", ErrParam, c.Name, c.ClockRate)
	}
	if c.ChannelCount() != 1 {
		return Params{}, fmt.Errorf("%w: %d channels", ErrOption, c.ChannelCount())
	}
	if _, ok := c.Param("interleaving"); ok {
		return Params{}, fmt.Errorf("%w: interleaving", ErrOption)
	}
	var err error
	if p.Modes, err = c.ModeSet(); err != nil {
		return Params{}, fmt.Errorf("%w: %w", ErrParam, err)
	}
	r := reader{c: c}
	p.OctetAligned = r.choice("octet-align", 0, 1) == 1
	p.Period = uint8(r.choice("mode-change-period", 1, 2))
	p.Capability = uint8(r.choice("mode-change-capability", 1, 2))
	p.Neighbor = r.choice("mode-change-neighbor", 0, 1) == 1
	for _, key := range [2]string{"crc", "robust-sorting"} {
		if r.choice(key, 0, 1) == 1 && r.err == nil {
			r.err = fmt.Errorf("%w: %s", ErrOption, key)
		}
	}
	if v, ok := c.Param("max-red"); ok {
		p.MaxRed = r.number("max-red", v, 65535)
	}
	return p, r.err
}

// reader reads parameters and keeps the first error.
type reader struct {
	c   codec.Codec
	err error
}

// choice is the value of a parameter that is lo when absent, and lo or hi.
func (r *reader) choice(key string, lo, hi int) int {
	v, ok := r.c.Param(key)
	if !ok {
		return lo
	}
	n := r.number(key, v, hi)
	if n < lo && r.err == nil {
		r.err = fmt.Errorf("%w: %s=%q", ErrParam, key, v)
	}
	return n
}

func (r *reader) number(key, v string, limit int) int {
	n, err := strconv.Atoi(v)
	if (err != nil || n < 0 || n > limit) && r.err == nil {
		r.err = fmt.Errorf("%w: %s=%q", ErrParam, key, v)
	}
	return n
}
