package audio

import (
	"math"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	noiseEvery = 200 * time.Millisecond // between two packets of comfort noise in a pause
	resumes    = 3                      // frames in a row that end the pause of such a source: it sends one now and then (RFC 6716 §2.1.9)
	waits      = 5                      // frames without a packet after which a source whose codec does not tell is thought to pause
)

// pausing reports that the source does not speak: its codec or its comfort noise says so, or nothing has come for a while and nothing after it
// either; and that what it said has faded from the frame that fill made. Noise as loud as speech is left to the encoder.
func (d *Direction) pausing() bool {
	paused := d.bed.silent() || d.waited >= waits || d.quieted && d.row < resumes
	if d.from != nil {
		paused = d.from.Silent()
	}
	return paused && power(d.frame) <= bedMost*bedMost
}

// quiet tells the peer the level of the noise that fill made, at the begin of a pause and now and then after (RFC 3389 §3, §4). The spectrum is left
// out, which the RFC allows: the noise is white.
func (d *Direction) quiet(ts uint32, out []byte) (int, Frame) {
	d.marker = true // what comes after begins a talk spurt (RFC 3551 §4.1)
	every := uint32(rtp.Ticks(int64(noiseEvery), d.cfg.Dst.ClockRate))
	if len(out) == 0 || d.quieted && ts-d.noised < every {
		return 0, Frame{}
	}
	d.quieted, d.noised = true, ts
	out[0] = noiseLevel(power(d.frame))
	f := Frame{Kind: Noise, PT: d.cfg.DstCN.PT, Seq: d.seq, TS: ts}
	d.seq++
	d.stats.Frames++
	return 1, f
}

// noiseLevel is a mean square as -dBov, 0 to 127 (RFC 3389 §3.1).
func noiseLevel(power float64) byte {
	if power < 1 {
		return 127
	}
	return byte(min(max(-10*math.Log10(power/(32768*32768))+0.5, 0), 127))
}
