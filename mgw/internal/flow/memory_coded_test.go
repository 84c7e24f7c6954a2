package flow

import (
	"runtime"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestMemoryPerTranscodedCall holds what transcoding adds to a call beyond relaying it, in the midst of the call: on Go's heap and in the libraries'
// hands. With what TestMemoryPerCall allows, and half of Go's heap again that the collector leaves, that is below the goal of 128 KiB.
func TestMemoryPerTranscodedCall(t *testing.T) {
	narrow := codec.Codec{Name: codec.AMR, PT: 97, ClockRate: 8000, Channels: 1, Fmtp: "octet-align=1"}
	for _, tc := range []struct {
		core    codec.Codec
		heap, c float64 // KiB
	}{{pcma, 13, 27}, {narrow, 13, 33}} {
		if !transcode.Supported(opus) || !transcode.Supported(tc.core) {
			continue
		}
		t.Run(tc.core.Name, func(t *testing.T) {
			const n = 12
			browser, core := newTone(t, opus, 1000, 0xbb), newTone(t, tc.core, 600, 0xcc)
			var stages [n + 1]*stage
			for i := range stages {
				stages[i] = newStage(t, both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48), both(SendRecv, []codec.Codec{tc.core, ev8}, tc.core, ev8))
				stages[i].w.coding = stages[0].w.coding // one worker's
			}
			var before uint64
			var outside int
			for i, s := range stages {
				if i == 1 { // the first call has made what is made once
					before, outside = memory(), transcode.Outside()
				}
				for range 50 {
					s.speak(s.a, browser.next())
					s.speak(s.c, core.next())
					s.step()
				}
				if got := [2]int{len(s.all[browserEnd]), len(s.all[coreEnd])}; min(got[0], got[1]) < 40 {
					t.Fatalf("%v packets heard", got)
				}
				s.all, s.last = [2][]arrival{}, [2]rtp.Packet{} // the test's own
			}
			heap, c := float64(memory()-before)/n/1024, float64(transcode.Outside()-outside)/n/1024
			t.Logf("%.1f KiB on Go's heap (limit %.0f), %.1f in C (limit %.0f)", heap, tc.heap, c, tc.c)
			if raceAllocs == 0 && heap > tc.heap || c > tc.c {
				t.Errorf("transcoding adds %.1f KiB on Go's heap and %.1f in C", heap, c)
			}
			runtime.KeepAlive(stages)
		})
	}
}
