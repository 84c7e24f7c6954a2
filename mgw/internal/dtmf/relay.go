package dtmf

// Relay rewrites event packets one by one for a peer with another clock. The output timestamp is given by package stamp, which is
// told the press by Out.TS. Use NewRelay.
type Relay struct {
	rx       *Receiver
	from, to uint32 // clocks, Hz
}

// Out is how a relayed packet goes on.
type Out struct {
	TS     uint32 // the same for all packets of one press, in the source's clock
	Marker bool   // first packet of a press that gets through (RFC 4733 §2.3.1)
}

// NewRelay returns a Relay from clock rate from to clock rate to, Hz.
func NewRelay(from, to uint32) *Relay {
	return &Relay{rx: NewReceiver(from), from: from, to: to}
}

// Push rewrites the duration in p.Payload in place, as far as the field goes: a press longer than that stays at its limit.
// Anything but Accepted means: do not send.
func (r *Relay) Push(now int64, p Packet) (Out, Verdict) {
	press, v := r.rx.Push(now, p)
	if v != Accepted {
		return Out{}, v
	}
	b, err := Read(p.Payload)
	if err != nil {
		return Out{}, Malformed
	}
	b.Duration = uint16(min(scale(press.Ticks, r.from, r.to), maxField))
	b.End = b.End || press.Ended
	Put(p.Payload, b)
	return Out{TS: press.TS, Marker: press.First}, Accepted
}

// SameClock reports whether timestamps keep their meaning, so that stamp may treat them as its own.
func (r *Relay) SameClock() bool { return r.from == r.to }

// Poll closes a press whose ends were lost; call it now and then, for Take.
func (r *Relay) Poll(now int64) { r.rx.Poll(now) }

// Take returns the oldest press that is over and was not taken yet.
func (r *Relay) Take() (Detected, bool) { return r.rx.Take() }
