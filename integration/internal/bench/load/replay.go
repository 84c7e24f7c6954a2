package load

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Sending is a packet that an end sends at a time of its own.
type Sending struct {
	At      time.Duration // after the begin of the replay
	Number  int           // of the packet in its stream: decides sequence number and timestamp
	Payload []byte
}

// Script is what both ends of a call send, by Direction, in order of time.
type Script [2][]Sending

// Recorded is a packet that came to the far end.
type Recorded struct {
	At      time.Duration // after the begin of the replay
	Seq     uint16
	TS      uint32
	Payload []byte
}

// Recording is what both far ends of a call received, by Direction, in order of arrival.
type Recording [2][]Recorded

// Replay sends what the scripts say, one for each call, and records what comes out until tail after the last of it. It blocks. late: the share
// of packets that left more than Tardy after their time, as on a machine that is too busy. Errors: not one script for each call.
func (f *Fleet) Replay(scripts []Script, tail time.Duration) (out []Recording, late float64, err error) {
	if len(scripts) != len(f.calls) {
		return nil, 0, fmt.Errorf("load: %d scripts for %d calls", len(scripts), len(f.calls))
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer first()()
	r := &runner{f: f, base: time.Now(), warm: int64(restart)}
	for _, c := range f.calls {
		for c.browser.receive(r.buf[:]) > 0 || c.core.receive(r.buf[:]) > 0 {
		}
	}
	p := &player{runner: r, out: make([]Recording, len(scripts))}
	all, behind := timetable(scripts), 0
	for _, d := range all {
		p.until(int64(d.At))
		if time.Duration(r.now())-d.At > Tardy {
			behind++
		}
		f.calls[d.call].replay(d.way, &d.Sending, r.buf[:])
		r.refresh()
	}
	if len(all) > 0 {
		p.until(int64(all[len(all)-1].At + tail))
	}
	return p.out, float64(behind) / float64(max(1, len(all))), nil
}

// Tardy is how late a packet may leave and still be what the script says.
const Tardy = 5 * time.Millisecond

// departure is a Sending with its sender.
type departure struct {
	Sending
	call int
	way  Direction
}

// timetable is everything that is sent, in order of time.
func timetable(scripts []Script) (all []departure) {
	for i := range scripts {
		for d := range Direction(2) {
			for _, s := range scripts[i][d] {
				all = append(all, departure{s, i, d})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b departure) int { return int(a.At - b.At) })
	return all
}

// player records while it waits.
type player struct {
	*runner
	out []Recording
}

// until receives until the clock shows at.
func (p *player) until(at int64) {
	for {
		now := p.now()
		p.record(p.f.poll.wait(max(0, at-now)))
		if now >= at {
			return
		}
	}
}

// record receives from the n sockets that are ready.
func (p *player) record(n int) {
	g := p.glance()
	for i := range n {
		key := p.f.poll.events[i].Fd
		c := p.f.calls[key/2]
		d, s := Down, c.browser.socket
		if key%2 == 1 {
			d, s = Up, c.core
		}
		for size, at := s.receiveAt(p.buf[:], g); size > 0; size, at = s.receiveAt(p.buf[:], g) {
			if b := c.rtpOf(d, p.buf[:size]); b != nil {
				p.out[key/2][d] = append(p.out[key/2][d], Recorded{
					time.Duration(at), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), append([]byte(nil), b[rtpHeader:]...),
				})
			}
		}
	}
}

// replay sends one packet.
func (c *call) replay(d Direction, s *Sending, buf []byte) {
	o := &c.out[d]
	pt, step := c.media.core()
	if d == Up {
		pt, step = ptOpus, 960
	}
	if s.Number == 0 {
		pt |= 0x80
	}
	buf[0], buf[1] = 0x80, pt
	binary.BigEndian.PutUint16(buf[2:], o.seq+uint16(s.Number))
	binary.BigEndian.PutUint32(buf[4:], o.ssrc+uint32(s.Number)*step)
	binary.BigEndian.PutUint32(buf[8:], o.ssrc)
	n := rtpHeader + copy(buf[rtpHeader:], s.Payload)
	if d == Down {
		c.core.send(buf[:n])
		return
	}
	if b, err := c.browser.keys.tx.EncryptRTP(buf[:0], buf[:n], &c.browser.hdr); err == nil {
		c.browser.send(b)
	}
}

// rtpOf is the audio packet in a datagram that came to the end at the far side of d, nil when it is something else.
func (c *call) rtpOf(d Direction, b []byte) []byte {
	if d == Down {
		if b[0] < 128 {
			c.browser.control(b)
			return nil
		}
		if len(b) > 1 && b[1] >= 192 && b[1] < 224 { // RFC 5761 §4
			return nil
		}
		if b = c.open(b); b == nil {
			return nil
		}
	}
	want, _ := c.media.core()
	if d == Down {
		want = ptOpus
	}
	if len(b) <= rtpHeader || b[0] != 0x80 || b[1]&0x7f != want {
		return nil
	}
	return b
}
