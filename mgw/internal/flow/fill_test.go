package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// What a browser hears first does not wait for the pipeline to fill: it runs from the answer on, and nothing leaves before the keys.
func TestTranscoderFillsWhileTheKeysAreOnTheirWay(t *testing.T) {
	transcodetest.Need(t, opus)
	access := both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48)
	core := both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8)
	r := newRig(t, srtp.AES128GCM, access, core)
	tx := r.a.out.tx
	r.a.out.tx = nil
	buf := make([]byte, bufferSize)
	now := int64(time.Second)
	tick := func() {
		for due, ok := r.w.clock.next(); ok && due <= now; due, ok = r.w.clock.next() {
			r.w.clock.heap[0].of.tick(now)
		}
		r.w.flush()
	}
	for range 10 {
		now += int64(20 * time.Millisecond)
		r.c.core.media(now, sipAddr, r.fill(buf, 8))
		tick()
	}
	if r.a.out.packets != 0 {
		t.Fatalf("%d packets left without keys", r.a.out.packets)
	}
	r.a.out.tx = tx
	now += int64(20 * time.Millisecond) // no further packet of the source
	tick()
	if r.a.out.packets != 1 {
		t.Errorf("%d packets within a frame of the keys, want 1", r.a.out.packets)
	}
	if err := r.a.configure(2, both(Inactive, []codec.Codec{opus, ev48}, opus, ev48)); err != nil {
		t.Fatal(err)
	}
	before := r.c.to.made
	r.c.core.media(now, sipAddr, r.fill(buf, 8))
	if r.c.to.made != before {
		t.Error("a pipeline was made behind a closed gate")
	}
}
