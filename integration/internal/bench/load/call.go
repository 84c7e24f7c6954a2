package load

import (
	"bytes"
	"encoding/binary"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
)

// Direction of media, as seen from the browser.
type Direction int

// The two directions.
const (
	Up   Direction = iota // browser to core
	Down                  // core to browser
)

// String is "browser to core" or "core to browser".
func (d Direction) String() string { return [2]string{"browser to core", "core to browser"}[d] }

// call is one call: both ends, what they send and what they heard. After the set-up it belongs to the goroutine in Run.
type call struct {
	index    int
	media    Media
	plain    bool
	material *codecs.Material
	browser  browser
	core     *socket
	control  *socket // RTCP of the core side; held, not read

	out [2]stream
	in  [2]heard
}

// stream is what one end sends.
type stream struct {
	ssrc   uint32
	seq    uint16
	count  uint32 // packets sent so far
	first  uint32 // number of the window's first packet
	sent   [64]int64
	log    []int64 // of a sample call: when each packet from number logged on was sent; nil: not kept
	logged uint32
}

// heard is what one end has received within the window.
type heard struct {
	last    uint32  // relayed: number of the newest packet; transcoded: its sequence number plus 1<<16 when there was one
	record  []byte  // payloads of a sample call, each behind its length; nil: none are kept
	at      []int64 // when each of them came
	records int
}

// mark begins every relayed payload, before the number of the call and of the packet.
const (
	mark     = 0x1574
	markSize = 8
)

// frame is the k-th payload that end d sends. It is written to b, which has room for any.
func (c *call) frame(d Direction, k uint32, b []byte) int {
	i := int(k) % len(c.material.PCMA)
	switch {
	case c.media.Transcoded() && d == Up:
		return copy(b, c.material.Opus[i])
	case c.media == OpusAMRWB:
		return copy(b, c.material.AMRWB[i])
	}
	n := copy(b, c.material.PCMA[i])
	if !c.media.Transcoded() {
		binary.BigEndian.PutUint16(b, mark)
		binary.BigEndian.PutUint16(b[2:], uint16(c.index))
		binary.BigEndian.PutUint32(b[4:], k)
	}
	return n
}

// send sends the next packet of end d. clock: 20 ms units since the fleet began, which the RTP timestamp follows, so that a pause of the
// stream is one of the clock too. first: the packet begins a spurt. buf has room for a packet and its tag.
func (c *call) send(d Direction, clock uint32, first bool, now int64, buf []byte) bool {
	s := &c.out[d]
	pt, step := c.media.core()
	if c.media.Transcoded() && d == Up {
		pt, step = ptOpus, 960
	}
	if first {
		pt |= 0x80
	}
	buf[0], buf[1] = 0x80, pt
	binary.BigEndian.PutUint16(buf[2:], s.seq)
	binary.BigEndian.PutUint32(buf[4:], s.ssrc+clock*step)
	binary.BigEndian.PutUint32(buf[8:], s.ssrc)
	n := rtpHeader + c.frame(d, s.count, buf[rtpHeader:])
	s.sent[s.count%uint32(len(s.sent))] = now
	if len(s.log) < cap(s.log) {
		s.log = append(s.log, now)
	}
	s.seq++
	s.count++
	if d == Down {
		return c.core.send(buf[:n])
	}
	if c.plain {
		clear(buf[n : n+srtpTag])
		return c.browser.send(buf[:n+srtpTag])
	}
	p, err := c.browser.keys.tx.EncryptRTP(buf[:0], buf[:n], &c.browser.hdr)
	return err == nil && c.browser.send(p)
}

// verdict says what a received packet is.
type verdict int

const (
	good     verdict = iota
	aside            // RTCP, STUN, DTLS, or sent before the window: not counted
	repeated         // the content of an earlier packet
	wrong            // not what the other end sent
)

// receive takes a datagram that came to the end at the far side of d at a time, 0: not known. delay: from the sender's system call, ns, 0 when
// unknown.
func (c *call) receive(d Direction, b []byte, at int64) (v verdict, delay int64) {
	if d == Down {
		if b[0] < 128 {
			c.browser.control(b)
			return aside, 0
		}
		if len(b) > 1 && b[1] >= 192 && b[1] < 224 { // RFC 5761 §4
			return aside, 0
		}
		if c.plain {
			b = b[:max(0, len(b)-srtpTag)]
		} else if b = c.open(b); b == nil {
			return wrong, 0
		}
	}
	if len(b) < rtpHeader+3 || b[0] != 0x80 {
		return wrong, 0
	}
	if c.media.Transcoded() {
		return c.transcoded(d, b, at), 0
	}
	return c.relayed(d, b, at)
}

// open decrypts in place; nil when the packet is not authentic.
func (c *call) open(b []byte) []byte {
	p, err := c.browser.keys.rx.DecryptRTP(b[:0], b, &c.browser.hdr)
	if err != nil {
		return nil
	}
	return p
}

// relayed compares a payload with what was sent, octet by octet.
func (c *call) relayed(d Direction, b []byte, at int64) (verdict, int64) {
	p := b[rtpHeader:]
	if b[1]&0x7f != ptPCMA || len(p) != frameLen || binary.BigEndian.Uint16(p) != mark || int(binary.BigEndian.Uint16(p[2:])) != c.index {
		return wrong, 0
	}
	k := binary.BigEndian.Uint32(p[4:])
	s := &c.out[d]
	if k >= s.count || !bytes.Equal(p[markSize:], c.material.PCMA[int(k)%len(c.material.PCMA)][markSize:]) {
		return wrong, 0
	}
	if k < c.in[d].last {
		return repeated, 0
	}
	c.in[d].last = k + 1
	if k < s.first {
		return aside, 0
	}
	if at == 0 || s.count-k > uint32(len(s.sent)) {
		return good, 0
	}
	return good, at - s.sent[k%uint32(len(s.sent))]
}

// transcoded checks the form and keeps the payload of a sample call.
func (c *call) transcoded(d Direction, b []byte, at int64) verdict {
	p, pt := b[rtpHeader:], b[1]&0x7f
	var ok bool
	switch {
	case d == Down:
		ok = pt == ptOpus
	case c.media == OpusAMRWB:
		ok = pt == ptAMRWB
	default:
		ok = pt == ptPCMA && len(p) == frameLen
	}
	if !ok {
		return wrong
	}
	h := &c.in[d]
	seq := binary.BigEndian.Uint16(b[2:])
	if h.last != 0 && int16(seq-uint16(h.last)) <= 0 {
		return repeated
	}
	h.last = uint32(seq) | 1<<16
	if cap(h.record)-len(h.record) >= 2+len(p) {
		h.record = binary.BigEndian.AppendUint16(h.record, uint16(len(p)))
		h.record = append(h.record, p...)
		h.at = append(h.at, at)
		h.records++
	}
	return good
}

func (c *call) close() {
	c.browser.close()
	c.core.close()
	c.control.close()
}
