package audio

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Where the source pauses, a peer with comfort noise gets that in place of audio: the level of the noise at once and every 200 ms, on a time line
// that goes on, and the talk spurt after it is marked (RFC 3389 §4, RFC 3551 §4.1).
func TestR3551_RFC3389_4_ComfortNoiseTowardsThePeer(t *testing.T) {
	cn := codec.Codec{Name: codec.ComfortNoise, PT: 13, ClockRate: 8000}
	for _, src := range []codec.Codec{opus, narrow, wideOctets, pcmu} {
		for _, dst := range []codec.Codec{pcma, g722} {
			if !transcode.Supported(src) {
				continue
			}
			t.Run(src.Name+" to "+dst.Name, func(t *testing.T) {
				cfg := Config{Src: src, Dst: dst, DstCN: &cn}
				var in []sent
				if src == pcmu { // a telephone that sends comfort noise itself
					cfg.SrcCN = &codec.Codec{Name: codec.ComfortNoise, PT: 96, ClockRate: 8000}
					in = talkAndNoise(t, src, *cfg.SrcCN, 8)
				} else {
					in = pauses(t, src, 8)
				}
				d := direction(t, cfg)
				out, next := make([]byte, transcode.MaxPayload), 0
				noises, frames, marks, silent := 0, 0, 0, true
				var first, last Frame
				for now := int64(0); now < 10*int64(time.Second); now += 5 * ms {
					for ; next < len(in) && in[next].at <= now; next++ {
						d.Push(in[next].at, in[next].pkt)
					}
					for d.NextTick() <= now {
						n, f := d.Tick(now, out)
						if f.Kind == None {
							continue
						}
						if frames++; frames == 1 {
							first = f
						} else if f.Seq != last.Seq+1 || f.TS == last.TS || (f.TS-first.TS)%160 != 0 {
							t.Fatalf("%+v after %+v", f, last)
						}
						switch f.Kind {
						case Noise:
							noises++
							if n != 1 || f.PT != 13 || f.Marker || out[0] < 50 || out[0] > 90 {
								t.Fatalf("%d bytes, level -%d dBov: %+v", n, out[0], f)
							}
							if last.Kind == Noise && f.TS-last.TS < 1600 {
								t.Fatalf("noise %d ticks after noise", f.TS-last.TS)
							}
							silent = true
						case Audio:
							if f.Marker != silent {
								t.Fatalf("marker %v, silent before %v", f.Marker, silent)
							}
							if f.Marker {
								marks++
							}
							silent = false
						}
						last = f
					}
				}
				// Two seconds of eight are speech: about 100 packets; the six of silence have five packets of noise each.
				if noises < 20 || noises > 40 || frames-noises < 90 || frames-noises > 190 || marks < 2 || marks > 4 {
					t.Errorf("%d packets of noise, %d of audio, %d marked", noises, frames-noises, marks)
				}
			})
		}
	}
	wrong := cn
	wrong.ClockRate = 16000
	if _, err := New(Config{Src: pcmu, Dst: pcma, DstCN: &wrong}); !errors.Is(err, ErrConfig) {
		t.Errorf("comfort noise of another clock: %v", err)
	}
	for power, want := range map[float64]byte{0: 127, 32768 * 32768: 0, 32768.0 * 32768 / 1e6: 60, math.MaxFloat64: 0} {
		if got := noiseLevel(power); got != want {
			t.Errorf("%g: -%d dBov, want -%d", power, got, want)
		}
	}
}

// talkAndNoise is a source that speaks every first second of four and sends comfort noise of -62 dBov once a second in the others.
func talkAndNoise(t testing.TB, c, cn codec.Codec, seconds int) []sent {
	t.Helper()
	rate := rateOf(c, c)
	talk := voice(rate, rate*seconds)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range talk {
		if i/rate%4 != 0 {
			talk[i] = int16(r.IntN(40) - 20)
		}
	}
	var out []sent
	seq := uint16(0)
	for i, s := range source(t, c, rate, talk, 0) {
		p := rtp.Packet(s.pkt)
		if i/50%4 != 0 {
			if i%50 != 0 {
				continue
			}
			s.pkt = packet(rtp.Header{PT: cn.PT, TS: p.TS(), SSRC: p.SSRC()}, []byte{62})
		}
		seq++
		rtp.Packet(s.pkt).SetSeq(seq)
		out = append(out, s)
	}
	return out
}
