package flow

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// drop counts a refusal and yields nothing to send.
func (t *term) drop(r gate.Reason) []byte {
	t.in.drops.Count(r)
	return nil
}

// media takes a plaintext RTP packet of the peer through gate and flow, in place. It returns what leaves towards the partner, nil when
// nothing does. b: a buffer with srtp.Overhead bytes of spare capacity.
func (t *term) media(now int64, b []byte) []byte {
	p, err := rtp.Parse(b)
	if err != nil {
		return t.drop(gate.Malformed)
	}
	i := t.in.types[p.PT()]
	if i == 0 {
		return t.drop(gate.PayloadType)
	}
	f := &t.in.formats[i-1]
	size := len(b)
	p = p.Plain()
	if t.leg.Received(now-t.w.waited, rtcp.Arrival{SSRC: p.SSRC(), Seq: p.Seq(), TS: p.TS(), Payload: len(p) - rtp.HeaderLen, Event: f.class == classEvent}) {
		_, g := t.figures()
		t.leg.SetDiscarded(g.late)
	}
	if !t.in.open {
		return t.drop(gate.Mode)
	}
	if !t.in.police.Admit(now, size) {
		return t.drop(gate.Policed)
	}
	t.admitted(now, f, len(p)-rtp.HeaderLen)
	if f.class == classEvent {
		t.press(now, f, p)
	}
	if t.to == nil {
		return t.drop(gate.NoPartner)
	}
	return t.to.pass(now, p, i-1)
}

func (t *term) admitted(now int64, f *format, payload int) {
	t.in.packets++
	t.in.octets += uint64(payload)
	t.in.heard = now
	t.in.last = f
	if !t.in.started {
		t.in.started = true
		t.emit(Event{Kind: MediaStarted})
	}
	t.lively()
}

// lively ends the silence of the peer.
func (t *term) lively() {
	if t.in.silent {
		t.in.silent = false
		t.emit(Event{Kind: MediaActive})
	}
}

// press follows telephone events for Notify.
func (t *term) press(now int64, f *format, p rtp.Packet) {
	f.keys.Push(now, dtmf.Packet{SSRC: p.SSRC(), TS: p.TS(), Marker: p.Marker(), Payload: p.Payload()})
	t.pressed(f)
}

func (t *term) pressed(f *format) {
	for d, ok := f.keys.Take(); ok; d, ok = f.keys.Take() {
		t.digit(d)
	}
}

// digit reports a press that is over; where digits are listened to, it ends the signals (H.248.1 §7.1.11).
func (t *term) digit(d dtmf.Detected) {
	t.emit(Event{Kind: DTMF, Digit: d.Digit, Duration: d.Duration})
	if t.sound != nil && t.set.Armed&DTMF.Bit() != 0 {
		t.sound.player.Interrupt()
		t.sound.wake(t.w.now)
	}
}

// listens reports whether keys are looked for in the peer's audio: not where it has telephone events. That we would take them does not tell that
// it has: an answer without them means that none will come (RFC 3264 §6.1).
func (t *term) listens() bool {
	if !t.set.DetectTones {
		return false
	}
	if !t.set.Send.IsZero() && t.set.SendDTMF.IsZero() {
		return true
	}
	for i := range t.in.formats {
		if t.in.formats[i].class == classEvent {
			return false
		}
	}
	return true
}

// refusal says why nothing can be sent to the peer now; gate.Pass when something can.
func (t *term) refusal() gate.Reason {
	if !t.out.open {
		return gate.Mode
	}
	return t.unreachable()
}

// unreachable is refusal whatever the mode is.
func (t *term) unreachable() gate.Reason {
	o := &t.out
	switch {
	case o.addr.IsZero() && o.stream == nil || o.secure && o.tx == nil:
		return gate.NoRemote
	case !o.consent:
		return gate.Consent
	}
	return gate.Pass
}

// seal protects and counts a stamped packet; nil when its key refuses it, which the partner's drops tell.
func (t *term) seal(p rtp.Packet) []byte {
	o := &t.out
	n := len(p) - rtp.HeaderLen
	if o.mid != nil {
		p = o.withMID(p)
	}
	b := []byte(p)
	if o.tx != nil {
		var err error
		if b, err = o.tx.ProtectRTP(p); err != nil {
			if t.partner != nil {
				t.partner.in.drops.Count(gate.Duplicate)
			}
			return nil
		}
	}
	o.packets++
	o.octets += uint64(n)
	t.leg.Sent(n)
	o.sent = t.w.now
	if o.silent {
		o.silent = false
		t.emit(Event{Kind: MediaActive, Out: true})
	}
	return b
}
