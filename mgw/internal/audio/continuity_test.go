package audio

import (
	"fmt"
	"math"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// from is a tone whose first sample has the given phase, in periods.
func toneFrom(freq, peak, phase float64, rate, n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(peak * math.Sin(2*math.Pi*(phase+freq*float64(i)/float64(rate)))))
	}
	return pcm
}

// change rewrites the headers of packets from i on.
func change(in []sent, i int, f func(p rtp.Packet)) {
	for _, s := range in[i:] {
		f(s.pkt)
	}
}

// later is in with all from i on so much later.
func later(in []sent, i int, by int64) {
	for k := range in[i:] {
		in[i+k].at += by
	}
}

const half = 60 // packets

// copied is in for itself.
func copied(in []sent) (out []sent) {
	for _, s := range in {
		out = append(out, sent{s.at, append([]byte(nil), s.pkt...)})
	}
	return out
}

// An event is something that happens to a stream at its middle: first is the first half, second what another source of the same codec
// would send as its second half.
var events = []struct {
	name   string
	costs  int   // packets that it may cost
	silent int64 // ms that it may be silent
	gaps   int   // pauses of the output
	make   func(first, second []sent) []sent
}{
	{"nothing", 0, 0, 0, func(a, b []sent) []sent { return append(a, b...) }},
	{"other SSRC", 0, 60, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetSSRC(9); p.SetSeq(p.Seq() + 30000); p.SetTS(p.TS() + 1<<30) })
		return append(a, b...)
	}},
	{"other SSRC, while the first still speaks", 1, 60, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetSSRC(9) })
		later(b, 0, -15*ms)
		return append(a, b...)
	}},
	{"other SSRC after 300 ms", 0, 360, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetSSRC(9) })
		later(b, 0, 300*ms)
		return append(a, b...)
	}},
	{"numbers forward", 1, 80, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetSeq(p.Seq() + 20000) })
		return append(a, b...)
	}},
	{"numbers back", 1, 80, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetSeq(p.Seq() - 20000) })
		return append(a, b...)
	}},
	{"clock forward", 0, 60, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetTS(p.TS() + 1<<28) })
		return append(a, b...)
	}},
	{"clock back", 0, 60, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetTS(p.TS() - 1<<28) })
		return append(a, b...)
	}},
	{"numbers and clock", 1, 80, 0, func(a, b []sent) []sent {
		change(b, 0, func(p rtp.Packet) { p.SetSeq(p.Seq() - 20000); p.SetTS(p.TS() - 1<<28) })
		return append(a, b...)
	}},
	{"hold of 5 s, the clock stands still", 0, 5000, 1, func(a, b []sent) []sent {
		later(b, 0, 5000*ms)
		return append(a, b...)
	}},
	{"hold of 5 s, the clock goes on", 0, 5000, 1, func(a, b []sent) []sent {
		later(b, 0, 5000*ms)
		change(b, 0, func(p rtp.Packet) { p.SetTS(p.TS() + 5*rtpClock(p)) })
		return append(a, b...)
	}},
	{"hold of 5 s, numbers and clock go on", 0, 5000, 1, func(a, b []sent) []sent {
		later(b, 0, 5000*ms)
		change(b, 0, func(p rtp.Packet) { p.SetTS(p.TS() + 5*rtpClock(p)); p.SetSeq(p.Seq() + 250) })
		return append(a, b...)
	}},
	{"pause of 700 ms", 0, 760, 0, func(a, b []sent) []sent {
		later(b, 0, 700*ms)
		change(b, 0, func(p rtp.Packet) { p.SetTS(p.TS() + rtpClock(p)*7/10) })
		return append(a, b...)
	}},
	{"no markers, then all", 0, 0, 0, func(a, b []sent) []sent {
		change(a, 0, func(p rtp.Packet) { p.SetMarker(false) })
		change(b, 0, func(p rtp.Packet) { p.SetMarker(true) })
		return append(a, b...)
	}},
}

// rtpClock is the clock of a test's payload type, Hz.
func rtpClock(p rtp.Packet) uint32 {
	switch p.PT() {
	case opus.PT:
		return 48000
	case wide.PT:
		return 16000
	}
	return 8000
}

// Whatever the far end does to its stream, what the peer gets is one stream: numbers without gap, timestamps that follow the time, a marker
// where a talk spurt begins; nothing is lost that the event itself does not cost, and nothing clicks.
func TestContinuity(t *testing.T) {
	for _, pair := range [][2]codec.Codec{{pcma, opus}, {opus, pcma}, {g722, pcmu}, {opus, wide}, {wide, opus}, {narrow, pcma}, {pcma, narrow}, {pcmu, pcma}} {
		src, dst := pair[0], pair[1]
		if !transcode.Supported(src) || !transcode.Supported(dst) {
			continue
		}
		from, to := rateOf(src, dst), rateOf(dst, src)
		same := source(t, src, from, toneFrom(440, 8000, 0, from, 2*half*from/50), 0)
		other := source(t, src, from, toneFrom(440, 8000, 0.37, from, 2*half*from/50), 0) // who was silent, or is another, begins anywhere
		limit := 0.0                                                                      // from the codecs' own noise, which is what nothing makes
		for _, e := range events {
			t.Run(fmt.Sprintf("%s to %s, %s", src.Name, dst.Name, e.name), func(t *testing.T) {
				first, second := copied(same[:half]), copied(other[half:])
				if e.silent == 0 {
					second = copied(same[half:])
				}
				d := direction(t, Config{Src: src, Dst: dst})
				in := e.make(first, second)
				h := listen(t, d, in, to, 5*ms, in[len(in)-1].at+400*ms)
				s := d.Stats()
				if lost := len(in) - int(s.Decoded); lost > e.costs {
					t.Errorf("%d packets lost: %+v", lost, s)
				}
				gaps := 0
				for i, f := range h.frames {
					if i == 0 {
						if !f.Marker {
							t.Error("the first frame has no marker")
						}
						continue
					}
					before := h.frames[i-1]
					steps := f.TS - before.TS
					if f.Seq != before.Seq+1 || steps == 0 || steps%(dst.ClockRate/50) != 0 && steps < dst.ClockRate {
						t.Fatalf("frame %d: %+v after %+v", i, f, before)
					}
					pause := steps > dst.ClockRate/50
					if pause {
						gaps++
					}
					if passed := float64(h.times[i]-h.times[i-1]) / 1e9 * float64(dst.ClockRate); math.Abs(float64(steps)-passed) > float64(dst.ClockRate)/40 {
						t.Errorf("frame %d: %d ticks after %.0f ticks of time", i, steps, passed)
					}
					if f.Marker != pause {
						t.Errorf("frame %d: marker %v, %d ticks after the one before", i, f.Marker, steps)
					}
				}
				if gaps != e.gaps {
					t.Errorf("%d pauses of the output", gaps)
				}
				quiet := 0
				for i := to / 5; i+to/100 <= len(h.pcm)-to/2; i += to / 100 {
					if rms(h.pcm[i:i+to/100]) < 8000/math.Sqrt2/4 {
						quiet += 10
					}
				}
				if int64(quiet) > e.silent {
					t.Errorf("%d ms of silence", quiet)
				}
				c, at := clicks(h.pcm, to)
				if e.silent == 0 {
					limit = max(limit, 2*audible, 2*c)
				}
				if c > limit {
					t.Errorf("a click of %.0f, %d ms after the begin", c, at*1000/to)
				}
			})
		}
	}
}

// Five minutes of a clock that is 200 ppm off: the frame clock follows it, so that nothing is cut or put in, nothing clicks and nothing is missing.
func TestMinutesOfDriftAreNotHeard(t *testing.T) {
	const seconds = 300
	for _, ppm := range []int64{-200, 200} {
		in := source(t, pcma, 8000, tone(440, 8000, 8000, seconds*8000), 0)
		for i := range in {
			in[i].at += (in[i].at - 1000*ms) * ppm / 1_000_000
		}
		d := direction(t, Config{Src: pcma, Dst: pcmu})
		h := listen(t, d, in, 8000, 5*ms, seconds*1000*ms)
		s := d.Stats()
		if s.Concealed > 2 || s.Jitter.Late+s.Jitter.Skipped > 0 || s.Jitter.Delay.Milliseconds() > 32 || len(in)-int(s.Decoded) > 55 {
			t.Errorf("%d ppm: %+v", ppm, s)
		}
		if s.Shortened+s.Stretched > 0 || s.Shifted < 9 || s.Shifted > 12 { // by 5 ms each
			t.Errorf("%d ppm: %d cuts, %d repetitions, %d moves of the frame clock for 60 ms", ppm, s.Shortened, s.Stretched, s.Shifted)
		}
		if c, at := clicks(h.pcm[8000:], 8000); c > 3*audible {
			t.Errorf("%d ppm: a click of %.0f after %d ms", ppm, c, at/8+1000)
		}
		checkTimeline(t, h, pcmu)
	}
}
