package audio

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

var cn = codec.Codec{Name: codec.ComfortNoise, PT: 13, ClockRate: 8000}

// hiss is white noise of a root mean square.
func hiss(seed uint64, level float64, n int) []int16 {
	r := rand.New(rand.NewPCG(seed, 8))
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(r.NormFloat64() * level))
	}
	return pcm
}

// levels are those of pcm in pieces of 20 ms, dB of the full scale.
func levels(pcm []int16, rate int) (out []float64) {
	for n := rate / 50; len(pcm) >= n; pcm = pcm[n:] {
		out = append(out, dB(rms(pcm[:n])+0.1, 32768))
	}
	return out
}

// A source that is silent by RFC 3389 for three seconds is heard with noise of the level that it says, from the end of its speech to the next
// without a gap, a dip or a bump, however rarely it says so.
func TestR3389_NoiseBetweenWordsHasItsLevel(t *testing.T) {
	for _, src := range []codec.Codec{pcma, g722} {
		for _, dst := range []codec.Codec{pcmu, opus} {
			for _, every := range []int{10, 1000} { // packets between two descriptions
				if !transcode.Supported(dst) {
					continue
				}
				t.Run(fmt.Sprintf("%s to %s each %d ms", src.Name, dst.Name, every*20), func(t *testing.T) {
					const level = 52 // -dBov
					from, to := rateOf(src, dst), rateOf(dst, src)
					var in []sent
					for i, s := range source(t, src, from, tone(440, 4000, from, 7*from), 0) {
						p := rtp.Packet(s.pkt)
						seq := uint16(65000 + len(in))
						switch {
						case i < 100 || i >= 250:
							p.SetSeq(seq)
							in = append(in, s)
						case (i-100)%every == 0:
							in = append(in, sent{s.at, packet(rtp.Header{PT: cn.PT, Seq: seq, TS: p.TS(), SSRC: p.SSRC()}, []byte{level})})
						}
					}
					d := direction(t, Config{Src: src, Dst: dst, SrcCN: &cn})
					h := listen(t, d, in, to, 5*ms, 8*int64(time.Second)+200*ms)
					checkTimeline(t, h, dst)
					speech := dB(4000/math.Sqrt2, 32768)
					all := levels(h.pcm, to)
					want := -52.0
					if dst.Is(codec.Opus) { // which takes something from white noise of narrow band, as anybody's
						ref := listen(t, direction(t, Config{Src: src, Dst: dst}), source(t, src, from, hiss(5, 32768*math.Pow(10, -level/20.0), 2*from), 0), to, 5*ms, 3*int64(time.Second))
						want = dB(rms(ref.pcm[to/2:3*to/2]), 32768)
					}
					mean, n := 0.0, 0
					for i, l := range all[50:330] { // from the second second on
						switch i += 50; {
						case i < 98 || i > 254 && i < 300:
							if math.Abs(l-speech) > 1.5 {
								t.Errorf("%d ms: speech of %.1f dB", i*20, l)
							}
						case l < want-4 || l > speech+1:
							t.Errorf("%d ms: %.1f dB", i*20, l)
						case i > 108 && i < 248:
							mean, n = mean+math.Pow(10, l/10), n+1
							if math.Abs(l-want) > 3 {
								t.Errorf("%d ms: noise of %.1f dB", i*20, l)
							}
						}
					}
					if l := 10 * math.Log10(mean/float64(n)); math.Abs(l-want) > 1 && !(src.Is(codec.G722) && math.Abs(l-want+1) < 1) { // the change of rate takes what is near 4 kHz
						t.Errorf("noise of %.1f dB, not %.1f", l, want)
					}
					if s := d.Stats(); s.Jitter.Lost != 0 || s.Concealed > 10 || s.Decoded != 200 {
						t.Errorf("%+v", s)
					}
				})
			}
		}
	}
}

// Reflection coefficients shape the noise and leave its level (RFC 3389 §3.2).
func TestR3389_NoiseHasItsShape(t *testing.T) {
	for _, k := range []int{0, 127 - 100, 127 + 100} {
		b := newBed(8000)
		description := []byte{40}
		if k != 0 {
			description = append(description, byte(k), 127, 127)
		}
		b.tell(description)
		pcm := make([]int16, 8000)
		b.under(pcm[:160])
		b.under(pcm[160:])
		if l := dB(rms(pcm[160:]), 32768); math.Abs(l+40) > 0.7 {
			t.Errorf("coefficient %d: %.1f dB", k, l)
		}
		step := 0.0
		for i := 161; i < len(pcm); i++ {
			step += math.Pow(float64(pcm[i])-float64(pcm[i-1]), 2)
		}
		tilt := math.Sqrt(step/7840) / rms(pcm[160:]) // sqrt 2 of white noise
		if k == 0 && math.Abs(tilt-math.Sqrt2) > 0.1 || k != 0 && k < 127 && tilt > 0.9 || k > 127 && tilt < 1.7 {
			t.Errorf("coefficient %d: tilt %.2f", k, tilt)
		}
	}
}

// What is missing between words sounds like what was there: the noise of the room, or nothing where there was nothing.
func TestConcealmentFadesToTheNoiseThatWasThere(t *testing.T) {
	for _, src := range []codec.Codec{pcma, g722, opus, narrow, wide} {
		for _, room := range []float64{0, 60} {
			if !transcode.Supported(src) {
				continue
			}
			t.Run(fmt.Sprintf("%s with noise of %.0f", src.Name, room), func(t *testing.T) {
				dst := pcma
				from := rateOf(src, dst)
				pcm := hiss(1, room, 8*from)
				for i, v := range voice(from, 8*from) {
					if i/from%2 == 0 && i < 6*from {
						pcm[i] += v / 2
					}
				}
				var in []sent
				for i, s := range source(t, src, from, pcm, 0) {
					if i < 360 || i >= 390 { // lost: 600 ms of the last pause
						in = append(in, s)
					}
				}
				d := direction(t, Config{Src: src, Dst: dst})
				h := listen(t, d, in, 8000, 5*ms, 9*int64(time.Second))
				before := dB(rms(h.pcm[8000*66/10:8000*71/10])+0.1, 32768)
				for i, l := range levels(h.pcm, 8000)[367:388] {
					if math.Abs(l-before) > 5 {
						t.Errorf("%d ms into the gap: %.1f dB, before it %.1f", 140+i*20, l, before)
					}
				}
			})
		}
	}
}

// A browser that stops sending between words is heard with its noise there.
func TestOpusPausesKeepTheirNoise(t *testing.T) {
	transcodetest.Need(t, opus)
	for _, dst := range []codec.Codec{pcma, g722, narrow} {
		if !transcode.Supported(dst) {
			continue
		}
		rate := rateOf(opus, dst)
		enc, err := transcode.NewEncoder(opus, transcode.EncoderConfig{Rate: rate, DTX: true})
		if err != nil {
			t.Fatal(err)
		}
		defer enc.Close()
		pcm := hiss(2, 40, 10*rate)
		for i, v := range voice(rate, 10*rate) {
			if i/rate == 0 || i/rate == 6 {
				pcm[i] += v
			}
		}
		var in []sent
		code := make([]byte, transcode.MaxPayload)
		for i := range 500 {
			n, err := enc.Encode(pcm[i*rate/50:(i+1)*rate/50], code)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				h := rtp.Header{PT: opus.PT, Seq: uint16(len(in)), TS: uint32(i * 960), SSRC: 3}
				in = append(in, sent{int64(time.Second) + int64(i)*20*ms, packet(h, code[:n])})
			}
		}
		if len(in) > 300 {
			t.Fatalf("%d packets: the source does not pause", len(in))
		}
		d := direction(t, Config{Src: opus, Dst: dst})
		h := listen(t, d, in, rateOf(dst, opus), 5*ms, 11*int64(time.Second))
		checkTimeline(t, h, dst)
		var pause []float64
		for _, l := range levels(h.pcm, rateOf(dst, opus))[150:290] {
			pause = append(pause, l)
			if math.Abs(l-dB(40, 32768)) > 9 {
				t.Errorf("%s: %.1f dB in the pause", dst.Name, l)
			}
		}
		if slices.Sort(pause); math.Abs(pause[len(pause)/2]-dB(40, 32768)) > 5 {
			t.Errorf("%s: %.1f dB in the pause, median", dst.Name, pause[len(pause)/2])
		}
		if s := d.Stats(); s.Concealed > 20 {
			t.Errorf("%s: pauses count as concealed: %+v", dst.Name, s)
		}
	}
}
