package flow

import (
	"runtime"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
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
			n := race.Fewer(48, 12) // so many that a stack of the test's more or less does not show
			browser, core := newTone(t, opus, 1000, 0xbb), newTone(t, tc.core, 600, 0xcc)
			stages := make([]*stage, n+1)
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
			heap, c := float64(memory()-before)/float64(n)/1024, float64(transcode.Outside()-outside)/float64(n)/1024
			t.Logf("%.1f KiB on Go's heap (limit %.0f), %.1f in C (limit %.0f)", heap, tc.heap, c, tc.c)
			if !race.Enabled && heap > tc.heap || c > tc.c {
				t.Errorf("transcoding adds %.1f KiB on Go's heap and %.1f in C", heap, c)
			}
			runtime.KeepAlive(stages)
		})
	}
}

// A source that is silent for long, as on a hold that only one side knows of, costs no codecs; what it says then goes on in the stream that its
// hearer knows, at its time.
func TestSilentSourceHoldsNoCodecs(t *testing.T) {
	transcodetest.Need(t, opus)
	s := newStage(t, both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48), both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8))
	talker := newTone(t, pcma, 600, 0xcc)
	talk := func(packets int) {
		for range packets {
			s.speak(s.c, talker.next())
			s.step()
			s.c.sweep(s.now)
		}
	}
	talk(50)
	first, last := s.c.to.active, s.all[browserEnd][len(s.all[browserEnd])-1]
	if first == nil {
		t.Fatal("no transcoder")
	}
	outside := transcode.Outside()
	begin := s.now
	for s.c.to.active != nil && s.now-begin < int64(time.Minute) {
		s.step()
		s.c.sweep(s.now)
	}
	if gone := time.Duration(s.now - begin); gone < 9*time.Second || gone > 11*time.Second {
		t.Fatalf("the transcoder was there for %v", gone)
	}
	if freed := outside - transcode.Outside(); freed < 4<<10 {
		t.Errorf("%d octets in C given back", freed)
	}
	if !s.c.stats().Transcoding {
		t.Error("statistics say that the call is not transcoded")
	}
	heard := len(s.all[browserEnd])
	talk(50)
	if s.c.to.active == nil || s.c.to.active == first {
		t.Fatal("no other transcoder")
	}
	after := s.all[browserEnd][heard:]
	if len(after) < 45 || !after[0].Marker() {
		t.Fatalf("%d packets heard after the silence", len(after))
	}
	passed, stamps := after[0].at-last.at, rtp.Nanos(int64(rtp.TSDiff(after[0].TS(), last.TS())), 48000)
	if off := time.Duration(passed - stamps); off < -25*time.Millisecond || off > 25*time.Millisecond {
		t.Errorf("%v passed, %v in timestamps", time.Duration(passed), time.Duration(stamps))
	}
}
