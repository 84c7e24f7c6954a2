package audio

import (
	"runtime"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// What a direction keeps on Go's heap; libopus, opencore-amr and vo-amrwbenc add their own for an encoder and a decoder.
func TestMemoryPerDirection(t *testing.T) {
	for _, tc := range []struct {
		src, dst codec.Codec
		limit    uint64 // KiB
	}{{pcma, pcmu, 22}, {opus, wide, 28}, {wide, opus, 36}} {
		if !transcode.Supported(tc.src) || !transcode.Supported(tc.dst) {
			continue
		}
		const n = 64
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			direction(t, Config{Src: tc.src, Dst: tc.dst, SrcDTMF: event(tc.src, 101), DstDTMF: event(tc.dst, 101)})
		}
		runtime.ReadMemStats(&after)
		kib := (after.TotalAlloc - before.TotalAlloc) / n >> 10
		t.Logf("%s to %s: %d KiB", tc.src.Name, tc.dst.Name, kib)
		if kib > tc.limit {
			t.Errorf("%s to %s: %d KiB per direction", tc.src.Name, tc.dst.Name, kib)
		}
	}
}
