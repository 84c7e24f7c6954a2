package rtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// build makes a packet with the given CSRC count, extension words (-1: none), payload and padding bytes.
func build(cc, ext int, payload []byte, pad int) []byte {
	b := make([]byte, HeaderLen)
	PutHeader(b, Header{PT: 111, Marker: true, Seq: 0xfffe, TS: 0xdeadbeef, SSRC: 0x01020304})
	b[0] |= byte(cc)
	for i := range cc {
		b = binary.BigEndian.AppendUint32(b, 0xc5000000+uint32(i))
	}
	if ext >= 0 {
		b[0] |= 0x10
		b = append(b, 0xbe, 0xde, byte(ext>>8), byte(ext))
		b = append(b, bytes.Repeat([]byte{0xee}, 4*ext)...)
	}
	b = append(b, payload...)
	if pad > 0 {
		b[0] |= 0x20
		b = append(b, make([]byte, pad-1)...)
		b = append(b, byte(pad))
	}
	return b
}

func TestRFC3550_5_1_ParseAccessors(t *testing.T) {
	payload := []byte("opus payload")
	for _, tc := range []struct{ cc, ext, pad int }{{0, -1, 0}, {2, -1, 0}, {0, 0, 0}, {0, 3, 0}, {15, 2, 4}, {0, -1, 255}} {
		p, err := Parse(build(tc.cc, tc.ext, payload, tc.pad))
		if err != nil {
			t.Fatalf("%+v: %v", tc, err)
		}
		if p.PT() != 111 || !p.Marker() || p.Seq() != 0xfffe || p.TS() != 0xdeadbeef || p.SSRC() != 0x01020304 || p.CSRCCount() != tc.cc {
			t.Errorf("%+v: fields pt=%d m=%v seq=%d ts=%x ssrc=%x cc=%d", tc, p.PT(), p.Marker(), p.Seq(), p.TS(), p.SSRC(), p.CSRCCount())
		}
		if !bytes.Equal(p.Payload(), payload) {
			t.Errorf("%+v: payload %q", tc, p.Payload())
		}
		plain := p.Plain()
		if len(plain) != HeaderLen+len(payload) || !bytes.Equal(plain.Payload(), payload) {
			t.Errorf("%+v: plain is %x", tc, []byte(plain))
		}
		if _, err := Parse(plain); err != nil || plain[0] != 0x80 || plain.Seq() != 0xfffe || plain.SSRC() != 0x01020304 || !plain.Marker() {
			t.Errorf("%+v: plain header %x, %v", tc, plain[:HeaderLen], err)
		}
	}
}

func TestRFC3550_5_1_ParseRefuses(t *testing.T) {
	short := build(3, -1, nil, 0)
	long := make([]byte, MaxLen+1)
	long[0] = 0x80
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"empty", nil, ErrShort},
		{"eleven bytes", build(0, -1, nil, 0)[:11], ErrShort},
		{"version 1", append([]byte{0x40}, build(0, -1, nil, 0)[1:]...), ErrVersion},
		{"version 3", append([]byte{0xc0}, build(0, -1, nil, 0)[1:]...), ErrVersion},
		{"csrc list cut", short[:len(short)-1], ErrShort},
		{"extension header cut", build(0, 0, nil, 0)[:14], ErrExt},
		{"extension body cut", build(0, 4, nil, 0)[:20], ErrExt},
		{"padding zero", append(append([]byte{0xa0}, build(0, -1, nil, 0)[1:]...), 0), ErrPadding},
		{"padding beyond payload", append(append([]byte{0xa0}, build(0, -1, nil, 0)[1:]...), 2), ErrPadding},
		{"longer than a datagram", long, ErrLong},
	} {
		if _, err := Parse(tc.in); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	// Encrypted packets: the padding byte is noise and must not decide.
	if _, err := ParseHeader(append(append([]byte{0xa0}, build(0, -1, nil, 0)[1:]...), 0xff)); err != nil {
		t.Errorf("ParseHeader looked at the padding: %v", err)
	}
}

func TestSettersTouchOnlyTheirField(t *testing.T) {
	b := build(1, 1, []byte{1, 2, 3}, 4)
	want := bytes.Clone(b)
	p, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	p.SetPT(0xff)
	p.SetSeq(7)
	p.SetTS(8)
	p.SetSSRC(9)
	p.SetMarker(false)
	if p.PT() != 0x7f || p.Marker() || p.Seq() != 7 || p.TS() != 8 || p.SSRC() != 9 {
		t.Errorf("set: %x", b[:HeaderLen])
	}
	if b[0] != want[0] || !bytes.Equal(b[HeaderLen:], want[HeaderLen:]) {
		t.Errorf("neighbours changed: %x", b)
	}
	p.SetMarker(true)
	p.SetPT(0)
	if p.PT() != 0 || !p.Marker() {
		t.Errorf("SetPT cleared the marker: %x", p[1])
	}
}

func TestStripKeepsTail(t *testing.T) {
	b := make([]byte, 0, 200)
	b = append(b, build(2, 2, []byte("abc"), 0)...)
	p, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	q := p.Plain()
	if cap(q)-len(q) != cap(b)-len(b) {
		t.Errorf("tail room %d, was %d: no place for the SRTP tag", cap(q)-len(q), cap(b)-len(b))
	}
	if &q.Payload()[0] != &b[len(b)-3] {
		t.Error("payload moved")
	}
}

func TestTicksAndNanos(t *testing.T) {
	for _, tc := range []struct {
		ns    int64
		clock uint32
		ticks int64
	}{{20_000_000, 8000, 160}, {20_000_000, 48000, 960}, {3_600_000_000_000, 48000, 172_800_000}, {-20_000_000, 8000, -160}, {86400 * 1_000_000_000, 192000, 86400 * 192000}} {
		if got := Ticks(tc.ns, tc.clock); got != tc.ticks {
			t.Errorf("Ticks(%d,%d)=%d", tc.ns, tc.clock, got)
		}
		if got := Nanos(tc.ticks, tc.clock); got != tc.ns {
			t.Errorf("Nanos(%d,%d)=%d", tc.ticks, tc.clock, got)
		}
	}
	if Nanos(5, 0) != 0 {
		t.Error("clock 0")
	}
	if SeqDiff(1, 0xffff) != 2 || SeqDiff(0xffff, 1) != -2 || TSDiff(1, 0xffffffff) != 2 {
		t.Error("wrap")
	}
}

func TestNoAllocations(t *testing.T) {
	b := build(1, 2, make([]byte, 160), 0)
	work := bytes.Clone(b)
	if n := testing.AllocsPerRun(100, func() {
		copy(work, b)
		if Classify(work) != RTP {
			t.Fatal("class")
		}
		p, err := Parse(work)
		if err != nil {
			t.Fatal(err)
		}
		p = p.Plain()
		p.SetSeq(p.Seq() + 1)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(build(0, -1, []byte("x"), 0))
	f.Add(build(15, 3, []byte("payload"), 9))
	f.Add(build(0, 0, nil, 0))
	f.Add([]byte{0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		class := Classify(in)
		p, err := Parse(bytes.Clone(in))
		if err != nil {
			return
		}
		if class != RTP && !IsRTCP(in) {
			t.Fatalf("parsed as RTP but classified %v", class)
		}
		payload := bytes.Clone(p.Payload())
		seq, ts, ssrc, pt, m := p.Seq(), p.TS(), p.SSRC(), p.PT(), p.Marker()
		q := p.Plain()
		r, err := Parse(q)
		if err != nil {
			t.Fatalf("plain form does not parse: %v", err)
		}
		if !bytes.Equal(r.Payload(), payload) || r.Seq() != seq || r.TS() != ts || r.SSRC() != ssrc || r.PT() != pt || r.Marker() != m {
			t.Fatalf("plain form differs: %x from %x", []byte(r), in)
		}
		again := make([]byte, HeaderLen)
		PutHeader(again, Header{PT: pt, Marker: m, Seq: seq, TS: ts, SSRC: ssrc})
		if !bytes.Equal(again, r[:HeaderLen]) {
			t.Fatalf("PutHeader gives %x, packet has %x", again, r[:HeaderLen])
		}
	})
}

func BenchmarkParsePlainRewrite(b *testing.B) {
	src := build(0, 2, make([]byte, 160), 0)
	work := make([]byte, len(src))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, src)
		p, err := Parse(work)
		if err != nil {
			b.Fatal(err)
		}
		p = p.Plain()
		p.SetPT(8)
		p.SetSeq(1)
		p.SetTS(2)
		p.SetSSRC(3)
	}
}
