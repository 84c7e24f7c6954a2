package audio

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/jitter"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	// Ticks between two moves of the frame clock to a later and to an earlier time, but for two in a row. Of the first the need is urgent.
	laterEvery  = 50
	soonerEvery = 250

	scaleEvery = 4  // ticks between two changes of length, so that speech keeps its pace
	overlapMS  = 8  // cross-fade, ms
	lagMinMS   = 2  // shortest pitch period looked for, ms
	lagMaxMS   = 12 // longest
	// spareMS is what the fifo must hold beside a packet and less than a frame: what shorten wants before it decodes another packet, and what
	// stretch puts in.
	spareMS  = lagMaxMS + overlapMS + lagMaxMS
	forceMS  = 60 // excess that is cut even where the signal does not repeat, ms
	alikeMin = 0.6
	quiet    = 64 // mean amplitude below which any cut is inaudible, of 32768
)

// retime keeps the playout delay at its target: it moves the frame clock a little, cuts a pitch period out of the decoded audio or repeats one. It runs before
// a frame is taken, with that frame already in the fifo.
func (d *Direction) retime(now int64) {
	d.later++
	d.sooner++
	if d.sinceScale++; d.sinceScale < scaleEvery {
		return
	}
	excess := d.buf.Adjust(now, d.ticks(d.pcm.len()), d.ticks(len(d.frame)))
	if excess <= 0 && d.shift() {
		d.sinceScale = 0
		return
	}
	if excess == 0 {
		return
	}
	d.sinceScale = 0 // the search costs as much as a decode: not every frame, found or not
	limit := int(min(excess, int64(d.cfg.Src.ClockRate)) * int64(d.encRate) / int64(d.cfg.Src.ClockRate))
	if excess > 0 {
		d.shorten(now, limit)
	} else {
		d.stretch()
	}
}

// shift lets the frames after this one leave a step sooner or later where that suffices, and reports whether it does. It costs no audio, and of the delay
// no more than is needed; a receiver sees less than the jitter of any network. What is more would only be handed on to it: an excess of more than a frame is
// cut, and after two steps to a later time in a row the audio is stretched. Clocks that differ are always followed: 500 ppm are a step in 10 s.
func (d *Direction) shift() bool {
	by := d.buf.Shift(d.ticks(len(d.frame)))
	if by == 0 || by < 0 && !d.later.take(laterEvery) || by > 0 && !d.sooner.take(soonerEvery) {
		return false
	}
	d.next -= int64(by) * int64(jitter.ShiftStep)
	d.buf.Adjusted(int64(by) * rtp.Ticks(int64(jitter.ShiftStep), d.cfg.Src.ClockRate))
	d.stats.Shifted++
	return true
}

// ration allows for two in a row, and then for one every so often. It counts ticks.
type ration int

func (r *ration) take(every int) bool {
	if int(*r) < every {
		return false
	}
	*r = ration(min(int(*r)-every, every))
	return true
}

// shorten cuts up to limit samples; it needs one more packet in the fifo, which a delay in excess has at hand.
func (d *Direction) shorten(now int64, limit int) {
	need := (lagMaxMS + overlapMS) * d.encRate / 1000
	if d.pcm.len() < max(need, len(d.frame)+lagMaxMS*d.encRate/1000) {
		if !d.buf.Ready() {
			return
		}
		d.pcm.put(d.convert(d.decode(d.buf.Pop(now))))
	}
	hi := min(lagMaxMS*d.encRate/1000, limit, d.pcm.len()-overlapMS*d.encRate/1000, d.pcm.len()-len(d.frame))
	lag, alike := d.pcm.lag(lagMinMS*d.encRate/1000, hi, overlapMS*d.encRate/1000)
	if lag == 0 || alike < alikeMin && limit < forceMS*d.encRate/1000 {
		return
	}
	d.pcm.cut(lag, overlapMS*d.encRate/1000)
	d.buf.Adjusted(int64(d.ticks(lag)))
	d.stats.Shortened++
}

// stretch repeats a pitch period, which may be more than the delay lacks: up to a frame more does no harm, while a shorter piece does not repeat.
func (d *Direction) stretch() {
	w := overlapMS * d.encRate / 1000
	hi := min(lagMaxMS*d.encRate/1000, d.pcm.len()-w, d.pcm.room())
	lag, alike := d.pcm.lag(lagMinMS*d.encRate/1000, hi, w)
	if lag == 0 || alike < alikeMin {
		return
	}
	d.pcm.repeat(lag, w)
	d.buf.Adjusted(-int64(d.ticks(lag)))
	d.stats.Stretched++
}

// ticks converts samples at the encoder's rate to ticks of the source's clock.
func (d *Direction) ticks(samples int) uint32 {
	return uint32(rtp.Ticks(rtp.Nanos(int64(samples), uint32(d.encRate)), d.cfg.Src.ClockRate))
}

// lag finds the distance from lo to hi samples at which the first w samples come again, 0 when there is no room for one.
// alike is 1 for an exact repetition and for near silence.
func (f *fifo) lag(lo, hi, w int) (lag int, alike float64) {
	if hi < lo || hi+w > f.n {
		return 0, 0
	}
	a := f.s[:w]
	var ea int64 = 1
	for _, v := range a {
		ea += int64(v) * int64(v)
	}
	if ea < int64(w)*quiet*quiet {
		return hi, 1
	}
	best := 0.0
	for l := lo; l <= hi; l++ {
		var cross, eb int64 = 0, 1
		for i, v := range f.s[l : l+w] {
			cross += int64(a[i]) * int64(v)
			eb += int64(v) * int64(v)
		}
		if cross <= 0 {
			continue
		}
		if v := float64(cross) * float64(cross) / (float64(ea) * float64(eb)); v > best {
			best, lag = v, l
		}
	}
	if lag == 0 {
		lag = hi
	}
	return lag, best
}

// cut removes lag samples at the head: its first w samples, at most lag, fade into those lag later.
func (f *fifo) cut(lag, w int) {
	w = min(w, lag)
	for i := range w {
		f.s[lag+i] = fade(f.s[i], f.s[lag+i], i, w)
	}
	copy(f.s, f.s[lag:f.n])
	f.n -= lag
}

// repeat inserts lag samples at the head: after the first lag samples, the continuation fades into the head again.
func (f *fifo) repeat(lag, w int) {
	f.grow(f.n + lag)
	copy(f.s[lag:f.n+lag], f.s[:f.n])
	// Now s[lag:] is the whole signal and s[:lag] still its first part; the seam is at lag, where the original went on with s[2*lag:].
	for i := range w {
		if next := 2*lag + i; next < f.n+lag {
			f.s[lag+i] = fade(f.s[next], f.s[lag+i], i, w)
		}
	}
	f.n += lag
}

// fade is sample i of w on the way from a to b.
func fade(a, b int16, i, w int) int16 {
	return int16((int(a)*(w-i) + int(b)*i) / w)
}

// room is how many samples still fit.
func (f *fifo) room() int { return f.most - f.n }
