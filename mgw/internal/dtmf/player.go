package dtmf

// Player sends presses as fresh packets on the frame clock of an audio stream: growing duration, the end three times, one after
// another. It heals whatever the source's packets suffered. Use NewPlayer.
type Player struct {
	presses
	now playing
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
func NewPlayer(from, to uint32) *Player { return &Player{presses: presses{from: from, to: to}} }

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
	p.presses.pop()
	p.now = playing{}
}
