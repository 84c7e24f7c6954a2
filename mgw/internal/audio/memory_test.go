package audio

import (
	"runtime"
	"testing"
)

// What a direction keeps on Go's heap; libopus adds its own for an encoder and a decoder.
func TestMemoryPerDirection(t *testing.T) {
	const n = 64
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		direction(t, Config{Src: pcma, Dst: pcmu, SrcDTMF: event(pcma, 101), DstDTMF: event(pcmu, 101)})
	}
	runtime.ReadMemStats(&after)
	kib := (after.TotalAlloc - before.TotalAlloc) / n >> 10
	t.Logf("%d KiB", kib)
	if kib > 24 {
		t.Errorf("%d KiB per direction", kib)
	}
}
