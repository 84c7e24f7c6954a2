package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/jitter"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func TestNapFitsTheTraffic(t *testing.T) {
	const ms, us = time.Millisecond, time.Microsecond
	longest := 900 * us
	for _, c := range []struct {
		name            string
		spent           time.Duration
		received        int // in the last window
		relayed         int
		coding          bool
		now             time.Duration
		longest, wanted time.Duration
	}{
		{"silence", 0, 0, 0, true, 500 * us, longest, 0},
		{"few relayed datagrams do not wait", 0, 15, 15, true, 500 * us, longest, 0},
		{"relay wakes on the beat", 0, 100, 100, false, 5300 * us, longest, 700 * us},
		{"a beat that is near is left out", 0, 100, 100, false, 5900 * us, longest, longest},
		{"a good batch is enough", 0, 960, 960, false, 5300 * us, longest, 500 * us},
		{"what came during the round counts", 300 * us, 960, 960, false, 5300 * us, longest, 200 * us},
		{"a batch that is nearly there", 451 * us, 960, 960, false, 5300 * us, longest, 0},
		{"after a stall", 3 * ms, 960, 960, false, 5300 * us, longest, 0},
		{"frame clocks only", 0, 20, 0, true, 4700 * us, longest, 300 * us},
		{"control only", 0, 20, 0, false, 4700 * us, longest, 0},
		{"one relayed among transcoded", 0, 100, 1, true, 5300 * us, longest, 700 * us},
		{"never", 0, 100, 100, true, 5300 * us, 0, 0},
	} {
		l := loadMeter{urgent: c.relayed}
		l.add(int64(10*ms), c.received)
		if got := l.nap(int64(c.now), int64(c.spent), c.longest, c.coding); got != c.wanted {
			t.Errorf("%s: %v, want %v", c.name, got, c.wanted)
		}
	}
}

func TestFrameClocksTickTogether(t *testing.T) {
	var l loadMeter
	for due, want := range map[int64]int64{0: 0, 1: frameBeat, frameBeat: frameBeat, frameBeat + 1: 2 * frameBeat} {
		if got := l.onBeat(due); got != want {
			t.Errorf("due %d ticks at %d, want %d", due, got, want)
		}
	}
	least := frameBeat >> maxHalved
	if least<<maxHalved != frameBeat {
		t.Error("a halved beat is not on the whole one")
	}
	if int64(jitter.ShiftStep)%frameBeat != 0 {
		t.Error("a frame clock that is moved a step does not move by as much")
	}
	for ptime := 10 * time.Millisecond; ptime <= 240*time.Millisecond; ptime += 10 * time.Millisecond {
		if int64(ptime)%frameBeat != 0 {
			t.Errorf("frames of %v do not stay on the beat", ptime)
		}
	}
}

// TestBeatFitsTheFrames: many frames are spread over shorter beats, few share a wake-up; a load near the border does not move the beat to and fro.
func TestBeatFitsTheFrames(t *testing.T) {
	var l loadMeter
	now := int64(0)
	run := func(frames float64, windows int) (moves int) { // frames per ms
		due := 0.0
		for range windows {
			now += loadWindow
			due += frames * float64(loadWindow) / 1e6
			before := l.halved
			l.frames = int(due)
			due -= float64(l.frames)
			l.add(now, 1)
			if l.halved != before {
				moves++
			}
		}
		return moves
	}
	for _, c := range []struct {
		frames float64
		want   time.Duration
	}{
		{2, 5 * time.Millisecond},
		{5, 2500 * time.Microsecond}, {4, 2500 * time.Microsecond}, {2.5, 2500 * time.Microsecond}, // 12.5 in two and a half ms; then few, and not too few
		{18, 1250 * time.Microsecond}, {8, 1250 * time.Microsecond},
		{4, 2500 * time.Microsecond}, {0, 5 * time.Millisecond},
	} {
		run(c.frames, 300)
		if got := time.Duration(l.beat()); got != c.want {
			t.Errorf("%v frames per ms: a beat of %v, want %v", c.frames, got, c.want)
		}
	}
	if l.onBeat(1) != frameBeat {
		t.Error("the beat is not whole again")
	}
	run(5, 300)
	for i := range 40 {
		if moves := run(4.8+0.4*float64(i%2), 20); moves > 0 {
			t.Fatalf("the beat moved %d times around its border", moves)
		}
	}
	if now += 1200 * int64(time.Microsecond); l.nap(now, 0, 900*time.Microsecond, true) != 1300*time.Microsecond {
		t.Errorf("the nap does not end with the beat: %v", l.nap(now, 0, 900*time.Microsecond, true))
	}
}

// TestFramesTickOnTheBeatOfTheLoad: a transcoder waits for a shorter beat no longer than that is.
func TestFramesTickOnTheBeatOfTheLoad(t *testing.T) {
	for halved := range uint8(maxHalved + 1) {
		r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
		r.w.load.halved = halved
		now := int64(time.Second) + 1
		if r.c.core.media(now, sipAddr, r.fill(make([]byte, bufferSize), 8)) != nil {
			t.Fatal("relayed")
		}
		for range 3 {
			due, ok := r.w.clock.next()
			wants := r.c.to.active.dir.NextTick()
			if !ok || due < wants || due-wants >= frameBeat>>halved || due%(frameBeat>>halved) != 0 {
				t.Errorf("halved %d times: a frame of %d is due at %d", halved, wants, due)
			}
			r.w.clock.heap[0].of.tick(due)
		}
	}
}
