package jitter

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// A steady source needs little memory, a burst as much as it brings, and a pause gives it back. Nothing that would have been kept is lost by it.
func TestMemoryFollowsWhatWaits(t *testing.T) {
	b := New(Config{ClockRate: 8000, Max: time.Second})
	if b.slot != nil || b.arena != nil {
		t.Error("memory without a packet")
	}
	now, sent, played := int64(0), 0, 0
	push := func() {
		p := Packet{SSRC: 1, Seq: uint16(65500 + sent), TS: uint32(sent * 80), Dur: 80, Payload: bytes.Repeat([]byte{byte(sent)}, 80)}
		if v := b.Push(now, p); v != Kept {
			t.Fatalf("packet %d: verdict %d", sent, v)
		}
		sent++
	}
	pop := func() bool {
		r := b.Pop(now)
		if r.Kind != Frame {
			return false
		}
		if len(r.Payload) != 80 || bytes.Count(r.Payload, []byte{byte(played)}) != 80 {
			t.Fatalf("packet %d came out as %x", played, r.Payload)
		}
		played++
		return true
	}
	for range 100 { // 10 ms each
		now += 10 * ms
		push()
		pop()
	}
	if len(b.slot) != firstSlots || len(b.arena) != firstArena {
		t.Errorf("%d slots and %d octets for a steady source", len(b.slot), len(b.arena))
	}
	b.Release()
	if b.count == 0 || b.arena == nil {
		t.Errorf("%d packets wait, of which %d octets are left", b.count, len(b.arena))
	}
	for b.count < slots {
		push()
	}
	if len(b.slot) != slots || len(b.arena) != arenaSize {
		t.Errorf("%d slots and %d octets for a burst", len(b.slot), len(b.arena))
	}
	for pop() {
		now += 10 * ms
	}
	if s := b.Stats(); played != sent || s.Skipped+s.Lost+s.Late != 0 {
		t.Errorf("%d of %d played: %+v", played, sent, s)
	}
	b.Release()
	if b.slot != nil || b.arena != nil {
		t.Error("memory in a pause")
	}
	push()
	if len(b.slot) != firstSlots || len(b.arena) != firstArena {
		t.Errorf("%d slots and %d octets after a pause", len(b.slot), len(b.arena))
	}
}

// What a buffer says and plays does not depend on how much memory it has at the moment.
func TestGrowthChangesNothing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 9))
	grown, full := New(Config{ClockRate: 8000, FEC: true}), New(Config{ClockRate: 8000, FEC: true})
	full.slot, full.arena = make([]slot, slots), make([]byte, arenaSize)
	now, seq, frames := int64(0), uint16(0), 0
	for i := range 50000 {
		switch rnd.IntN(100) {
		case 0:
			now += int64(rnd.IntN(400)) * ms // nothing comes, then all at once
		case 1:
			seq += uint16(rnd.IntN(100))
		case 2:
			grown.Release()
		}
		at := seq + uint16(rnd.IntN(7)) - 3
		p := Packet{SSRC: uint32(i / 10000), Seq: at, TS: uint32(at) * 160, Dur: 160, Payload: bytes.Repeat([]byte{byte(i)}, 1+rnd.IntN(120))}
		if a, b := grown.Push(now, p), full.Push(now, p); a != b {
			t.Fatalf("step %d: verdict %d of the small, %d of the full one", i, a, b)
		}
		seq++
		if rnd.IntN(10) > 0 {
			now += 20 * ms
		}
		a, b := grown.Pop(now), full.Pop(now)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("step %d: %+v of the small, %+v of the full one", i, a, b)
		}
		if a.Kind == Frame {
			frames++
		}
	}
	if s := grown.Stats(); s != full.Stats() || frames < 10000 || s.Skipped == 0 || len(grown.slot) == firstSlots {
		t.Errorf("%d frames, %+v", frames, s)
	}
}
