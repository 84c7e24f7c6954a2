package srtp

// source is what is known of one SSRC under one key: the highest index, of 48 bits, and what of those below it has come. The zero value is a source that has
// sent nothing.
type source struct {
	index  uint64
	window [ReplayWindow / 64]uint64 // bit i of word k: index-64k-i has come
	ssrc   uint32
	known  bool
}

const indexEnd = 1 << 48 // RFC 3711 §3.3.1

// guess is the index of a packet with a sequence number: the one nearest to the highest (RFC 3711 §3.3.1, appendix A), never before the first rollover
// period. indexEnd and above: the key is used up.
func (s *source) guess(seq uint16) uint64 {
	if !s.known {
		return uint64(seq)
	}
	const half, period = 1 << 15, 1 << 16
	at, highest := s.index&^uint64(period-1)|uint64(seq), uint16(s.index)
	switch {
	case highest < half && int(seq)-int(highest) > half && at >= period:
		return at - period
	case highest >= half && int(highest)-half > int(seq):
		return at + period
	}
	return at
}

// replayed reports whether a packet of this index has come, or is too old to tell (RFC 3711 §3.3.2).
func (s *source) replayed(index uint64) bool {
	if !s.known || index > s.index {
		return false
	}
	back := s.index - index
	return back >= ReplayWindow || s.window[back/64]>>(back%64)&1 != 0
}

// accept notes that the packet of an index has come and is authentic.
func (s *source) accept(index uint64) {
	switch {
	case !s.known:
		s.known, s.index, s.window = true, index, [ReplayWindow / 64]uint64{1}
	case index > s.index:
		s.shift(index - s.index)
		s.window[0] |= 1
		s.index = index
	default:
		back := s.index - index
		s.window[back/64] |= 1 << (back % 64)
	}
}

func (s *source) shift(n uint64) {
	if n >= 64 {
		s.window[1], s.window[0] = s.window[0], 0
		n -= 64 // a shift of 64 or more empties a word
	}
	s.window[1] = s.window[1]<<n | s.window[0]>>(64-n)
	s.window[0] <<= n
}

// sources are those of one key, the newest apart: nearly always it is the one that sends.
type sources struct {
	newest source // not known: none has been added
	others []source
}

func (s *sources) len() int {
	if !s.newest.known {
		return 0
	}
	return 1 + len(s.others)
}

// take makes a known source the newest; false: it is not known.
func (s *sources) take(ssrc uint32) bool {
	if s.newest.ssrc == ssrc && s.newest.known {
		return true
	}
	for i := range s.others {
		if s.others[i].ssrc == ssrc {
			s.newest, s.others[i] = s.others[i], s.newest
			return true
		}
	}
	return false
}

// add makes x the newest. It allocates now and then.
func (s *sources) add(x source) {
	if s.newest.known {
		s.others = append(s.others, s.newest)
	}
	s.newest = x
}
