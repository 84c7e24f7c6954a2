package dtmf

// Player sends presses as fresh packets on the frame clock of an audio stream: growing duration, the end three times, one after
// another. It heals whatever the source's packets suffered. Use NewPlayer.
type Player struct {
	from, to uint32 // clocks, Hz
	queue    [16]tone
	n        int
	lastID   uint32
	now      playing
	dropped  uint64
}

// tone is one press waiting or being played.
type tone struct {
	id     uint32
	code   uint8
	volume uint8
	ticks  uint64 // known duration, ticks of the outgoing clock
	ended  bool
}

// playing is the state of queue[0].
type playing struct {
	on    bool
	ts    uint32 // of the current segment
	past  uint64 // ticks in earlier segments
	ticks uint64 // played in all
	ends  int    // end packets sent
}

// Sound is how a packet of the Player goes out.
type Sound struct {
	TS     uint32 // ticks of the outgoing clock; the same for all packets of a segment
	Marker bool
}

// NewPlayer returns a Player for a source of clock rate from and a peer of clock rate to, Hz.
func NewPlayer(from, to uint32) *Player { return &Player{from: from, to: to} }

// Update takes the state of a press as the Receiver tells it. A press that is followed by another is over.
func (p *Player) Update(press Press) {
	if press.ID == 0 {
		return
	}
	ticks := scale(press.Ticks, p.from, p.to)
	for i := range p.queue[:p.n] {
		t := &p.queue[i]
		switch {
		case t.id == press.ID:
			t.ticks = max(t.ticks, ticks)
			t.ended = t.ended || press.Ended
		default:
			t.ended = t.ended || t.id < press.ID
		}
	}
	if press.ID <= p.lastID {
		return // known, perhaps already played
	}
	p.lastID = press.ID
	if p.n == len(p.queue) {
		p.dropped++
		return
	}
	p.queue[p.n] = tone{id: press.ID, code: press.Code, volume: press.Volume, ticks: ticks, ended: press.Ended}
	p.n++
}

// Active reports whether Next has a packet: the audio of this tick is then to be left out.
func (p *Player) Active() bool { return p.n > 0 }

// Dropped is the number of presses that found the queue full.
func (p *Player) Dropped() uint64 { return p.dropped }

// Next writes the packet of the frame that begins at ts and lasts step ticks to out[:PayloadLen]. Only when Active.
func (p *Player) Next(ts, step uint32, out []byte) (int, Sound) {
	t := &p.queue[0]
	s := Sound{}
	if !p.now.on {
		p.now = playing{on: true, ts: ts}
		s.Marker = true
	}
	b := Block{Code: t.code, Volume: t.volume}
	switch {
	case p.now.ends > 0:
		b.End = true
	case p.now.ticks-p.now.past == maxField:
		// The field is full: the press goes on in another segment (RFC 4733 §2.5.1.3).
		p.now.past += maxField
		p.now.ts += maxField
		b.End = p.grow(t, step)
	default:
		b.End = p.grow(t, step)
	}
	b.Duration = uint16(p.now.ticks - p.now.past)
	s.TS = p.now.ts
	if b.End {
		p.now.ends++
	}
	n := Put(out, b)
	if p.now.ends == endPackets {
		p.pop()
	}
	return n, s
}

// grow plays one more frame of t and reports whether that was the end.
func (p *Player) grow(t *tone, step uint32) bool {
	next := p.now.ticks + uint64(step)
	end := t.ended && next >= t.ticks
	if end {
		next = max(t.ticks, p.now.ticks)
		if next == 0 {
			next = uint64(step) // an end that tells no duration is at least one frame long
		}
	}
	if room := p.now.past + maxField; next > room {
		next, end = room, false
	}
	p.now.ticks = next
	return end
}

// pop ends queue[0].
func (p *Player) pop() {
	copy(p.queue[:], p.queue[1:p.n])
	p.n--
	p.now = playing{}
}
