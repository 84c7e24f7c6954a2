//go:build cgo && !noopus

package transcode

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

var opusFull = codec.Codec{Name: codec.Opus, PT: 111, ClockRate: 48000, Channels: 2}

// talk is a second of something like speech: gliding harmonics in syllables, noise between.
func talk(rate, from int) []int16 {
	pcm, noise := make([]int16, rate), rand.New(rand.NewPCG(uint64(from), 1))
	for i := range pcm {
		t := float64(from*rate+i) / float64(rate)
		v := 0.0
		for k := 1.0; k < 12; k++ {
			v += math.Sin(2*math.Pi*k*(140*t+8*math.Sin(3*t))) / k
		}
		pcm[i] = int16(5000*v*max(0, math.Sin(2*math.Pi*2.3*t)) + 100*noise.NormFloat64())
	}
	return pcm
}

// An encoder whose state is parked between frames makes the same octets as one whose state stays where it is, whatever it is set to, also when
// others use the memory meanwhile.
func TestParkedEncoderIsTheSame(t *testing.T) {
	shared := &Scratch{}
	type pair struct{ plain, parked Encoder }
	for _, cfg := range []EncoderConfig{
		{Rate: 8000}, {Rate: 16000}, {Rate: 16000, Complexity: 10, Loss: 10}, {Rate: 8000, DTX: true}, {Rate: 16000, Bitrate: 128000, Ptime: 10 * time.Millisecond},
		{Rate: 16000, Ptime: 60 * time.Millisecond, Bitrate: 6000},
	} {
		var pairs []pair
		for range 3 {
			var p pair
			var err error
			if p.plain, err = NewEncoder(opusFull, cfg); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.plain.Close)
			cfg := cfg
			cfg.Scratch = shared
			if p.parked, err = NewEncoder(opusFull, cfg); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.parked.Close)
			pairs = append(pairs, p)
		}
		ptime := cfg.Ptime
		if ptime == 0 {
			ptime = 20 * time.Millisecond
		}
		n := cfg.Rate * int(ptime/time.Millisecond) / 1000
		var a, b [MaxPayload]byte
		for second := range 4 {
			speech := [3][]int16{talk(cfg.Rate, second), talk(cfg.Rate, 10+second), make([]int16, cfg.Rate)}
			for i := 0; i+n <= cfg.Rate; i += n {
				for k, p := range pairs {
					if i == 5*n {
						p.plain.SetLoss(10 * second)
						p.parked.SetLoss(10 * second)
					}
					ka, errA := p.plain.Encode(speech[k][i:i+n], a[:])
					kb, errB := p.parked.Encode(speech[k][i:i+n], b[:])
					if errA != nil || errB != nil || !bytes.Equal(a[:ka], b[:kb]) {
						t.Fatalf("%+v: encoder %d differs after %d s and %d samples: %v, %v", cfg, k, second, i, errA, errB)
					}
				}
			}
		}
		kept := pairs[0].parked.(*opusEncoder).kept()
		t.Logf("%+v: %d octets kept of %d", cfg, kept, pairs[0].plain.(*opusEncoder).kept())
		if cfg.Complexity == 0 && cfg.Bitrate == 0 && kept > 13<<10 {
			t.Errorf("%+v: %d octets kept", cfg, kept)
		}
		for _, v := range shared.wide {
			if v != 0 {
				t.Fatal("something was left in the memory that all share")
			}
		}
	}
}

func TestParkedEncoderDoesNotAllocate(t *testing.T) {
	enc, err := NewEncoder(opusFull, EncoderConfig{Rate: 8000, Scratch: &Scratch{}})
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	pcm, out, i := talk(8000, 0), make([]byte, MaxPayload), 0
	if n := testing.AllocsPerRun(500, func() {
		if _, err := enc.Encode(pcm[i%50*160:][:160], out); err != nil {
			t.Fatal(err)
		}
		i++
	}); n != 0 {
		t.Errorf("%.1f allocations per frame", n)
	}
}

// BenchmarkOpusEncoders encodes a frame of each of 200 calls in turn, whose states do not fit the caches.
func BenchmarkOpusEncoders(b *testing.B) {
	for _, rate := range []int{8000, 16000} {
		for _, parked := range []bool{false, true} {
			b.Run(map[bool]string{false: "plain", true: "parked"}[parked]+map[int]string{8000: "8k", 16000: "16k"}[rate], func(b *testing.B) {
				cfg := EncoderConfig{Rate: rate}
				if parked {
					cfg.Scratch = &Scratch{}
				}
				encs := make([]Encoder, 200)
				for i := range encs {
					var err error
					if encs[i], err = NewEncoder(opusFull, cfg); err != nil {
						b.Fatal(err)
					}
					defer encs[i].Close()
				}
				pcm, out, i, n := talk(rate, 0), make([]byte, MaxPayload), 0, rate/50
				for b.Loop() {
					if _, err := encs[i%len(encs)].Encode(pcm[i/len(encs)%50*n:][:n], out); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
	}
}
