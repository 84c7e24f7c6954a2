package jitter

import (
	"testing"
	"time"
)

// A packet that was overtaken is waited for where the delay has to grow anyway: one more frame is concealed, and nothing is lost. With a
// delay that suffices it is given up at once, as waiting would only add to it.
func TestOvertakenPacketIsWaitedForWhileTheDelayGrows(t *testing.T) {
	for _, grows := range []bool{true, false} {
		b := New(Config{ClockRate: 8000, Max: 120 * time.Millisecond})
		push := func(i int, at int64) {
			b.Push(at, Packet{SSRC: 1, Seq: uint16(i), TS: uint32(i * 160), Dur: 160, Payload: []byte{byte(i)}})
		}
		i := 0
		tick := func(held bool) Result {
			now := int64(i+1) * 20 * ms
			if !held {
				push(i, now)
			}
			i++
			return b.Pop(now + ms)
		}
		for range 100 {
			tick(false)
		}
		if grows { // what comes 50 ms late raises the target; the delay itself stays
			for range 2 {
				late := i
				tick(true)
				tick(false)
				push(late, int64(late+1)*20*ms+50*ms)
				for range 5 {
					tick(false)
				}
			}
		}
		before := b.Stats()
		late := i
		tick(true)
		now := int64(i+1) * 20 * ms
		r := tick(false) // its time has come, its successor is there
		push(late, now+10*ms)
		next := tick(false)
		after := b.Stats()
		if grows && (r.Kind != Wait || next.Kind != Frame || next.Payload[0] != byte(late) || after.Lost != before.Lost) {
			t.Errorf("delay %v of %v: %v, then %v", after.Delay, after.Target, r.Kind, next.Kind)
		}
		if !grows && r.Kind != Lost {
			t.Errorf("delay %v of %v: %v at once", after.Delay, after.Target, r.Kind)
		}
	}
}

// played feeds packets, a list for each 20 ms, and returns what came out.
func played(b *Buffer, ticks [][]Packet) (out []Result) {
	for i, ps := range ticks {
		now := int64(i+1) * 20 * ms
		for _, p := range ps {
			b.Push(now, p)
		}
		r := b.Pop(now + ms)
		r.Payload = append([]byte(nil), r.Payload...)
		out = append(out, r)
	}
	return out
}

// frames are the payloads of r's frames, one byte each.
func frames(rs []Result) (s string) {
	for _, r := range rs {
		if r.Kind == Frame {
			s += string(r.Payload)
		}
	}
	return s
}

// What waits of a source is played when another one takes over, whatever its numbers; the first frame of the new one says so. A straggler of
// the old one still finds its place.
func TestRFC3550_8_2_WhatWaitsOfTheOldSourceIsPlayed(t *testing.T) {
	p := func(ssrc uint32, seq uint16, ts uint32, c byte) Packet {
		return Packet{SSRC: ssrc, Seq: seq, TS: ts, Dur: 160, Payload: []byte{c}}
	}
	for name, tc := range map[string]struct {
		ticks [][]Packet
		want  string
		fresh int
		start time.Duration
	}{
		"other SSRC": {[][]Packet{{p(1, 9, 0, 'a')}, {p(1, 10, 160, 'b')}, {p(1, 11, 320, 'c')}, {p(2, 60000, 1<<31, 'd')}, {p(2, 60001, 1<<31+160, 'e')}, nil, nil, nil, nil}, "abcde", 2, 40 * time.Millisecond},
		"numbers go back": {[][]Packet{{p(1, 9000, 0, 'a')}, {p(1, 9001, 160, 'b')}, {p(1, 1, 320, 'x')}, {p(1, 2, 480, 'c')}, {p(1, 3, 640, 'd')}, nil, nil, nil, nil},
			"abcd", 2, 40 * time.Millisecond},
		"clock goes back": {[][]Packet{{p(1, 9, 1<<30, 'a')}, {p(1, 10, 1<<30+160, 'b')}, {p(1, 11, 0, 'c')}, {p(1, 12, 160, 'd')}, nil, nil, nil, nil}, "abcd", 2, 40 * time.Millisecond},
		"straggler": {[][]Packet{{p(1, 9, 0, 'a')}, {p(1, 11, 320, 'c')}, {p(2, 7, 0, 'd'), p(1, 10, 160, 'b'), p(1, 10, 160, 'b')}, {p(2, 8, 160, 'e')}, nil, nil, nil, nil, nil},
			"abcde", 2, 60 * time.Millisecond},
		"and back": {[][]Packet{{p(1, 9, 0, 'a')}, {p(2, 7, 0, 'b')}, {p(1, 10, 320, 'c')}, {p(1, 11, 480, 'd')}, nil, nil, nil, nil}, "abcd", 3, 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(Config{ClockRate: 8000, Start: tc.start, Min: tc.start})
			rs := played(b, tc.ticks)
			fresh := 0
			for _, r := range rs {
				if r.Kind == Frame && r.First {
					fresh++
				}
			}
			if got := frames(rs); got != tc.want || fresh != tc.fresh {
				t.Errorf("played %q with %d beginnings, want %q with %d; %+v", got, fresh, tc.want, tc.fresh, b.Stats())
			}
			if s := b.Stats(); s.Delay > tc.start+45*time.Millisecond || s.Lost != 0 || s.Skipped != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Two that speak by turns under one address do not pile up.
func TestSourcesByTurnsKeepTheDelayBounded(t *testing.T) {
	b := New(Config{ClockRate: 8000})
	played := 0
	for i := range 2000 {
		now := int64(i+1) * 10 * ms
		b.Push(now, Packet{SSRC: uint32(i % 2), Seq: uint16(i / 2), TS: uint32(i / 2 * 160), Dur: 160, Payload: []byte{1}})
		if i%2 == 1 {
			if b.Pop(now).Kind == Frame {
				played++
			}
			if d := b.Stats().Delay; d > 260*time.Millisecond {
				t.Fatalf("packet %d: a delay of %v", i, d)
			}
		}
	}
	if played < 500 {
		t.Errorf("%d frames of 1000 played: %+v", played, b.Stats())
	}
}

// Comfort noise has its place among the frames, and the pause after it is none that anything was lost in (RFC 3389 §4).
func TestRFC3389_4_NoiseHasItsPlace(t *testing.T) {
	b := New(Config{ClockRate: 8000})
	var ticks [][]Packet
	for i := range 400 {
		var ps []Packet
		switch k := i % 100; {
		case k < 50:
			ps = []Packet{{SSRC: 1, Seq: uint16(i/100*52 + k), TS: uint32(i * 160), Dur: 160, Payload: []byte{'a'}}}
		case k == 50 || k == 70: // where speech ends, and an update
			ps = []Packet{{SSRC: 1, Seq: uint16(i/100*52 + 50 + (k-50)/20), TS: uint32(i * 160), Noise: true, Payload: []byte{60}}}
		}
		ticks = append(ticks, ps)
	}
	speech, noise, other := 0, 0, map[Kind]int{}
	last := Empty
	for i, r := range played(b, ticks) {
		switch r.Kind {
		case Frame:
			speech++
		case Noise:
			noise++
			if i%100 < 60 && last != Frame {
				t.Errorf("tick %d: noise after %d, not after the last frame", i, last)
			}
		default:
			other[r.Kind]++
		}
		last = r.Kind
	}
	if s := b.Stats(); speech != 200 || noise != 8 || other[Wait]+other[Lost] != 0 || s.Lost != 0 {
		t.Errorf("%d frames, %d descriptions of noise, else %v; %+v", speech, noise, other, s)
	}
}
