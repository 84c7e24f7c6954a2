package rtcp

import "encoding/binary"

const (
	// MaxReport is the longest datagram that Build and BuildBye write, bytes: SR with one block, SDES with CNAME and MID, XR, BYE.
	MaxReport = headLen + 4 + senderLen + blockLen + sdesMax + xrMax + byeLen

	byeLen = headLen + 4
)

// Build writes the report that is due and schedules the next one. rtpTS: our RTP timestamp that belongs to now, read only when we have
// sent something (stamp.Stamper.Now). out: room for MaxReport bytes. It returns the length of a compound SR or RR plus SDES, and XR where the peer has agreed to it.
func (l *Leg) Build(now int64, rtpTS uint32, out []byte) int {
	n := l.report(now, rtpTS, out)
	n += l.sdes(out[n:])
	n += l.extend(now, out[1] == typeRR, out[n:])
	l.stats.ReportsSent++
	l.measure(n)
	if !l.cfg.Off {
		l.due = now + l.wait(l.interval(out[1] == typeSR))
	}
	return n
}

// BuildBye writes the last report with a BYE (RFC 3550 §6.6) and ends the schedule. out: as for Build.
func (l *Leg) BuildBye(now int64, rtpTS uint32, out []byte) int {
	n := l.report(now, rtpTS, out)
	n += l.sdes(out[n:])
	n += l.extend(now, false, out[n:])
	putHead(out[n:], 1, typeBYE, byeLen)
	binary.BigEndian.PutUint32(out[n+headLen:], l.cfg.SSRC)
	l.stats.ReportsSent++
	l.due = Never
	return n + byeLen
}

// report writes SR when we sent lately, else RR, with a block on the current source if there is one.
func (l *Leg) report(now int64, rtpTS uint32, out []byte) int {
	_ = out[MaxReport-1]
	typ, n := byte(typeRR), headLen+4
	binary.BigEndian.PutUint32(out[headLen:], l.cfg.SSRC)
	if l.out.packets != l.out.reported[1] {
		typ = typeSR
		binary.BigEndian.PutUint64(out[n:], l.ntp(now))
		binary.BigEndian.PutUint32(out[n+8:], rtpTS)
		binary.BigEndian.PutUint32(out[n+12:], uint32(l.out.packets))
		binary.BigEndian.PutUint32(out[n+16:], uint32(l.out.octets))
		n += senderLen
	}
	l.out.reported[1], l.out.reported[0] = l.out.reported[0], l.out.packets
	count := byte(0)
	if l.in.known {
		l.block(now, out[n:])
		n += blockLen
		count = 1
	}
	putHead(out, count, typ, n)
	return n
}

// block writes the report block on the current source.
func (l *Leg) block(now int64, out []byte) {
	binary.BigEndian.PutUint32(out, l.in.ssrc)
	binary.BigEndian.PutUint32(out[4:], uint32(l.in.fraction())<<24|uint32(l.in.lost())&0xffffff)
	// Counting begins one cycle up; the peer knows nothing of that.
	binary.BigEndian.PutUint32(out[8:], l.in.max-1<<16)
	binary.BigEndian.PutUint32(out[12:], l.in.jitter>>4)
	var dlsr uint32
	if l.lsr != 0 {
		dlsr = shortNTP(now - l.lsrAt)
	}
	binary.BigEndian.PutUint32(out[16:], l.lsr)
	binary.BigEndian.PutUint32(out[20:], dlsr)
}

// putHead writes the common header of a packet of n bytes.
func putHead(out []byte, count, typ byte, n int) {
	out[0], out[1] = version<<6|count, typ
	binary.BigEndian.PutUint16(out[2:], uint16(n/4-1))
}
