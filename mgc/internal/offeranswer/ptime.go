package offeranswer

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// usualPtime is the length of packets that we ask for, ms.
const usualPtime = 20

// tellLongest has our description on side say what the other side's peer takes at most: what is relayed to it is as long as it came.
func (m *Media) tellLongest(side Side) {
	l, other := m.Line(side), m.Line(side.Other())
	for i := range m.Streams() {
		if i > len(l.More) {
			return
		}
		s := l.streamAt(i)
		s.Longest = other.streamAt(i).MaxPtime
		l.setStream(i, s)
	}
}

// packets is what we say of the length of packets to us, ms (RFC 8866 §6.4, §6.5); longest 0: nothing. No codec is asked for less than it has.
func (s *Stream) packets() (ptime, longest uint32) {
	if s.Longest == 0 {
		return usualPtime, 0
	}
	least := uint32(10)
	if slices.ContainsFunc(s.Ours, codec.Codec.IsAMR) {
		least = 20
	}
	longest = max(s.Longest, least)
	return min(usualPtime, longest), longest
}
