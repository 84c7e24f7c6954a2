package codec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrModeSet tells that a mode-set parameter cannot be read; it is wrapped with the reason.
var ErrModeSet = errors.New("codec: bad mode-set")

// Modes is a set of codec modes of AMR or AMR-WB: bit i stands for the mode with frame type index i (RFC 4867 §8.1, §8.2).
type Modes uint16

// All modes of the two codecs.
const (
	AMRModes   Modes = 1<<8 - 1 // 4.75 to 12.2 kbit/s
	AMRWBModes Modes = 1<<9 - 1 // 6.60 to 23.85 kbit/s
)

// Has reports whether mode is in the set.
func (m Modes) Has(mode uint8) bool { return mode < 16 && m>>mode&1 != 0 }

// IsAMR reports whether c is AMR or AMR-WB.
func (c Codec) IsAMR() bool { return c.Is(AMR) || c.Is(AMRWB) }

// ModeSet is the codec modes that c allows: those of its mode-set parameter, all of the codec when it has none; 0 for other codecs.
// Errors: ErrModeSet for an empty list and for what is no mode of the codec.
func (c Codec) ModeSet() (Modes, error) {
	if !c.IsAMR() {
		return 0, nil
	}
	all := AMRModes
	if c.Is(AMRWB) {
		all = AMRWBModes
	}
	list, ok := c.Param("mode-set")
	if !ok {
		return all, nil
	}
	var set Modes
	for item := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(item), 10, 4)
		if err != nil || !all.Has(uint8(n)) {
			return 0, fmt.Errorf("%w: %q is no mode of %s", ErrModeSet, item, c.Name)
		}
		set |= 1 << n
	}
	return set, nil
}

// packing is what decides how frames lie in a payload (RFC 4867 §8.1): crc, robust-sorting and interleaving imply octet alignment.
type packing struct {
	octets, crc, sorted bool
	interleaving        string
}

func (c Codec) packing() packing {
	p := packing{octets: c.flag("octet-align"), crc: c.flag("crc"), sorted: c.flag("robust-sorting")}
	var interleaved bool
	p.interleaving, interleaved = c.Param("interleaving")
	p.octets = p.octets || p.crc || p.sorted || interleaved
	return p
}

// flag reports whether a parameter of the values 0 and 1 is 1.
func (c Codec) flag(key string) bool {
	v, _ := c.Param(key)
	return v == "1"
}

// modesFit reports whether d takes every mode that c's sender may use, and every change between them: a sender that was not told to
// change modes every second frame only, or to the neighbour only, does not do so (RFC 4867 §8.1).
func (c Codec) modesFit(d Codec) bool {
	has, errC := c.ModeSet()
	takes, errD := d.ModeSet()
	if errC != nil || errD != nil || has&^takes != 0 {
		return false
	}
	if has&(has-1) == 0 {
		return true // one mode does not change
	}
	period, _ := d.Param("mode-change-period")
	was, _ := c.Param("mode-change-period")
	return (period != "2" || was == "2") && (!d.flag("mode-change-neighbor") || c.flag("mode-change-neighbor"))
}
