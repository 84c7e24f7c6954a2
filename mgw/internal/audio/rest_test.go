package audio

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// A direction that is replaced gives away what it holds: nothing that came is lost, the numbers go on, and the last frame fades out.
func TestRestIsPlayedAndFadesOut(t *testing.T) {
	for _, pair := range [][2]codec.Codec{{pcma, pcmu}, {opus, pcma}, {pcma, opus}, {g722, pcma}, {wide, pcma}} {
		for _, ends := range []bool{true, false} {
			for _, ptime := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond} {
				src, dst := pair[0], pair[1]
				if !transcode.Supported(src) || !transcode.Supported(dst) {
					continue
				}
				t.Run(fmt.Sprintf("%s to %s, %v, ends %v", src.Name, dst.Name, ptime, ends), func(t *testing.T) {
					from, to := rateOf(src, dst), rateOf(dst, src)
					d := direction(t, Config{Src: src, Dst: dst, Ptime: ptime, DelayMin: 60 * time.Millisecond, DelayStart: 60 * time.Millisecond})
					in := source(t, src, from, toneFrom(440, 8000, 0.1, from, from), 0)
					h := listen(t, d, in, to, 5*ms, in[len(in)-1].at+ms)
					dec, err := transcode.NewDecoder(dst, to)
					if err != nil {
						t.Fatal(err)
					}
					defer dec.Close()
					if _, err := dec.Decode(h.last, make([]int16, to)); err != nil {
						t.Fatal(err)
					}
					out, pcm := make([]byte, transcode.MaxPayload), make([]int16, to)
					var rest []int16
					for range 20 {
						n, f := d.Rest(out, ends)
						if f.Kind == None {
							break
						}
						if last := h.frames[len(h.frames)-1]; f.Seq != last.Seq+1 || f.TS-last.TS != d.step || f.Marker {
							t.Errorf("%+v after %+v", f, last)
						}
						h.frames = append(h.frames, f)
						k, err := dec.Decode(out[:n], pcm)
						if err != nil {
							t.Fatal(err)
						}
						rest = append(rest, pcm[:k]...)
					}
					if s := d.Stats(); int(s.Decoded) != len(in) {
						t.Errorf("%d of %d packets played: %+v", s.Decoded, len(in), s)
					}
					if len(rest) < to*50/1000 {
						t.Fatalf("%d samples", len(rest))
					}
					if n, f := d.Rest(out, ends); f.Kind != None {
						t.Errorf("%d bytes more", n)
					}
					quiet := append(rest, make([]int16, to/20)...)
					c, at := clicks(quiet[to/100:], to)
					if ends && c > 2.5*audible {
						t.Errorf("a click of %.0f %d ms into the rest", c, at*1000/to+10)
					}
					if !ends && ptime == 20*time.Millisecond && math.Abs(dB(rms(rest[len(rest)-to/100:]), 8000/math.Sqrt2)) > 3 {
						t.Error("the source goes on, but the rest fades")
					}
				})
			}
		}
	}
}

// What has nothing to say leaves nothing.
func TestNoRestOfSilence(t *testing.T) {
	out := make([]byte, transcode.MaxPayload)
	d := direction(t, Config{Src: pcma, Dst: pcmu})
	if _, f := d.Rest(out, true); f.Kind != None {
		t.Errorf("before the first packet: %+v", f)
	}
	d = direction(t, Config{Src: pcma, Dst: pcmu})
	in := source(t, pcma, 8000, tone(440, 8000, 8000, 8000), 0)
	listen(t, d, in, 8000, 5*ms, 5*int64(time.Second))
	if _, f := d.Rest(out, true); f.Kind != None {
		t.Errorf("after the source has gone: %+v", f)
	}
	d.Close()
	if _, f := d.Rest(out, true); f.Kind != None {
		t.Errorf("after Close: %+v", f)
	}
}
