package flow

import "github.com/isthmus-gateway/isthmus/mgw/internal/gate"

// control takes a plaintext RTCP datagram of the peer; false: it is malformed.
func (t *term) control(now int64, b []byte) bool {
	if t.leg == nil {
		t.in.drops.Count(gate.PayloadType)
		return true
	}
	info, err := t.leg.Handle(now-t.w.waited, b)
	if err != nil {
		t.in.drops.Count(gate.Malformed)
		return false
	}
	if t.set.RTCPIsMedia && t.in.open && !info.Others {
		t.in.heard = now
		t.lively()
	}
	if info.Reported {
		t.out.mid = nil // the peer knows which stream this is
		if t.partner != nil {
			t.partner.to.setLoss(t.leg.RemoteLoss())
		}
	}
	return true
}

// report sends the RTCP report that is due. bye: the last one.
func (t *term) report(now int64, bye bool) {
	o, way := &t.out, &t.out
	if t.component2 != nil {
		way = &t.component2.out
	}
	if t.leg == nil || t.set.RTCPOff || way.rtcp.addr.IsZero() && way.stream == nil || way.secure && way.tx == nil || !way.consent {
		return
	}
	ts, _ := o.stamp.Now(now)
	if t.leg.WantsPlayout() {
		t.leg.SetPlayout(t.playout())
	}
	buf := t.w.buffer()
	n := 0
	if bye {
		n = t.leg.BuildBye(now, ts, buf)
	} else {
		n = t.leg.Build(now, ts, buf)
	}
	b := buf[:n]
	if way.tx != nil {
		var err error
		if b, err = way.tx.ProtectRTCP(b); err != nil {
			return
		}
	}
	if way.stream != nil {
		t.w.stream(way.stream, b)
		return
	}
	t.w.queue(way.rtcp.sock, &way.rtcp.addr, b, o.tos)
}
