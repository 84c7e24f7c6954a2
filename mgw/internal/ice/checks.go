package ice

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

const (
	pace     = int64(50e6)       // Ta (RFC 8445 §14.2)
	burst    = 4 * pace          // checks that may leave at once, as Tick comes about every 200 ms
	rto      = int64(500e6)      // RFC 8445 §14.3
	sends    = 7                 // Rc (RFC 8489 §6.2.1)
	lastWait = 16 * rto          // Rm: 39.5 s from the first check to the failure of its pair
	prflx    = uint32(110) << 24 // of PRIORITY in our checks (RFC 8445 §7.1.1)
)

// Tick sends what is due: retransmissions, checks of pairs that wait, a nomination, consent. lost: consent has expired, and is asked for no more until
// the peer checks again. It is to be called about every 200 ms; now is the Mux's clock. False: the agent is closed and needs no more.
func (a *Agent) Tick(now int64, lost bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	if a.full == nil {
		return true
	}
	for _, p := range a.full.pairs {
		if p.state == inProgress && p.due <= now {
			if p.sends == sends {
				a.fail(p)
			} else if a.paced(now) {
				a.transmit(p, now)
			}
		}
	}
	a.ordinary(now)
	a.nominate(now)
	a.askConsent(now, lost)
	return true
}

// paced takes one check out of the pace; false: later.
func (a *Agent) paced(now int64) bool {
	f := a.full
	f.paid = max(f.paid, now-burst)
	if f.paid+pace > now {
		return false
	}
	f.paid += pace
	return true
}

// ordinary checks the pairs that wait, the best first (RFC 8445 §6.1.4.2).
func (a *Agent) ordinary(now int64) {
	for _, p := range a.full.pairs {
		if p.state == pending {
			if !a.paced(now) {
				return
			}
			a.check(p, now, false)
		}
	}
}

// triggered checks a pair on which the peer has just checked (RFC 8445 §7.3.1.4). A check under way is sent again at once instead of being replaced,
// so that its answer counts however long that takes.
func (a *Agent) triggered(p *pair, now int64) {
	switch {
	case p == a.full.selected && a.full.consent.lost && p.state != inProgress: // the peer is back
		a.check(p, now, false)
	case p.valid && (p != a.full.selected || p.state != inProgress):
	case p.state != inProgress:
		a.check(p, now, false)
	case now-p.sentAt >= pace:
		p.sends = min(p.sends, sends-1) // it has not been in vain so far
		a.transmit(p, now)
		p.sends--
	}
}

// nominate chooses a valid pair as the controlling agent (RFC 8445 §8.1.1): the best at once, another when it has waited long enough.
func (a *Agent) nominate(now int64) {
	f := a.full
	if !f.controlling || f.selected != nil || f.nominee != nil {
		return
	}
	for _, p := range f.pairs { // the best first
		switch {
		case p.valid:
			f.nominee = p
			a.check(p, now, true)
			return
		case (p.state == pending || p.state == inProgress) && now-f.validAt < patience:
			return
		}
	}
}

// check begins a check of p.
func (a *Agent) check(p *pair, now int64, use bool) {
	a.end(p, inProgress)
	p.tx, p.use, p.controlling, p.sends = newTransaction(), use, a.full.controlling, 0
	a.cfg.Mux.expect(p.tx, a)
	a.transmit(p, now)
}

// transmit sends the check of p, for the first time or again.
func (a *Agent) transmit(p *pair, now int64) {
	p.sends++
	p.sentAt, p.due = now, now+rto<<(p.sends-1)
	if p.sends == sends {
		p.due = now + lastWait
	}
	a.ask(p.tx, p.Addr, p.controlling, p.use)
}

// end ends the check of p.
func (a *Agent) end(p *pair, s state) {
	if p.state == inProgress {
		a.cfg.Mux.forget(p.tx)
	}
	p.state = s
}

func (a *Agent) fail(p *pair) {
	a.end(p, failed)
	p.valid = false
	if a.full.nominee == p {
		a.full.nominee = nil
	}
}

// ask sends a binding request (RFC 8445 §7.2.4).
func (a *Agent) ask(tx transaction, to netip.AddrPort, controlling, use bool) {
	f := a.full
	b := make([]byte, stunHeader, 160)
	binary.BigEndian.PutUint16(b, bindingRequest)
	binary.BigEndian.PutUint32(b[4:], cookie)
	copy(b[8:], tx[:])
	b = put(b, attrUsername, f.user)
	b = put(b, attrPriority, binary.BigEndian.AppendUint32(nil, prflx|a.local(to)&0xffffff))
	role := uint16(attrControlled)
	if controlling {
		role = attrControlling
	}
	b = put(b, role, binary.BigEndian.AppendUint64(nil, f.tie))
	if use {
		b = put(b, attrUse, nil)
	}
	b = put(b, attrIntegrity, sign(f.mac, b))
	_ = a.cfg.Mux.send(putFingerprint(b), to) // what is lost is sent again
}

// putFingerprint appends FINGERPRINT (RFC 8489 §14.7).
func putFingerprint(b []byte) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-stunHeader+4+fingerprintLen))
	return put(b, attrFingerprint, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)^fingerprintXOR))
}

// response takes the answer to one of our checks (RFC 8445 §7.2.5).
func (a *Agent) response(b []byte, tx transaction, src netip.AddrPort) Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := parseResponse(b)
	if a.closed || a.full == nil || !ok || !authentic(a.full.mac, b, r.integrity) {
		return NotForUs
	}
	if a.consented(tx, src, r) {
		return Delivered
	}
	for _, p := range a.full.pairs {
		if p.state == inProgress && p.tx == tx {
			a.settle(p, src, r)
			return Delivered
		}
	}
	return NotForUs
}

// settle ends the check of p with its response.
func (a *Agent) settle(p *pair, src netip.AddrPort, r response) {
	f, now := a.full, a.cfg.Mux.clock()
	switch {
	case r.code == roleConflict: // RFC 8445 §7.2.5.1
		a.end(p, pending)
		if f.controlling == p.controlling {
			f.tie = tieBreaker()
			a.turn(!p.controlling)
		}
		a.ordinary(now)
		return
	case r.code != 0, src != p.Addr: // §7.2.5.2.1: not symmetric
		a.fail(p)
		return
	}
	a.end(p, succeeded)
	p.valid = true
	if f.validAt == 0 {
		f.validAt = now
	}
	switch {
	case p.use && f.controlling && f.selected == nil:
		a.choose(p)
	case p.asked && !f.controlling:
		p.asked = false
		a.nominated(p)
	}
	f.consent.lost = f.consent.lost && f.selected != p
	a.cfg.Checked(Check{From: src, Nominated: src == a.selected, Priority: p.Priority, Answered: true})
	a.nominate(now)
}
