package contexts

import (
	"runtime"
	"testing"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// BenchmarkSetUpRelease is one call's share of the control side without media: a context with two terminations, then its end.
func BenchmarkSetUpRelease(b *testing.B) {
	m := New(testConfig(newPool()), newFakeMedia(8))
	defer m.Close()
	b.ReportAllocs()
	for b.Loop() {
		rep := m.Apply(&iqv1.Action{Context: chooseContext(), Atomic: true, Commands: []*iqv1.Command{addAccess(), addCore()}})
		if rep.Error != nil {
			b.Fatal(rep.Error)
		}
		m.Apply(&iqv1.Action{Context: contextID(rep.ContextId), Commands: []*iqv1.Command{subtractAll()}})
	}
}

// BenchmarkContextMemory reports what a context at rest holds, media aside: heap bytes and goroutines per context.
func BenchmarkContextMemory(b *testing.B) {
	const n = 5000
	for b.Loop() {
		m := New(testConfig(newPool()), newFakeMedia(n))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		for range n {
			rep := m.Apply(&iqv1.Action{Context: chooseContext(), Atomic: true, Commands: []*iqv1.Command{addAccess(), addCore()}})
			if rep.Error != nil {
				b.Fatal(rep.Error)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "heapB/context")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/n, "goroutines/context")
		m.Close()
	}
}
