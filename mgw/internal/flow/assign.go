package flow

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// maxBound is how many sources are remembered with their streams. A peer that uses more makes the oldest go, which costs it nothing where packets
// carry the MID.
const maxBound = 2 * MaxStreams

// bound is a source whose stream is known.
type bound struct {
	ssrc uint32
	t    *term
}

// assign finds the stream that a decrypted packet is of (RFC 9143 §9.2): by the MID, which binds its source from then on; by its source; by a
// payload type that one stream alone takes, which binds the source too. Nil: none. b has passed ParseHeader.
func (s *accessState) assign(b []byte) *term {
	p := rtp.Packet(b)
	ssrc := p.SSRC()
	if mid, told := s.mid(p); told {
		t := s.named(mid)
		if t != nil {
			s.bind(ssrc, t)
		}
		return t
	}
	for i := range s.bound {
		if s.bound[i].ssrc == ssrc {
			t := s.bound[i].t
			if i >= MaxStreams { // what is in use stays among the newer ones, and those have not to move for each packet
				s.renew(i)
			}
			return t
		}
	}
	t := s.announced(ssrc)
	if t == nil {
		t = s.alone(p.PT())
	}
	if t != nil {
		s.bind(ssrc, t)
	}
	return t
}

// mid is the MID that the packet carries; told: it carries one. All streams have one identifier for it (RFC 9143 §7.1.3: extmap is bundled alike).
func (s *accessState) mid(p rtp.Packet) (mid []byte, told bool) {
	if !p.HasExtension() {
		return nil, false
	}
	id := s.t.set.MIDExt
	for i := 0; id == 0 && i < len(s.more); i++ {
		id = s.more[i].set.MIDExt
	}
	mid = p.Element(id)
	return mid, len(mid) > 0
}

func (s *accessState) named(mid []byte) *term {
	if string(mid) == s.t.set.MID {
		return s.t
	}
	for _, t := range s.more {
		if string(mid) == t.set.MID {
			return t
		}
	}
	return nil
}

// announced is the stream whose description names the source.
func (s *accessState) announced(ssrc uint32) *term {
	if s.t.set.Source == ssrc && ssrc != 0 {
		return s.t
	}
	for _, t := range s.more {
		if t.set.Source == ssrc && ssrc != 0 {
			return t
		}
	}
	return nil
}

// alone is the one stream that takes a payload type; nil: there is none, or more than one.
func (s *accessState) alone(pt uint8) (only *term) {
	if s.t.in.types[pt] != 0 {
		only = s.t
	}
	for _, t := range s.more {
		if t.in.types[pt] == 0 {
			continue
		}
		if only != nil {
			return nil
		}
		only = t
	}
	return only
}

// bind notes the stream of a source; of those that are remembered the newest is the first.
func (s *accessState) bind(ssrc uint32, t *term) {
	for i := range s.bound {
		if s.bound[i].ssrc == ssrc {
			s.bound[i].t = t
			return
		}
	}
	if len(s.bound) < maxBound {
		s.bound = append(s.bound, bound{})
	}
	s.renew(len(s.bound) - 1)
	s.bound[0] = bound{ssrc: ssrc, t: t}
}

// renew makes the i-th bound source the newest.
func (s *accessState) renew(i int) {
	b := s.bound[i]
	copy(s.bound[1:i+1], s.bound)
	s.bound[0] = b
}

// describe follows the settings that t is given: the tables are those of the newest description (RFC 9143 §9.2).
func (s *accessState) describe(t *term, n *Settings) {
	if t.out.named != "" && n.MID != "" && n.MID != t.out.named {
		s.unbind(t) // another line in the place of the one before
	}
	if n.Source != 0 && n.Source != t.set.Source {
		s.bind(n.Source, t)
	}
}

// unbind forgets the sources of a stream.
func (s *accessState) unbind(t *term) {
	s.bound = slices.DeleteFunc(s.bound, func(x bound) bool { return x.t == t })
}

// controlAll gives a decrypted RTCP datagram to all streams: each takes what is about it.
func (s *accessState) controlAll(now int64, b []byte) {
	if !s.t.control(now, b) {
		return // malformed for all
	}
	if len(s.more) == 0 {
		return
	}
	rtcp.EachMID(b, func(ssrc uint32, mid []byte) {
		if t := s.named(mid); t != nil {
			s.bind(ssrc, t)
		}
	})
	for _, t := range s.more {
		if t.leg != nil {
			t.control(now, b)
		}
	}
}
