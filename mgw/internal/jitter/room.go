package jitter

// The buffer's memory. Most sources never have more than a few packets waiting, of some 100 bytes each: it grows by doubling up to its bounds.

// place is the slot for a sequence number. It is in use where packets lie slots apart or more, and by a packet of the same number.
func (b *Buffer) place(seq uint16) *slot {
	for {
		if n := len(b.slot); n > 0 {
			if s := &b.slot[int(seq)%n]; !s.used || s.seq == seq || n == slots {
				return s
			}
		}
		old := b.slot
		b.slot = make([]slot, max(firstSlots, 2*len(old)))
		for _, s := range old {
			if s.used {
				b.slot[int(s.seq)%len(b.slot)] = s
			}
		}
	}
}

// reserve finds n bytes in one piece of the arena and drops the packets whose payload stood there, once the arena is as large as it may be.
func (b *Buffer) reserve(n int) uint64 {
	for !b.fits(n) && len(b.arena) < arenaSize {
		b.enlarge()
	}
	size := uint64(len(b.arena))
	if room := size - b.head%size; room < uint64(n) {
		b.head += room
	}
	at := b.head
	b.head += uint64(n)
	if b.head-b.tail > size {
		b.tail = b.head
		for i := range b.slot {
			s := &b.slot[i]
			switch {
			case !s.used:
			case b.head-s.at > size:
				b.drop(s)
				b.stats.Skipped++
			case s.at < b.tail:
				b.tail = s.at
			}
		}
		b.tail = min(b.tail, at)
	}
	return at
}

// fits reports whether n bytes in one piece are free.
func (b *Buffer) fits(n int) bool {
	size := uint64(len(b.arena))
	if size == 0 {
		return false
	}
	end := b.head + uint64(n)
	if room := size - b.head%size; room < uint64(n) {
		end += room
	}
	if end-b.tail <= size {
		return true
	}
	b.tail = b.head
	for i := range b.slot {
		if s := &b.slot[i]; s.used {
			b.tail = min(b.tail, s.at)
		}
	}
	return end-b.tail <= size
}

// enlarge doubles the arena. Payloads keep the order in which they came.
func (b *Buffer) enlarge() {
	arena, head := make([]byte, max(firstArena, 2*len(b.arena))), uint64(0)
	var at [slots]uint64 // where each goes
	for from := uint64(0); ; {
		next := -1
		for i := range b.slot {
			if s := &b.slot[i]; s.used && s.at >= from && (next < 0 || s.at < b.slot[next].at) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		s := &b.slot[next]
		from, at[next] = s.at+1, head
		head += uint64(copy(arena[head:], b.payload(s)))
	}
	for i := range b.slot {
		b.slot[i].at = at[i]
	}
	b.arena, b.head, b.tail = arena, head, 0
}

// Release gives the memory for packets back while none waits, as when the source pauses; the next one begins with little again.
func (b *Buffer) Release() {
	if b.count == 0 {
		b.slot, b.arena, b.head, b.tail = nil, nil, 0, 0
	}
}
