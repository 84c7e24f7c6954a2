package offeranswer

import (
	"strings"

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
	longest = s.Longest
	for _, c := range s.Ours {
		longest = max(longest, frameOf(c))
	}
	return min(usualPtime, longest), longest
}

// frameOf is the shortest packet of a codec, ms.
func frameOf(c codec.Codec) uint32 {
	switch {
	case c.Is("iLBC") && !strings.Contains(c.Fmtp, "mode=20"): // RFC 3952 §3.2
		return 30
	case c.IsAMR(), listed([]string{codec.EVS, "iLBC", "GSM", "speex"}, c):
		return 20
	}
	return 10
}
