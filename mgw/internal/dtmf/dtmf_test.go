package dtmf

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

const ms = int64(1_000_000)

// wire is one event packet of a source and when it comes.
type wire struct {
	at     int64
	ts     uint32
	marker bool
	b      Block
}

// press lays out the packets of one key press as common senders do: an update every 20 ms, the end three times, 20 ms apart.
func press(at int64, ts uint32, code uint8, length time.Duration, clock uint32) []wire {
	var out []wire
	step := clock / 50
	n := int(length / (20 * time.Millisecond))
	for i := 1; i <= n; i++ {
		out = append(out, wire{at + int64(i)*20*ms, ts, i == 1, Block{Code: code, Volume: 10, Duration: uint16(uint32(i) * step)}})
	}
	end := out[n-1]
	end.b.End, end.marker = true, false
	out[n-1].b.End = n > 1
	for i := range 2 {
		end.at = out[n-1].at + int64(i+1)*20*ms
		out = append(out, end)
	}
	if n == 1 {
		out[0].b.End = false
	}
	return out
}

func (w wire) packet() Packet {
	p := make([]byte, PayloadLen)
	Put(p, w.b)
	return Packet{SSRC: 1, TS: w.ts, Marker: w.marker, Payload: p}
}

func TestRFC4733_2_3_Block(t *testing.T) {
	p := make([]byte, 4)
	want := Block{Code: 11, End: true, Volume: 37, Duration: 0xabcd}
	Put(p, want)
	if !bytes.Equal(p, []byte{11, 0x80 | 37, 0xab, 0xcd}) {
		t.Errorf("% x", p)
	}
	if got, err := Read(p); err != nil || got != want {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := Read([]byte{1, 0x40 | 5, 0, 1}); err != nil || got.Volume != 5 || got.End {
		t.Errorf("the R bit is to be ignored: %+v %v", got, err)
	}
	for _, bad := range [][]byte{nil, {1, 2, 3}, {1, 2, 3, 4, 5}, {17, 0, 0, 0}, {255, 0, 0, 0}} {
		if _, err := Read(bad); !errors.Is(err, ErrPayload) {
			t.Errorf("% x: %v", bad, err)
		}
	}
	keys := ""
	for c := range uint8(18) {
		keys += string(Digit(c))
	}
	if keys != "0123456789*#ABCD!?" {
		t.Error(keys)
	}
}

// One press is one press, whatever part of its packets gets through, as long as any does.
func TestOnePressWhateverIsLost(t *testing.T) {
	for mask := 1; mask < 1<<7; mask++ {
		r := NewReceiver(8000)
		ids := map[uint32]bool{}
		firsts := 0
		for i, w := range press(0, 5000, 7, 100*time.Millisecond, 8000) {
			if mask>>i&1 == 0 {
				continue
			}
			for range 1 + mask%2 { // every packet twice with odd masks
				p, v := r.Push(w.at, w.packet())
				if v != Accepted {
					t.Fatalf("mask %07b packet %d: %v", mask, i, v)
				}
				ids[p.ID] = true
				if p.First {
					firsts++
				}
			}
		}
		r.Poll(1000 * ms)
		d, ok := r.Take()
		if _, more := r.Take(); !ok || more || len(ids) != 1 || firsts != 1 || d.Digit != '7' {
			t.Fatalf("mask %07b: %d presses, %d first packets, %+v %v", mask, len(ids), firsts, d, ok)
		}
		if mask>>4 != 0 && d.Duration != 100*time.Millisecond {
			t.Errorf("mask %07b: %v", mask, d.Duration)
		}
	}
}

func TestPressesFollowEachOther(t *testing.T) {
	r := NewReceiver(8000)
	var all []wire
	for i := range 5 {
		all = append(all, press(int64(i)*200*ms, uint32(i*1600), 5, 100*time.Millisecond, 8000)...) // the same key five times
	}
	for i, w := range all {
		if i%7 == 6 || i%7 == 5 || i%7 == 4 {
			continue // all ends lost
		}
		r.Push(w.at, w.packet())
	}
	late := all[2]
	if _, v := r.Push(900*ms, late.packet()); v != Stale {
		t.Errorf("update of a press long over: %v", v)
	}
	r.Poll(2000 * ms)
	n := 0
	for d, ok := r.Take(); ok; d, ok = r.Take() {
		n++
		if d.Digit != '5' || d.Duration < 60*time.Millisecond {
			t.Errorf("%+v", d)
		}
	}
	if n != 5 {
		t.Errorf("%d presses of 5", n)
	}
}

func TestRFC4733_2_5_1_3_SegmentsAreOnePress(t *testing.T) {
	r := NewReceiver(48000)
	ts, total := uint32(1000), 0
	var last Press
	for seg := range 3 {
		for d := 960; d <= 0xffff+960; d += 960 {
			last, _ = r.Push(int64(total)*ms, Packet{SSRC: 1, TS: ts, Marker: seg == 0 && d == 960, Payload: block(1, min(d, 0xffff), false)})
			total += 20
		}
		ts += 0xffff
	}
	last, _ = r.Push(int64(total)*ms, Packet{SSRC: 1, TS: ts, Payload: block(1, 500, true)})
	if last.ID != 1 || last.Ticks != 3*0xffff+500 || !last.Ended || last.TS != 1000 {
		t.Errorf("%+v", last)
	}
}

func block(code uint8, dur int, end bool) []byte {
	p := make([]byte, PayloadLen)
	Put(p, Block{Code: code, Duration: uint16(dur), End: end})
	return p
}

func TestDetectedRingIsBounded(t *testing.T) {
	r := NewReceiver(8000)
	for i := range 20 {
		r.Push(int64(i)*100*ms, Packet{SSRC: 1, TS: uint32(i * 800), Payload: block(uint8(i%10), 400, true)})
	}
	first, _ := r.Take()
	if r.Missed() != 12 || first.Digit != '2' {
		t.Errorf("%d missed, oldest kept %c", r.Missed(), first.Digit)
	}
}

// clocks are the pairs that occur between browsers and SIP peers.
var clocks = [][2]uint32{{48000, 8000}, {8000, 48000}, {48000, 16000}, {16000, 48000}, {16000, 8000}, {8000, 16000}, {8000, 8000}, {48000, 48000}}

func TestR4733_RelayAcrossClocks(t *testing.T) {
	for _, c := range clocks {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			r := NewRelay(c[0], c[1])
			for k := range 3 {
				ends, tsSeen := 0, map[uint32]bool{}
				in := press(int64(k)*300*ms, uint32(k)*c[0]*3/10+9, uint8(k+1), 160*time.Millisecond, c[0])
				for i, w := range in {
					p := w.packet()
					out, v := r.Push(w.at, p)
					if v != Accepted {
						t.Fatal(v)
					}
					b, err := Read(p.Payload)
					if err != nil {
						t.Fatal(err)
					}
					wantDur := min(uint32(i+1), 8) * c[1] / 50
					if uint32(b.Duration) != wantDur || b.Code != uint8(k+1) || b.Volume != 10 || out.Marker != (i == 0) {
						t.Errorf("press %d packet %d: %+v %+v, want %d ticks", k, i, b, out, wantDur)
					}
					tsSeen[out.TS] = true
					if b.End {
						ends++
					}
				}
				if ends != 3 || len(tsSeen) != 1 {
					t.Errorf("press %d: %d ends, %d timestamps", k, ends, len(tsSeen))
				}
				if d, ok := r.Take(); !ok || d.Duration != 160*time.Millisecond || d.Digit != byte('1'+k) {
					t.Errorf("detected %+v %v", d, ok)
				}
			}
		})
	}
}

// heard is a listener behind a Player: it applies RFC 4733 and collects presses.
type heard struct {
	rx    *Receiver
	clock uint32
	got   []Detected
	ends  int
	marks int
}

func (h *heard) packet(now int64, s Sound, p []byte) {
	if b, err := Read(p); err == nil && b.End {
		h.ends++
	}
	if s.Marker {
		h.marks++
	}
	h.rx.Push(now, Packet{SSRC: 9, TS: s.TS, Marker: s.Marker, Payload: p})
	for d, ok := h.rx.Take(); ok; d, ok = h.rx.Take() {
		h.got = append(h.got, d)
	}
}

// run plays what comes in on a 20 ms clock until everything is over.
func run(t *testing.T, from, to uint32, in []wire) *heard {
	t.Helper()
	rx, pl := NewReceiver(from), NewPlayer(from, to)
	h := &heard{rx: NewReceiver(to), clock: to}
	out := make([]byte, PayloadLen)
	step, ts, next := to/50, uint32(0xfffff000), 0
	for now := int64(0); next < len(in) || pl.Active(); now += 20 * ms {
		for next < len(in) && in[next].at <= now {
			if p, v := rx.Push(in[next].at, in[next].packet()); v == Accepted {
				pl.Update(p)
			}
			next++
		}
		pl.Update(rx.Poll(now))
		if pl.Active() {
			n, s := pl.Next(ts, step, out)
			h.packet(now, s, append([]byte(nil), out[:n]...))
		}
		ts += step
		if now > 60_000*ms {
			t.Fatal("never ends")
		}
	}
	h.rx.Poll(1 << 60)
	for d, ok := h.rx.Take(); ok; d, ok = h.rx.Take() {
		h.got = append(h.got, d)
	}
	return h
}

func TestR4733_PlayerAcrossClocks(t *testing.T) {
	for _, c := range clocks {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			var in []wire
			for k := range 4 {
				in = append(in, press(int64(k)*300*ms+7*ms, uint32(k)*c[0]*3/10+9, uint8(k+9), 160*time.Millisecond, c[0])...)
			}
			h := run(t, c[0], c[1], in)
			keys := ""
			for _, d := range h.got {
				keys += string(d.Digit)
				if d.Duration < 140*time.Millisecond || d.Duration > 180*time.Millisecond {
					t.Errorf("%c for %v", d.Digit, d.Duration)
				}
			}
			if keys != "9*#A" || h.ends != 12 || h.marks != 4 {
				t.Errorf("heard %q, %d ends, %d marks", keys, h.ends, h.marks)
			}
		})
	}
}

func TestPlayerHealsLostEndsAndLongPresses(t *testing.T) {
	in := press(0, 100, 3, 200*time.Millisecond, 8000)
	if h := run(t, 8000, 48000, in[:6]); len(h.got) != 1 || h.ends != 3 || h.got[0].Duration < 120*time.Millisecond || h.got[0].Duration > 480*time.Millisecond {
		t.Errorf("ends lost: %+v, %d ends", h.got, h.ends)
	}
	h := run(t, 8000, 48000, press(0, 100, 3, 5*time.Second, 8000)) // three full segments at 48 kHz
	if len(h.got) != 1 || h.marks != 1 || (h.got[0].Duration-5*time.Second).Abs() > 40*time.Millisecond {
		t.Errorf("five seconds: %+v, %d marks", h.got, h.marks)
	}
	// Quick dialling: one packet per press is all that arrives.
	var quick []wire
	for k := range 6 {
		quick = append(quick, wire{int64(k) * 60 * ms, uint32(k * 480), false, Block{Code: uint8(k), Duration: 320, End: true}})
	}
	if h := run(t, 8000, 8000, quick); len(h.got) != 6 || h.ends != 18 {
		t.Errorf("quick dialling: %+v", h.got)
	}
}

func TestPlayerQueueIsBounded(t *testing.T) {
	p := NewPlayer(8000, 8000)
	for i := range 40 {
		p.Update(Press{ID: uint32(i + 1), Code: 1, Ticks: 400, Ended: true})
	}
	if p.Dropped() != 24 {
		t.Errorf("%d dropped", p.Dropped())
	}
	n, out := 0, make([]byte, 4)
	for p.Active() && n < 1000 {
		p.Next(uint32(n*160), 160, out)
		n++
	}
	if n != 16*(3+2) {
		t.Errorf("%d packets for 16 presses of 50 ms", n)
	}
}

func TestNoAllocations(t *testing.T) {
	r, rl, pl := NewReceiver(48000), NewRelay(48000, 8000), NewPlayer(48000, 8000)
	payload, out := block(4, 960, false), make([]byte, 4)
	i := 0
	if n := testing.AllocsPerRun(200, func() {
		i++
		pk := Packet{SSRC: 1, TS: uint32(i / 5 * 9600), Payload: payload}
		press, _ := r.Push(int64(i)*20*ms, pk)
		pl.Update(press)
		if pl.Active() {
			pl.Next(uint32(i*160), 160, out)
		}
		rl.Push(int64(i)*20*ms, pk)
		r.Take()
		rl.Take()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzEvents feeds arbitrary packets; six bytes are one. The player must stay bounded and what it sends must be valid.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 1, 10, 0, 160, 1, 0, 1, 0x8a, 1, 64, 0, 5, 1, 0x8a, 0, 160, 9})
	f.Add(bytes.Repeat([]byte{3, 9, 0, 255, 255, 20}, 30))
	f.Fuzz(func(t *testing.T, in []byte) {
		rx, rl, pl := NewReceiver(8000), NewRelay(8000, 48000), NewPlayer(8000, 48000)
		out := make([]byte, PayloadLen)
		now, ts, outTS := int64(0), uint32(0xffffff00), uint32(0)
		for ; len(in) >= 6; in = in[6:] {
			now += int64(in[5]) * ms
			ts += uint32(int32(int8(in[0]))) * 40
			p := Packet{SSRC: uint32(in[5] >> 7), TS: ts, Marker: in[0]&1 != 0, Payload: bytes.Clone(in[1:5])}
			press, v := rx.Push(now, p)
			if _, rv := rl.Push(now, p); rv != v {
				t.Fatalf("relay says %v, receiver %v", rv, v)
			}
			if v == Accepted {
				pl.Update(press)
			}
			pl.Update(rx.Poll(now))
			if pl.Active() {
				n, s := pl.Next(outTS, 960, out)
				b, err := Read(out[:n])
				if err != nil || b.Duration == 0 && !b.End || s.TS-outTS > 0 && outTS-s.TS > 1<<31 {
					t.Fatalf("%+v at %d: %+v %v", s, outTS, b, err)
				}
			}
			outTS += 960
		}
	})
}
