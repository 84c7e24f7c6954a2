package audio

import (
	"encoding/binary"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
)

// FuzzDirection feeds arbitrary payloads and headers: what comes out must be one well-formed packet per tick on one time line.
func FuzzDirection(f *testing.F) {
	f.Add(uint8(0), []byte{1, 0, 20, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(uint8(1), []byte{1, 0, 20, 0, 9, 0x4b, 0x41, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x80, 1, 20, 0, 4, 5, 0, 0, 160})
	f.Add(uint8(2), []byte{1, 0, 200, 0, 4, 5, 0x8a, 0, 160, 1, 0, 3, 0, 200})
	// Two frames of AMR, one of them repeated by the next packet; comfort noise and a pause of AMR-WB.
	f.Add(uint8(4), append([]byte{1, 0, 20, 0, 26, 0xf8, 0x41, 30: 0}, []byte{1, 0xff, 20, 0, 14, 0xf0, 0x40, 18: 0}...))
	f.Add(uint8(5), []byte{1, 0, 20, 0, 7, 0xf0, 0x4c, 1, 2, 3, 4, 5, 1, 7, 160, 0, 7, 0x20, 0x4c, 1, 2, 3, 4, 5, 1, 0, 20, 0, 2, 0xf0, 0x7c})
	f.Fuzz(func(t *testing.T, pair uint8, in []byte) {
		pairs := [][2]int{{0, 1}, {1, 0}, {2, 3}, {3, 0}, {4, 0}, {5, 2}, {1, 4}}
		all := []Config{{Src: pcma}, {Src: opus}, {Src: g722}, {Src: pcmu}, {Src: narrow}, {Src: wideOctets}}
		p := pairs[int(pair)%len(pairs)]
		src, dst := all[p[0]].Src, all[p[1]].Src
		if !transcode.Supported(src) || !transcode.Supported(dst) {
			return
		}
		d := direction(t, Config{Src: src, Dst: dst, SrcDTMF: event(src, 101), DstDTMF: event(dst, 102)})
		now, seq, ts := int64(0), uint16(65530), uint32(0xffffff00)
		var last Frame
		started := false
		out := make([]byte, transcode.MaxPayload)
		for len(in) >= 5 {
			op, n := in[0], int(binary.BigEndian.Uint16(in[3:]))%1500
			seq += 1 + uint16(int8(op)>>4)
			ts += uint32(int32(int8(in[1]))+1) * src.ClockRate / 50
			now += int64(in[2]) * ms
			pt := src.PT
			if op&3 == 3 {
				pt = 101
			}
			n = min(n, len(in)-5)
			v := d.Push(now, rtp.Packet(packet(rtp.Header{PT: pt, Seq: seq, TS: ts, SSRC: uint32(op >> 2 & 1)}, in[5:5+n])))
			if n == 0 && v == Accepted {
				t.Fatal("an empty payload is accepted")
			}
			in = in[5+n:]
			for d.NextTick() <= now {
				before := d.NextTick()
				k, f := d.Tick(now, out)
				if d.NextTick() <= before {
					t.Fatal("the frame clock stands still")
				}
				if f.Kind == None {
					continue
				}
				if k <= 0 || k > len(out) || f.Kind == Event && k != 4 || started && f.Seq != last.Seq+1 {
					t.Fatalf("%d bytes, %+v after %+v", k, f, last)
				}
				if started && f.Kind == Audio && last.Kind == Audio && rtp.TSDiff(f.TS, last.TS) <= 0 {
					t.Fatalf("time goes back: %+v after %+v", f, last)
				}
				last, started = f, true
			}
		}
	})
}
