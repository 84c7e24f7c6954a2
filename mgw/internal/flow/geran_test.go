package flow

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// A peer with a mobile of GERAN behind it gets, whatever modes it asks for in its packets, only those of its mode-set, a change every second frame
// at most and to a neighbour only (TS 26.114 §7.5.2.1, RFC 4867 §8.1), in its packing.
func TestCOD03_COD04_GERANPeerOverThePath(t *testing.T) {
	const rules = "mode-set=0,2,4,7;mode-change-period=2;mode-change-neighbor=1;mode-change-capability=2"
	for _, f := range []amr.Format{{Codec: amr.Narrow}, {Codec: amr.Narrow, OctetAligned: true}} {
		c := codec.Codec{Name: codec.AMR, PT: 104, ClockRate: 8000, Channels: 1, Fmtp: rules}
		if f.OctetAligned {
			c.Fmtp = "octet-align=1;" + rules
		}
		if !transcode.Supported(c) {
			t.Log("build without AMR")
			return
		}
		r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), both(SendRecv, []codec.Codec{c}, c, codec.Codec{}))
		buf, rng := make([]byte, bufferSize), rand.New(rand.NewPCG(3, 1))
		set := []uint8{0, 2, 4, 7}
		last, lastTS, changed, changes, sent := -1, uint32(0), uint32(0), 0, 0
		for i := range 600 {
			now := int64(i+1) * int64(20*time.Millisecond)
			if i%7 == 0 { // the peer says something, and which mode it wants
				var p amr.Packet
				p.Reset(amr.Narrow, uint8(rng.UintN(8)))
				if err := p.Add(append([]byte{2<<3 | 4}, bytes.Repeat([]byte{0x55}, amr.FrameSize-1)...)); err != nil {
					t.Fatal(err)
				}
				rtp.PutHeader(buf, rtp.Header{PT: 104, Seq: uint16(i / 7), TS: uint32(i) * 160, SSRC: 77})
				n, err := p.Build(f, buf[rtp.HeaderLen:])
				if err != nil {
					t.Fatal(err)
				}
				r.c.core.media(now, sipAddr, buf[:rtp.HeaderLen+n:bufferSize])
			}
			r.a.media(now, r.fill(buf, 8))
			for due, ok := r.w.clock.next(); ok && due <= now; due, ok = r.w.clock.next() {
				before := r.c.out.packets
				r.w.clock.heap[0].of.tick(now)
				if r.c.out.packets == before {
					continue
				}
				out := rtp.Packet(r.w.own[r.w.ownUsed-1])
				// The buffer is longer than the packet; the type of its first frame stands in the second octet, or across the first two.
				b, ts := out[rtp.HeaderLen:], out.TS()
				ft := int(b[0]&7<<1 | b[1]>>7)
				if f.OctetAligned {
					ft = int(b[1] >> 3 & 15)
				}
				at := slices.Index(set, uint8(ft))
				if at < 0 || out.PT() != 104 {
					t.Fatalf("mode %d under payload type %d", ft, out.PT())
				}
				if last >= 0 && ft != last {
					if d := at - slices.Index(set, uint8(last)); d != 1 && d != -1 {
						t.Fatalf("mode %d after %d", ft, last)
					}
					if changes > 0 && (ts-changed)%320 != 0 {
						t.Fatalf("a change %d ticks after the one before", ts-changed)
					}
					changed = ts
					changes++
				}
				last, lastTS = ft, ts
				sent++
			}
			r.w.flush()
		}
		if changes < 20 || sent < 550 || lastTS == 0 {
			t.Errorf("%+v: %d changes in %d packets", f, changes, sent)
		}
	}
}
