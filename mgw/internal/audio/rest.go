package audio

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/jitter"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	seamMS  = 5  // cross-fade from one source to the next, ms
	endMS   = 10 // fade at the end of the output, ms
	aheadMS = 7  // look-ahead of encoders, ms: Opus' 6.5, AMR's 5
)

// Rest produces what the source has sent and was not played yet, a frame at a time and without regard to its time, before something else takes
// the direction's place towards the peer; None when nothing is left. NextTick is when the next frame would have been due. With ends the last
// one fades out; without it the source itself goes on, past this direction. out: as for Tick. After Rest the direction is good for nothing
// but Close.
func (d *Direction) Rest(out []byte, ends bool) (int, Frame) {
	if d.closed || d.ended || d.next == Idle || d.keys != nil && d.keys.Active() || d.beep != nil && d.beep.Active() {
		return 0, Frame{}
	}
	for !d.ended {
		for d.pcm.len() < len(d.frame) {
			r := d.buf.Rest()
			if r.Kind == jitter.Empty {
				break
			}
			d.silent = false
			d.pcm.put(d.convert(d.decode(r)))
		}
		if d.pcm.len() < len(d.frame) {
			d.ended = true
			if d.silent || d.pcm.len() == 0 && !ends {
				break
			}
			d.finish(ends)
		}
		d.pcm.take(d.frame)
		ts := d.ts
		d.ts += d.step
		d.next += d.ptime
		if n, f := d.audio(ts, out); f.Kind != None { // else the encoder pauses
			return n, f
		}
	}
	return 0, Frame{}
}

// finish fills the fifo up to a frame with the continuation of what was heard last.
func (d *Direction) finish(ends bool) {
	from := d.pcm.len()
	for d.pcm.len() < len(d.frame) {
		pcm := d.work[:d.decRate/100]
		d.conceal(pcm)
		d.pcm.put(d.convert(pcm))
	}
	if !ends {
		return
	}
	// An encoder that looks ahead keeps the end of the frame to itself.
	w := min(d.encRate*endMS/1000, len(d.frame)/2)
	from = min(from, max(0, len(d.frame)-w-d.encRate*aheadMS/1000))
	for i, v := range d.pcm.s[from:len(d.frame)] {
		d.pcm.s[from+i] = fade(v, 0, min(i, w), w)
	}
}

// pushNoise gives the source's description of its silence to the jitter buffer (RFC 3389).
func (d *Direction) pushNoise(now int64, p rtp.Packet) Verdict {
	// It replaces audio of its own clock (RFC 3389 §5). Codecs with comfort noise of their own do without.
	if d.cfg.SrcCN.ClockRate != d.cfg.Src.ClockRate || d.from != nil {
		d.heard = now
		return Accepted
	}
	v := d.keep(now, jitter.Packet{SSRC: p.SSRC(), Seq: p.Seq(), TS: p.TS(), Noise: true, Payload: p.Payload()})
	if v == Accepted {
		d.wake(now)
	}
	return v
}
