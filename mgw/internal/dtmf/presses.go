package dtmf

// presses are the presses that wait to be played, the one that is being played first.
type presses struct {
	from, to uint32 // clocks, Hz
	queue    [16]tone
	n        int
	lastID   uint32
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

// Update takes the state of a press as the Receiver tells it. A press that is followed by another is over.
func (p *presses) Update(press Press) {
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

// Active reports whether a press is being played or waits: the audio of this tick is then to be left out.
func (p *presses) Active() bool { return p.n > 0 }

// Dropped is the number of presses that found the queue full.
func (p *presses) Dropped() uint64 { return p.dropped }

// pop ends queue[0].
func (p *presses) pop() {
	copy(p.queue[:], p.queue[1:p.n])
	p.n--
}
