package audio

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// BenchmarkDirection is one 20 ms frame through everything: push, decode, encode.
func BenchmarkDirection(b *testing.B) {
	for _, c := range [][2]codec.Codec{{opus, pcma}, {pcma, opus}, {opus, g722}, {g722, opus}, {pcma, pcmu}, {g722, pcma}, {opus, wide}, {wide, opus}, {opus, narrow}, {narrow, opus}} {
		if !transcode.Supported(c[0]) || !transcode.Supported(c[1]) {
			continue
		}
		b.Run(c[0].Name+"_"+c[1].Name, func(b *testing.B) {
			rate := rateOf(c[0], c[1])
			in := source(b, c[0], rate, speech(rate, 4*rate), 0)
			d := direction(b, Config{Src: c[0], Dst: c[1]})
			out := make([]byte, transcode.MaxPayload)
			i, frames := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				p, err := rtp.Parse(in[i%len(in)].pkt)
				if err != nil {
					b.Fatal(err)
				}
				now := int64(i) * 20 * ms
				p.SetSeq(uint16(i))
				p.SetTS(uint32(i) * c[0].ClockRate / 50)
				d.Push(now, p)
				for d.NextTick() <= now {
					if _, f := d.Tick(now, out); f.Kind != None {
						frames++
					}
				}
				i++
			}
			if frames < i-3 {
				b.Fatalf("%d frames of %d: %+v", frames, i, d.Stats())
			}
		})
	}
}

// BenchmarkCodecOnly is the limit of BenchmarkDirection: decoder and encoder of the same pair on the same packets, nothing else.
func BenchmarkCodecOnly(b *testing.B) {
	for _, c := range [][2]codec.Codec{{opus, pcma}, {pcma, opus}, {opus, wide}, {wide, opus}} {
		if !transcode.Supported(c[0]) || !transcode.Supported(c[1]) {
			continue
		}
		b.Run(c[0].Name+"_"+c[1].Name, func(b *testing.B) {
			rate := rateOf(c[0], c[1])
			in := source(b, c[0], rate, speech(rate, 4*rate), 0)
			dec, err := transcode.NewDecoder(c[0], rate)
			if err != nil {
				b.Fatal(err)
			}
			defer dec.Close()
			enc, err := transcode.NewEncoder(c[1], transcode.EncoderConfig{Rate: rate})
			if err != nil {
				b.Fatal(err)
			}
			defer enc.Close()
			pcm, out := make([]int16, 1920), make([]byte, transcode.MaxPayload)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				n, err := dec.Decode(rtp.Packet(in[i%len(in)].pkt).Payload(), pcm)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := enc.Encode(pcm[:n], out); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
