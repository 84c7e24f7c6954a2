package rtcp

import (
	"encoding/binary"
	"time"
)

// Extended reports (RFC 3611): the VoIP metrics of what we receive, and the round trip of a leg that sends nothing.
const (
	blockRRT  = 4 // receiver reference time (§4.4)
	blockDLRR = 5 // delay since the last of those (§4.5)
	blockVoIP = 7 // §4.7

	xrHead  = headLen + 4
	rrtLen  = 4 + 8
	dlrrLen = 4 + 12
	voipLen = 4 + 32
	xrMax   = xrHead + rrtLen + dlrrLen + voipLen

	// Unavailable stands for a level, rating or score that is not known (RFC 3611 §4.7.4, §4.7.5).
	Unavailable = 127
)

// VoIP is a VoIP metrics block on the stream of SSRC (RFC 3611 §4.7), each field in the unit that it has there.
type VoIP struct {
	SSRC                         uint32
	LossRate, DiscardRate        uint8  // 256ths
	BurstDensity, GapDensity     uint8  // 256ths
	BurstDuration, GapDuration   uint16 // ms
	RoundTrip, EndSystemDelay    uint16 // ms
	SignalLevel, NoiseLevel      int8   // dBm0; Unavailable
	RERL                         uint8  // dB; Unavailable
	Gmin                         uint8  // packets
	R, ExtR                      uint8  // 0..100; Unavailable
	MOSLQ, MOSCQ                 uint8  // tenths; Unavailable
	RXConfig                     uint8
	JBNominal, JBMaximum, JBMost uint16 // ms
}

// Receiver configurations (RFC 3611 §4.7.6).
const (
	RXUnspecified = 0           // nothing is played here: relayed
	RXPlayout     = 2<<6 | 3<<4 // enhanced concealment, adaptive jitter buffer
)

// Playout is what a VoIP metrics block tells of the end that plays, or decodes, the stream. The zero value: nobody does here.
type Playout struct {
	Discarded              uint64        // packets that came too late, of all sources since New
	Delay                  time.Duration // in this end
	Nominal, Maximum, Most time.Duration // of the jitter buffer: now, as it may become now, as it ever may
	R, MOSLQ, MOSCQ        float64       // rating 0..100, scores 1..5; 0: not known
	Config                 uint8         // RX...
}

// SetXR says which extended reports the peer has agreed to: VoIP metrics, and reference times of receivers.
func (l *Leg) SetXR(metrics, reference bool) { l.xr.metrics, l.xr.reference = metrics, reference }

// WantsPlayout reports whether the next report holds VoIP metrics, for which SetPlayout has to be called.
func (l *Leg) WantsPlayout() bool { return l.xr.metrics && l.in.known }

// SetPlayout tells the figures of the next report.
func (l *Leg) SetPlayout(p Playout) { l.xr.playout = p }

// SetDiscarded tells what Playout.Discarded was when the present source began: the discard rate is of this source (RFC 3611 §4.7.1).
func (l *Leg) SetDiscarded(before uint64) { l.xr.before = before }

// extended is the state of extended reports.
type extended struct {
	metrics, reference bool
	playout            Playout
	before             uint64 // of playout.Discarded: packets of sources before this one
	lrr                uint32 // middle of the peer's newest reference time; 0: none
	lrrAt              int64  // when it came, ns
	lrrOf              uint32 // who sent it
	peer               VoIP   // the peer's newest block on our stream
	told               bool   // there was one
}

// extend writes the XR packet that is due after a report; 0 when there is none. receiver: that report is an RR.
func (l *Leg) extend(now int64, receiver bool, out []byte) int {
	n := xrHead
	if l.xr.reference && receiver {
		putBlock(out[n:], blockRRT, rrtLen)
		binary.BigEndian.PutUint64(out[n+4:], l.ntp(now))
		n += rrtLen
	}
	if l.xr.reference && l.xr.lrr != 0 {
		putBlock(out[n:], blockDLRR, dlrrLen)
		binary.BigEndian.PutUint32(out[n+4:], l.xr.lrrOf)
		binary.BigEndian.PutUint32(out[n+8:], l.xr.lrr)
		binary.BigEndian.PutUint32(out[n+12:], shortNTP(now-l.xr.lrrAt))
		n += dlrrLen
		l.xr.lrr = 0 // told once
	}
	if l.WantsPlayout() {
		v := l.Metrics()
		v.put(out[n:])
		n += voipLen
	}
	if n == xrHead {
		return 0
	}
	putHead(out, 0, typeXR, n)
	binary.BigEndian.PutUint32(out[headLen:], l.cfg.SSRC)
	return n
}

// Metrics are the VoIP metrics of what we receive now; the zero value before the first packet.
func (l *Leg) Metrics() VoIP {
	if !l.in.known {
		return VoIP{}
	}
	p := &l.xr.playout
	v := VoIP{
		SSRC: l.in.ssrc, RoundTrip: millis(l.rtt), EndSystemDelay: millis(int64(p.Delay)),
		SignalLevel: Unavailable, NoiseLevel: Unavailable, RERL: Unavailable, Gmin: gmin,
		R: Unavailable, ExtR: Unavailable, MOSLQ: Unavailable, MOSCQ: Unavailable, RXConfig: p.Config,
		JBNominal: millis(int64(p.Nominal)), JBMaximum: millis(int64(p.Maximum)), JBMost: millis(int64(p.Most)),
	}
	l.in.bursts.fill(&v, l.in.frame(l.cfg.InClock), p.Discarded-min(l.xr.before, p.Discarded))
	if p.R > 0 {
		v.R = uint8(min(p.R+0.5, 100))
	}
	v.MOSLQ, v.MOSCQ = tenths(p.MOSLQ), tenths(p.MOSCQ)
	return v
}

func tenths(mos float64) uint8 {
	if mos < 1 {
		return Unavailable
	}
	return uint8(min(mos, 5)*10 + 0.5)
}

// put writes the block (RFC 3611 §4.7).
func (v *VoIP) put(out []byte) {
	putBlock(out, blockVoIP, voipLen)
	binary.BigEndian.PutUint32(out[4:], v.SSRC)
	out[8], out[9], out[10], out[11] = v.LossRate, v.DiscardRate, v.BurstDensity, v.GapDensity
	binary.BigEndian.PutUint16(out[12:], v.BurstDuration)
	binary.BigEndian.PutUint16(out[14:], v.GapDuration)
	binary.BigEndian.PutUint16(out[16:], v.RoundTrip)
	binary.BigEndian.PutUint16(out[18:], v.EndSystemDelay)
	out[20], out[21], out[22], out[23] = uint8(v.SignalLevel), uint8(v.NoiseLevel), v.RERL, v.Gmin
	out[24], out[25], out[26], out[27] = v.R, v.ExtR, v.MOSLQ, v.MOSCQ
	out[28], out[29] = v.RXConfig, 0
	binary.BigEndian.PutUint16(out[30:], v.JBNominal)
	binary.BigEndian.PutUint16(out[32:], v.JBMaximum)
	binary.BigEndian.PutUint16(out[34:], v.JBMost)
}

// readVoIP is put backwards. b: voipLen bytes.
func readVoIP(b []byte) VoIP {
	return VoIP{
		SSRC: binary.BigEndian.Uint32(b[4:]), LossRate: b[8], DiscardRate: b[9], BurstDensity: b[10], GapDensity: b[11],
		BurstDuration: binary.BigEndian.Uint16(b[12:]), GapDuration: binary.BigEndian.Uint16(b[14:]),
		RoundTrip: binary.BigEndian.Uint16(b[16:]), EndSystemDelay: binary.BigEndian.Uint16(b[18:]),
		SignalLevel: int8(b[20]), NoiseLevel: int8(b[21]), RERL: b[22], Gmin: b[23], R: b[24], ExtR: b[25], MOSLQ: b[26], MOSCQ: b[27],
		RXConfig: b[28], JBNominal: binary.BigEndian.Uint16(b[30:]), JBMaximum: binary.BigEndian.Uint16(b[32:]), JBMost: binary.BigEndian.Uint16(b[34:]),
	}
}

// extension reads an XR packet: blocks on our stream, and the peer's reference time; others are skipped.
func (i *Info) extension(p []byte, ours uint32) error {
	if len(p) < xrHead {
		return ErrLength
	}
	sender := binary.BigEndian.Uint32(p[headLen:])
	for b := p[xrHead:]; len(b) > 0; {
		if len(b) < 4 {
			return ErrLength
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return ErrLength
		}
		switch body := b[:n]; b[0] {
		case blockRRT:
			if n != rrtLen {
				return ErrLength
			}
			i.Reference, i.ReferenceOf = binary.BigEndian.Uint64(body[4:]), sender
		case blockDLRR:
			if (n-4)%12 != 0 {
				return ErrLength
			}
			for s := body[4:]; len(s) > 0; s = s[12:] {
				if binary.BigEndian.Uint32(s) == ours {
					i.LRR, i.DLRR, i.Others = binary.BigEndian.Uint32(s[4:]), binary.BigEndian.Uint32(s[8:]), false
				}
			}
		case blockVoIP:
			if n != voipLen {
				return ErrLength
			}
			if binary.BigEndian.Uint32(body[4:]) == ours {
				i.VoIP, i.Measured, i.Others = readVoIP(body), true, false
			}
		}
		b = b[n:]
	}
	return nil
}

// take keeps what an extended report said.
func (x *extended) take(now int64, i *Info) {
	if i.Reference != 0 {
		x.lrr, x.lrrAt, x.lrrOf = uint32(i.Reference>>16), now, i.ReferenceOf
	}
	if i.Measured {
		x.peer, x.told = i.VoIP, true
	}
}

// putBlock writes the head of a block of n bytes.
func putBlock(out []byte, typ byte, n int) {
	out[0], out[1] = typ, 0
	binary.BigEndian.PutUint16(out[2:], uint16(n/4-1))
}

// shortNTP is a duration in 1/65536 s.
func shortNTP(d int64) uint32 {
	d = min(max(d, 0), int64(65535*time.Second))
	sec, ns := d/int64(time.Second), d%int64(time.Second)
	return uint32(sec<<16 | ns<<16/int64(time.Second))
}

func millis(ns int64) uint16 { return uint16(min(max(ns/int64(time.Millisecond), 0), 65535)) }
