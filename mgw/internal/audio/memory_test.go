package audio

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/mgw/internal/jitter"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// heap is what lives on Go's heap, bytes.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What a direction holds in the midst of a call, after two seconds of packets that come 0 to 25 ms late: on Go's heap and in the libraries' hands.
func TestMemoryPerDirection(t *testing.T) {
	for _, tc := range []struct {
		src, dst codec.Codec
		heap, c  int // KiB
	}{
		{opus, pcma, 4, 19}, {pcma, opus, 6, 8}, {opus, wide, 7, 25}, {wide, opus, 8, 18}, {opus, g722, 6, 19}, {g722, opus, 8, 14},
		{pcma, pcmu, 5, 1}, {g722, pcma, 7, 1}, {opus, narrow, 6, 23}, {narrow, opus, 7, 12},
	} {
		if !transcode.Supported(tc.src) || !transcode.Supported(tc.dst) {
			continue
		}
		t.Run(tc.src.Name+"_"+tc.dst.Name, func(t *testing.T) {
			const n = 12
			rate := rateOf(tc.src, tc.dst)
			in := source(t, tc.src, rate, speech(rate, 2*rate), 0)
			shared, all, out := NewScratch(), make([]*Direction, n+1), make([]byte, transcode.MaxPayload)
			var before, outside int
			for k := range all {
				if k == 1 { // the first one has made what is made once
					before, outside = heap(), transcode.Outside()
				}
				d := direction(t, Config{Src: tc.src, Dst: tc.dst, SrcDTMF: event(tc.src, 101), DstDTMF: event(tc.dst, 101), Scratch: shared})
				all[k] = d
				for i := range in {
					p, err := rtp.Parse(in[i].pkt)
					if err != nil {
						t.Fatal(err)
					}
					now := int64(i)*20*ms + int64(i*7%6)*5*ms
					d.Push(now, p)
					for d.NextTick() <= now {
						d.Tick(d.NextTick(), out)
					}
				}
			}
			kib, c := float64(heap()-before)/n/1024, float64(transcode.Outside()-outside)/n/1024
			if s := all[n].Stats(); s.Decoded < 90 || s.Frames < 90 {
				t.Fatalf("%+v", s)
			}
			t.Logf("%.1f KiB on Go's heap (limit %d), %.1f in C (limit %d)", kib, tc.heap, c, tc.c)
			if kib > float64(tc.heap) || c > float64(tc.c) {
				t.Errorf("%.1f KiB on Go's heap and %.1f in C per direction", kib, c)
			}
			runtime.KeepAlive(all)
		})
	}
	t.Logf("Direction %d octets, of which its Config %d and the jitter buffer's %d more", unsafe.Sizeof(Direction{}), unsafe.Sizeof(Config{}), unsafe.Sizeof(jitter.Buffer{}))
}
