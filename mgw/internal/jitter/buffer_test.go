package jitter

import (
	"bytes"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// feed pushes packet i of a 20 ms stream at its time and pops once.
func feed(b *Buffer, now int64, ssrc uint32, seq uint16, ts uint32) (Verdict, Result) {
	v := b.Push(now, Packet{SSRC: ssrc, Seq: seq, TS: ts, Dur: 160, Payload: []byte{byte(seq >> 8), byte(seq)}})
	return v, b.Pop(now)
}

func TestRestartsPlayOn(t *testing.T) {
	b := New(Config{ClockRate: 8000})
	now := int64(0)
	run := func(name string, ssrc uint32, seq uint16, ts uint32, n int, least int) {
		t.Helper()
		got, fresh := 0, 0
		for i := range n {
			now += 20 * ms
			_, r := feed(b, now, ssrc, seq+uint16(i), ts+uint32(i*160))
			if r.Kind == Frame {
				got++
				if r.First {
					fresh++
				}
			}
		}
		if fresh != 1 {
			t.Errorf("%s: %d frames say that a new source begins", name, fresh)
		}
		if got < least {
			t.Errorf("%s: %d of %d played", name, got, n)
		}
	}
	run("first source", 1, 65500, 0xfffff000, 100, 98)
	run("other SSRC", 2, 7, 99, 100, 98)
	run("numbers jump, confirmed by the second", 2, 30000, 99+100*160, 100, 97)
	run("clock jumps back", 2, 30100, 5, 100, 98)
	now += 60_000 * ms
	run("hold, clock stood still", 2, 30200, 5+100*160, 100, 98)
	if s := b.Stats(); s.Restarts != 4 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
}

// A sender whose machine stood still goes on where it stopped: its time stamps are behind by the whole stall from then on. What it sends
// is soon played again. A stall of the network, whose packets come all at once and are on time again, is no such case.
func TestStallOfTheSenderIsNoLongSilence(t *testing.T) {
	for _, stall := range []int64{210, 250, 400, 900, 1900} {
		for _, caught := range []bool{false, true} {
			b := New(Config{ClockRate: 8000})
			now, seq := int64(0), 0
			push := func() {
				b.Push(now, Packet{SSRC: 1, Seq: uint16(seq), TS: uint32(seq * 160), Dur: 160, Payload: []byte{1}})
				seq++
			}
			run := func(n int) (played int) {
				for range n {
					now += 20 * ms
					push()
					if b.Pop(now+15*ms).Kind == Frame { // the frame clock is not in step with the packets
						played++
					}
				}
				return played
			}
			run(100)
			for end := now + stall*ms; now < end; {
				now += 20 * ms
				b.Pop(now + 15*ms)
			}
			if caught {
				for range stall / 20 {
					push()
				}
			}
			if played := run(50); played < 40 {
				t.Errorf("stall of %d ms, caught up %v: %d of the 50 packets after it were played: %+v", stall, caught, played, b.Stats())
			}
			run(100)
			// What was caught up is at most the largest delay and a packet; the caller shortens it by Adjust.
			if s := b.Stats(); s.Delay > 220*time.Millisecond || !caught && s.Delay > 60*time.Millisecond {
				t.Errorf("stall of %d ms, caught up %v: a delay of %v stays", stall, caught, s.Delay)
			}
		}
	}
}

// A worker that stood still finds all that came meanwhile at once, more than fits. What comes after it is played, without the delay.
func TestStallOfTheWorkerIsNoSilence(t *testing.T) {
	for _, stall := range []int64{300, 900, 1300, 1600, 3000} {
		b := New(Config{ClockRate: 8000})
		now, seq := int64(0), 0
		push := func() {
			b.Push(now, Packet{SSRC: 1, Seq: uint16(seq), TS: uint32(seq * 160), Dur: 160, Payload: make([]byte, 160)})
			seq++
		}
		run := func(n int) (played int) {
			for range n {
				now += 20 * ms
				push()
				if b.Pop(now).Kind == Frame {
					played++
				}
			}
			return played
		}
		run(100)
		now += stall * ms
		for range stall / 20 {
			push()
		}
		if played := run(50); played < 48 {
			t.Errorf("stall of %d ms: %d of the 50 packets after it were played: %+v", stall, played, b.Stats())
		}
		if s := b.Stats(); s.Delay > 400*time.Millisecond {
			t.Errorf("stall of %d ms: a delay of %v stays", stall, s.Delay)
		}
	}
}

func TestRefusals(t *testing.T) {
	b := New(Config{ClockRate: 8000})
	for _, p := range []Packet{{Seq: 1, Payload: []byte{1}}, {Seq: 1, Dur: 160}, {Seq: 1, Dur: 8000, Payload: []byte{1}}, {Seq: 1, Dur: 160, Payload: make([]byte, MaxPayload+1)}} {
		if v := b.Push(0, p); v != Invalid {
			t.Errorf("%d ticks, %d bytes: %v", p.Dur, len(p.Payload), v)
		}
	}
	feed(b, 20*ms, 1, 100, 1600)
	feed(b, 40*ms, 1, 101, 1760)
	if v, _ := feed(b, 41*ms, 1, 101, 1760); v != Duplicate {
		t.Errorf("duplicate: %v", v)
	}
	if v, _ := feed(b, 42*ms, 1, 99, 1440); v != Late {
		t.Errorf("late: %v", v)
	}
	if v, _ := feed(b, 43*ms, 1, 5000, 1760); v != Jump {
		t.Errorf("wild number: %v", v)
	}
}

// The successor of a lost packet is offered exactly when it follows the gap directly.
func TestLostOffersItsSuccessorOnly(t *testing.T) {
	for _, tc := range []struct {
		lost []int
		fec  int
	}{{[]int{20}, 1}, {[]int{20, 21}, 1}, {[]int{20, 22}, 2}, {[]int{20, 21, 22}, 1}} {
		b := New(Config{ClockRate: 8000, Min: 100 * time.Millisecond, Start: 100 * time.Millisecond})
		lost := map[int]bool{}
		for _, l := range tc.lost {
			lost[l] = true
		}
		fec, gaps := 0, 0
		for i := range 60 {
			now := int64(i+1) * 20 * ms
			if !lost[i] {
				b.Push(now, Packet{SSRC: 1, Seq: uint16(i), TS: uint32(i * 160), Dur: 160, Payload: []byte{0, byte(i)}})
			}
			r := b.Pop(now)
			if r.Kind == Lost {
				gaps++
				if r.FEC != nil {
					fec++
					if want := r.TS/160 + 1; uint32(r.FEC[1]) != want {
						t.Errorf("%v: redundancy in packet %d for the gap at %d", tc.lost, r.FEC[1], want-1)
					}
				}
			}
		}
		if fec != tc.fec || gaps != len(tc.lost) {
			t.Errorf("%v: %d gaps, %d with a successor; want %d", tc.lost, gaps, fec, tc.fec)
		}
	}
}

// Waiting for a packet that never comes must not add to the delay: the time already concealed counts against the gap.
func TestLossDoesNotGrowTheDelay(t *testing.T) {
	b := New(Config{ClockRate: 8000, Min: 5 * time.Millisecond, Start: 5 * time.Millisecond})
	waits := 0
	for i := range 500 {
		now := int64(i+1) * 20 * ms
		if i%10 != 7 {
			b.Push(now, Packet{SSRC: 1, Seq: uint16(i), TS: uint32(i * 160), Dur: 160, Payload: []byte{1}})
		}
		if r := b.Pop(now + 6*ms); r.Kind == Wait {
			waits++
		}
	}
	if s := b.Stats(); waits < 30 || s.Delay > 30*time.Millisecond || s.Played < 440 {
		t.Errorf("%d waits, delay %v, %+v", waits, s.Delay, s)
	}
}

// Large payloads run through the small arena without ever being mixed up.
func TestArenaKeepsPayloadsApart(t *testing.T) {
	b := New(Config{ClockRate: 48000, Min: 120 * time.Millisecond, Start: 120 * time.Millisecond})
	played := 0
	for i := range 500 {
		now := int64(i+1) * 20 * ms
		n := 1 + i*37%MaxPayload
		b.Push(now, Packet{SSRC: 1, Seq: uint16(i), TS: uint32(i * 960), Dur: 960, Payload: bytes.Repeat([]byte{byte(i)}, n)})
		if r := b.Pop(now); r.Kind == Frame {
			played++
			k := int(r.TS / 960)
			if len(r.Payload) != 1+k*37%MaxPayload || bytes.Count(r.Payload, []byte{byte(k)}) != len(r.Payload) {
				t.Fatalf("packet %d came out as %d bytes of others", k, len(r.Payload))
			}
		}
	}
	if s := b.Stats(); played < 350 || int(s.Played)+int(s.Skipped)+int(s.Lost) < 480 {
		t.Errorf("%d played, %+v", played, s)
	}
}

func TestNoAllocations(t *testing.T) {
	b := New(Config{ClockRate: 8000, FEC: true})
	payload := make([]byte, 160)
	i := 0
	if n := testing.AllocsPerRun(500, func() {
		i++
		now := int64(i) * 20 * ms
		if i%9 != 0 {
			b.Push(now, Packet{SSRC: 1, Seq: uint16(i), TS: uint32(i * 160), Dur: 160, Payload: payload})
		}
		b.Adjust(now, 0, 160)
		b.Pop(now)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

// FuzzBuffer drives the buffer with arbitrary pushes and pops; four bytes are one step.
func FuzzBuffer(f *testing.F) {
	f.Add([]byte{0, 1, 1, 20, 0, 2, 2, 20, 0, 3, 3, 20, 0, 5, 5, 20})
	f.Add(bytes.Repeat([]byte{0, 1, 1, 20}, 40))
	f.Add([]byte{0, 1, 1, 20, 0x40, 1, 200, 20, 0x80, 9, 9, 255, 0xc0, 1, 1, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		b := New(Config{ClockRate: 8000, FEC: true})
		now, seq, ts := int64(0), uint16(65530), uint32(0xfffffff0)
		lastTS, lastSeq, first := uint32(0), uint16(0), true
		restarts := uint64(0)
		for ; len(in) >= 4; in = in[4:] {
			op, a, c, d := in[0], in[1], in[2], in[3]
			now += int64(d) * ms
			seq += uint16(int8(a))
			ts += uint32(int32(int8(c)) * 160)
			ssrc := uint32(1)
			switch op >> 6 {
			case 1:
				ts += uint32(op) << 20
			case 2:
				ssrc = uint32(op & 3)
			case 3:
				seq += uint16(op) << 8
			}
			b.Push(now, Packet{SSRC: ssrc, Seq: seq, TS: ts, Dur: 80 * uint32(1+op&7), Payload: make([]byte, 1+int(a)*5)})
			for range int(op>>3&3) + 1 {
				r := b.Pop(now)
				if r.Dur == 0 || int64(r.Dur) > 8000/5 {
					t.Fatalf("result of %d ticks", r.Dur)
				}
				if s := b.Stats(); s.Restarts != restarts {
					restarts, first = s.Restarts, true
				}
				if r.Kind == Frame {
					if !first && (rtp.TSDiff(r.TS, lastTS) < 0 || rtp.SeqDiff(b.play.seq, lastSeq) <= 0) {
						t.Fatalf("order: ts %d after %d, seq %d after %d", r.TS, lastTS, b.play.seq, lastSeq)
					}
					lastTS, lastSeq, first = r.TS, b.play.seq, false
				}
			}
			used := 0
			for i := range b.slot {
				if s := &b.slot[i]; s.used {
					used++
					if b.head-s.at > uint64(len(b.arena)) || s.at < b.tail {
						t.Fatalf("payload at %d has been overwritten, head %d tail %d", s.at, b.head, b.tail)
					}
				}
			}
			if used != b.count {
				t.Fatalf("%d slots used, count says %d", used, b.count)
			}
			s := b.Stats()
			if s.Pushed < s.Played+s.Late+s.Duplicates+s.Refused {
				t.Fatalf("more out than in: %+v", s)
			}
		}
	})
}

func BenchmarkPushPop(b *testing.B) {
	buf := New(Config{ClockRate: 8000, FEC: true})
	payload := make([]byte, 160)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		now := int64(i) * 20 * ms
		buf.Push(now, Packet{SSRC: 1, Seq: uint16(i), TS: uint32(i * 160), Dur: 160, Payload: payload})
		buf.Adjust(now, 0, 160)
		buf.Pop(now)
	}
}
