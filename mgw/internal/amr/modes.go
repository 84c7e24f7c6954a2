package amr

import (
	"math/bits"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Modes chooses the codec mode of each frame that we send: what the peer asked for, within its mode-set, changing only where and as far as
// it allows (RFC 4867 §4.3.1 with erratum 4347, §8.1; TS 26.114 §A.2.2). Use NewModes.
type Modes struct {
	codec    Codec
	set      codec.Modes
	period   uint32
	neighbor bool
	own      uint8  // sent when nobody asks for another
	want     uint8  // where the changes lead to
	now      uint8  // of the newest frame
	frame    uint32 // number of the next frame; places for changes are multiples of period
	begun    bool
}

// NewModes starts with the highest mode of p's set that needs no more than bitrate, bit/s, or with its lowest. The peer may ask for a higher one,
// but no mode of the set above most is ever sent as long as the set has one that is not. 0: no limit.
func NewModes(p Params, bitrate, most int) Modes {
	m := Modes{codec: p.Codec, set: p.Modes, period: uint32(max(p.Period, 1)), neighbor: p.Neighbor}
	m.set &= 1<<(m.upTo(m.within(most))+1) - 1
	m.own = m.upTo(m.within(bitrate))
	m.want, m.now = m.own, m.own
	return m
}

// within is the highest mode of the codec that needs no more than bitrate, or the lowest. 0: the highest.
func (m *Modes) within(bitrate int) (mode uint8) {
	for i := range m.codec.SID() {
		if bitrate == 0 || m.codec.Bitrate(i) <= bitrate {
			mode = i
		}
	}
	return mode
}

// upTo is the highest mode of the set that is not above limit, or the lowest.
func (m *Modes) upTo(limit uint8) uint8 {
	if low := m.set & (1<<(limit+1) - 1); low != 0 {
		return uint8(bits.Len16(uint16(low))) - 1
	}
	return uint8(bits.TrailingZeros16(uint16(m.set))) & 15
}

// Request takes a codec mode request of the peer. A speech mode is the highest that it wants from now on; NoRequest leaves the choice to
// us again; other values are ignored (RFC 4867 §4.3.1, erratum 4347).
func (m *Modes) Request(cmr uint8) {
	switch {
	case cmr == NoRequest:
		m.want = m.own
	case m.codec.Speech(cmr):
		m.want = m.upTo(cmr)
	}
}

// Next is the mode of the next frame.
func (m *Modes) Next() uint8 {
	if !m.begun {
		m.begun, m.now = true, m.want // the first frame changes nothing
	}
	if m.now != m.want && m.frame%m.period == 0 {
		m.now = m.step()
	}
	m.frame++
	return m.now
}

// step is the mode that the way to want leads to now.
func (m *Modes) step() uint8 {
	if !m.neighbor {
		return m.want
	}
	next := m.now
	for next != m.want {
		if m.want > m.now {
			next++
		} else {
			next--
		}
		if m.set.Has(next) {
			break
		}
	}
	return next
}

// Skip tells that time for n frames passed in which none was made: the places for changes stay where they are.
func (m *Modes) Skip(n uint32) { m.frame += n }
