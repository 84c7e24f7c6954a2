package stamp

import (
	"math/rand/v2"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

const (
	ms     = int64(1_000_000)
	second = 1000 * ms
)

func start() *Stamper {
	return New(Config{SSRC: 0xabc, Seq: 65530, TS: 0xffffff00, ClockRate: 8000})
}

// pass maps a packet that must go out.
func pass(t *testing.T, s *Stamper, now int64, in In) Out {
	t.Helper()
	o, v := s.Map(now, in)
	if v != Pass {
		t.Fatalf("%+v at %d ms: %v", in, now/ms, v)
	}
	if o.SSRC != 0xabc {
		t.Fatalf("SSRC %x", o.SSRC)
	}
	return o
}

func TestSteadyStreamIsShiftedOnly(t *testing.T) {
	s := start()
	for i := range 200 {
		o := pass(t, s, int64(i)*100*ms, In{SSRC: 1, Seq: uint16(65000 + i*5), TS: uint32(i * 160 * 5), Marker: i == 7})
		if want := uint16(65530 + i*5); o.Seq != want {
			t.Fatalf("packet %d: seq %d, want %d: gaps must stay", i, o.Seq, want)
		}
		if want := 0xffffff00 + uint32(i*800); o.TS != want {
			t.Fatalf("packet %d: ts %x", i, o.TS)
		}
		if o.Marker != (i == 0 || i == 7) {
			t.Errorf("packet %d: marker %v", i, o.Marker)
		}
	}
}

func TestSourceChangesKeepTheStream(t *testing.T) {
	s := start()
	last := Out{}
	now := int64(0)
	step := func(name string, in In, wait int64, wantSeq uint16, wantTS uint32, marker bool) {
		t.Helper()
		now += wait
		o := pass(t, s, now, in)
		if dq, dt := o.Seq-last.Seq, o.TS-last.TS; dq != wantSeq || dt != wantTS || o.Marker != marker {
			t.Errorf("%s: seq +%d ts +%d marker %v, want +%d +%d %v", name, dq, dt, o.Marker, wantSeq, wantTS, marker)
		}
		last = o
	}
	last = pass(t, s, now, In{SSRC: 1, Seq: 100, TS: 5000})
	step("next", In{SSRC: 1, Seq: 101, TS: 5160}, 20*ms, 1, 160, false)
	step("other SSRC after 40 ms", In{SSRC: 2, Seq: 9, TS: 77}, 40*ms, 1, 320, true)
	step("its next", In{SSRC: 2, Seq: 10, TS: 237}, 20*ms, 1, 160, false)
	s.Switch()
	step("pipeline switch, same SSRC, same instant", In{SSRC: 2, Seq: 500, TS: 1}, 0, 1, 160, true)
	step("lost three", In{SSRC: 2, Seq: 504, TS: 641}, 80*ms, 4, 640, false)
	step("hold of a minute, source clock stood still", In{SSRC: 2, Seq: 505, TS: 801}, 60*second, 1, 480000, true)
	step("source clock jumps back", In{SSRC: 2, Seq: 506, TS: 100}, 20*ms, 1, 160, true)
	step("source clock jumps ahead by an hour", In{SSRC: 2, Seq: 507, TS: 100 + 3600*8000}, 20*ms, 1, 160, true)
	s.SetClock(48000)
	step("codec with another clock", In{SSRC: 2, Seq: 508, TS: 9}, 20*ms, 1, 960, true)
	step("its next", In{SSRC: 2, Seq: 509, TS: 969}, 20*ms, 1, 960, false)
	if ts, ok := s.Now(now + 10*ms); !ok || ts != last.TS+480 {
		t.Errorf("timestamp for a report: +%d", ts-last.TS)
	}
}

func TestReorderAndDuplicates(t *testing.T) {
	s := start()
	a := pass(t, s, 0, In{SSRC: 1, Seq: 10, TS: 1600})
	c := pass(t, s, 40*ms, In{SSRC: 1, Seq: 12, TS: 1920})
	b := pass(t, s, 41*ms, In{SSRC: 1, Seq: 11, TS: 1760})
	if b.Seq != a.Seq+1 || c.Seq != a.Seq+2 || b.TS != a.TS+160 {
		t.Errorf("reordered: %+v %+v %+v", a, b, c)
	}
	for _, tc := range []struct {
		seq  uint16
		want Verdict
	}{{11, Duplicate}, {12, Duplicate}, {10, Duplicate}, {9, Late}, {65535, Late}} {
		if _, v := s.Map(42*ms, In{SSRC: 1, Seq: tc.seq, TS: 0}); v != tc.want {
			t.Errorf("seq %d: %v, want %v", tc.seq, v, tc.want)
		}
	}
	s.Switch()
	pass(t, s, 60*ms, In{SSRC: 1, Seq: 13, TS: 2080})
	if _, v := s.Map(61*ms, In{SSRC: 1, Seq: 12, TS: 1920}); v != Late {
		t.Errorf("from before the switch: %v", v)
	}
}

func TestRFC3550_A1_WildJumpNeedsASuccessor(t *testing.T) {
	s := start()
	a := pass(t, s, 0, In{SSRC: 1, Seq: 10, TS: 0})
	if _, v := s.Map(20*ms, In{SSRC: 1, Seq: 30000, TS: 0}); v != Jump {
		t.Fatalf("wild packet: %v", v)
	}
	if o := pass(t, s, 21*ms, In{SSRC: 1, Seq: 11, TS: 160}); o.Seq != a.Seq+1 {
		t.Errorf("the stream was disturbed: %+v", o)
	}
	if _, v := s.Map(40*ms, In{SSRC: 1, Seq: 40000, TS: 0}); v != Jump {
		t.Fatal("wild packet after recovery passes")
	}
	if o := pass(t, s, 60*ms, In{SSRC: 1, Seq: 40001, TS: 160}); o.Seq != a.Seq+2 || !o.Marker {
		t.Errorf("confirmed restart: %+v", o)
	}
}

func TestRFC4733_2_1_EventsKeepOneTimestamp(t *testing.T) {
	for _, kind := range []Kind{Event, ForeignEvent} {
		s := start()
		a := pass(t, s, 0, In{SSRC: 1, Seq: 10, TS: 1000})
		first := pass(t, s, 20*ms, In{SSRC: 1, Seq: 11, TS: 1160, Marker: true, Kind: kind})
		if first.TS != a.TS+160 || !first.Marker {
			t.Errorf("kind %d first %+v after %+v", kind, first, a)
		}
		for i := range 10 {
			o := pass(t, s, int64(i+2)*20*ms, In{SSRC: 1, Seq: uint16(12 + i), TS: 1160, Kind: kind})
			if o.TS != first.TS || o.Seq != first.Seq+uint16(i)+1 || o.Marker {
				t.Errorf("kind %d packet %d: %+v", kind, i, o)
			}
		}
		after := pass(t, s, 240*ms, In{SSRC: 1, Seq: 22, TS: 1000 + 240*8})
		if after.TS != a.TS+240*8 {
			t.Errorf("kind %d: audio resumes at +%d, want +%d", kind, after.TS-a.TS, 240*8)
		}
		second := pass(t, s, 300*ms, In{SSRC: 1, Seq: 23, TS: 1000 + 300*8, Marker: true, Kind: kind})
		if second.TS == first.TS || second.TS != a.TS+300*8 {
			t.Errorf("kind %d: second event at +%d", kind, second.TS-a.TS)
		}
	}
}

// Whatever comes in: no output number is used twice, packets newer than all before raise number and never lower the timestamp, and
// the distance between two numbers stays within what SRTP's rollover estimate can follow.
func TestPropertyAnyInput(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := New(Config{SSRC: 1, Seq: uint16(r.Uint32()), TS: r.Uint32(), ClockRate: []uint32{8000, 48000}[r.IntN(2)]})
		checkRun(t, seed, r, s)
	}
}

func checkRun(t *testing.T, seed uint64, r *rand.Rand, s *Stamper) {
	t.Helper()
	used := map[int64]bool{}
	var ext int64 // extended output number
	var hiTS uint32
	var src, seq, ts = uint32(1), uint16(r.Uint32()), r.Uint32()
	now, sent := int64(0), 0
	for range 600 {
		now += r.Int64N(40 * ms)
		seq++
		ts += 160
		in := In{SSRC: src, Seq: seq, TS: ts, Marker: r.IntN(50) == 0}
		switch r.IntN(40) {
		case 0:
			src, seq, ts = r.Uint32N(3), uint16(r.Uint32()), r.Uint32()
		case 1:
			seq = uint16(r.Uint32())
		case 2:
			ts = r.Uint32()
		case 3:
			in.Seq -= uint16(r.IntN(100))
			in.TS -= uint32(r.IntN(16000))
		case 4:
			seq += uint16(r.IntN(4000))
		case 5:
			s.Switch()
		case 6:
			s.SetClock([]uint32{8000, 16000, 48000}[r.IntN(3)])
		case 7, 8, 9:
			in.Kind = Kind(1 + r.IntN(2))
		case 10:
			now += r.Int64N(100 * second)
		case 11:
			in = In{SSRC: r.Uint32N(3), Seq: uint16(r.Uint32()), TS: r.Uint32(), Kind: Kind(r.IntN(3))}
		}
		o, v := s.Map(now, in)
		if v != Pass {
			continue
		}
		sent++
		d := 1
		if sent > 1 {
			d = rtp.SeqDiff(o.Seq, uint16(ext))
		}
		if d > maxDropout || d < -64 {
			t.Fatalf("seed %d packet %d: number moves by %d", seed, sent, d)
		}
		e := ext + int64(d)
		if sent == 1 {
			e = 1<<20 + int64(o.Seq)
			hiTS = o.TS
		}
		if used[e] {
			t.Fatalf("seed %d packet %d: number %d used twice", seed, sent, o.Seq)
		}
		used[e] = true
		if e > ext {
			ext = e
			if in.Kind == Audio && rtp.TSDiff(o.TS, hiTS) < 0 {
				t.Fatalf("seed %d packet %d: timestamp falls by %d", seed, sent, rtp.TSDiff(hiTS, o.TS))
			}
		} else if rtp.TSDiff(o.TS, hiTS) > 0 {
			t.Fatalf("seed %d packet %d: an older packet has the newest timestamp", seed, sent)
		}
		if rtp.TSDiff(o.TS, hiTS) > 0 {
			hiTS = o.TS
		}
	}
	if sent < 200 {
		t.Fatalf("seed %d: only %d of 600 sent", seed, sent)
	}
}

func TestApplyRewritesInPlaceWithoutAllocation(t *testing.T) {
	s := start()
	b := make([]byte, 172)
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		i++
		rtp.PutHeader(b, rtp.Header{PT: 8, Seq: uint16(i), TS: uint32(i * 160), SSRC: 9})
		p, err := rtp.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if v := s.Apply(int64(i)*20*ms, p, Audio); v != Pass || p.SSRC() != 0xabc || p.PT() != 8 {
			t.Fatal(v, p.SSRC())
		}
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkMap(b *testing.B) {
	s := start()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		s.Map(int64(i)*20*ms, In{SSRC: 1, Seq: uint16(i), TS: uint32(i * 160)})
	}
}

// A context that has not seen the newest numbers goes on where it was when it could not tell new from old any more.
func TestResume(t *testing.T) {
	for passed, leap := range map[int]bool{1: false, 100: false, resumable - 1: false, resumable: true, 40000: true, 65535: true, 65536: true, 65590: true, 200000: true} {
		s, in := start(), In{SSRC: 1}
		pass(t, s, 0, in)
		last := s.Sent()
		for range passed {
			in.Seq++
			in.TS += 160
			pass(t, s, 0, in)
		}
		was := s.Sent()
		s.Resume(last)
		if s.Sent() < was {
			t.Fatalf("%d: back from %d to %d", passed, was, s.Sent())
		}
		in.Seq++
		want := uint16(was) + 1
		if leap {
			want = uint16(last) + 1
		}
		if o := pass(t, s, 0, in); o.Seq != want {
			t.Errorf("%d passed: %d, want %d", passed, o.Seq, want)
		}
		in.Seq--
		if _, v := s.Map(0, in); v == Pass {
			t.Errorf("%d passed: a number from before is given out again", passed)
		}
	}
}
