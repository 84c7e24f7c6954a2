package amr

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

var (
	narrowBE = Format{Narrow, false}
	narrowOA = Format{Narrow, true}
	wideBE   = Format{Wide, false}
	wideOA   = Format{Wide, true}
	formats  = []Format{narrowBE, narrowOA, wideBE, wideOA}
)

// unhex reads hex digits with spaces; "xx*n" repeats a byte.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for _, w := range strings.Fields(s) {
		n := 1
		if i := strings.IndexByte(w, '*'); i >= 0 {
			n = 0
			for _, c := range w[i+1:] {
				n = 10*n + int(c-'0')
			}
			w = w[:i]
		}
		b, err := hex.DecodeString(w)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.Repeat(b, n)...)
	}
	return out
}

// Vectors written out by hand from the figures of RFC 4867 §4.3 and §4.4.
func TestR4867_VectorsOfBothPackings(t *testing.T) {
	for _, tc := range []struct {
		name    string
		f       Format
		payload string
		cmr     uint8
		frames  []string // header octet and data
	}{
		// 1111 0.0100.1 then 148 ones and two bits of padding
		{"7.4 BE", narrowBE, "f2 7f ff*17 fc", 15, []string{"24 ff*18 f0"}},
		{"7.4 OA", narrowOA, "f0 24 ff*18 f0", 15, []string{"24 ff*18 f0"}},
		// 0010 1.1000.1 0.1111.1 1 then 38 zeros and one bit of padding
		{"SID and nothing BE", narrowBE, "2c 5f 80 00*4", 2, []string{"44 80 00*4", "7c"}},
		{"SID and nothing OA", narrowOA, "20 c4 7c 80 00*4", 2, []string{"44 80 00*4", "7c"}},
		// 0000 0.0000.0 then 0101... of 95 bits and seven of padding: 105 bits
		{"4.75 damaged BE", narrowBE, "00 15 55*11 00", 0, []string{"00 55*11 54"}},
		// 1111 0.1111.1 and six bits of padding
		{"nothing BE", narrowBE, "f7 c0", 15, []string{"7c"}},
		{"nothing OA", narrowOA, "f0 7c", 15, []string{"7c"}},
		// 1000 0.1001.1 then 40 bits and six of padding
		{"wide SID BE", wideBE, "84 e0 00*3 00 40", 8, []string{"4c 80 00*3 01"}},
		// 1111 1.1110.1 0.0000.1 then 132 ones and four of padding
		{"lost and 6.60 BE", wideBE, "ff 41 ff*16 f0", 15, []string{"74", "04 ff*16 f0"}},
		{"lost and 6.60 OA", wideOA, "f0 f4 04 ff*16 f0", 15, []string{"74", "04 ff*16 f0"}},
		{"23.85 OA", wideOA, "f0 44 aa*59 a8", 15, []string{"44 aa*59 a8"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			payload := unhex(t, tc.payload)
			var p Packet
			if err := p.Parse(tc.f, payload); err != nil {
				t.Fatal(err)
			}
			if p.CMR != tc.cmr || p.Len() != len(tc.frames) || tc.f.Request(payload) != tc.cmr || tc.f.Scan(payload) != p.Len() {
				t.Fatalf("CMR %d, %d frames", p.CMR, p.Len())
			}
			for i, want := range tc.frames {
				if got := p.Frame(i); !bytes.Equal(got, unhex(t, want)) {
					t.Errorf("frame %d: % x, want %s", i, got, want)
				}
			}
			var q Packet
			q.Reset(tc.f.Codec, tc.cmr)
			for _, f := range tc.frames {
				if err := q.Add(unhex(t, f)); err != nil {
					t.Fatal(err)
				}
			}
			out := make([]byte, MaxPayload)
			n, err := q.Build(tc.f, out)
			if err != nil || !bytes.Equal(out[:n], payload) || q.Size(tc.f) != n {
				t.Errorf("built % x, %v", out[:n], err)
			}
		})
	}
}

// Payload sizes of the bandwidth table: RTP, UDP and IPv4 headers are 40 bytes, 50 packets/s.
func TestCOD05_SizesOfOneFrame(t *testing.T) {
	for _, tc := range []struct {
		f    Format
		ft   uint8
		kbps int // rounded up
	}{{narrowBE, 7, 29}, {narrowOA, 7, 30}, {wideBE, 2, 30}, {wideBE, 8, 41}, {wideOA, 8, 41}} {
		p := filled(tc.f.Codec, 15, tc.ft)
		if got := ((p.Size(tc.f)+40)*8*50 + 999) / 1000; got != tc.kbps {
			t.Errorf("%+v mode %d: %d kbit/s, want %d", tc.f, tc.ft, got, tc.kbps)
		}
	}
}

// filled is a packet of frames of the given types with made-up bits.
func filled(c Codec, cmr uint8, fts ...uint8) *Packet {
	var p Packet
	p.Reset(c, cmr)
	for i, ft := range fts {
		f := bytes.Repeat([]byte{byte(0xa7 * (i + 1))}, FrameSize)
		f[0] = header(ft, 1)
		if err := p.Add(f); err != nil {
			panic(err)
		}
	}
	return &p
}

func TestRFC4867_4_3_2_MalformedIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		f       Format
		payload string
	}{
		{"empty BE", narrowBE, ""}, {"empty OA", narrowOA, ""}, {"header only BE", narrowBE, "f2"}, {"header only OA", narrowOA, "f0"},
		{"one short BE", narrowBE, "f2 7f ff*17"}, {"one long BE", narrowBE, "f2 7f ff*17 fc 00"},
		{"one short OA", narrowOA, "f0 24 ff*18"}, {"one long OA", narrowOA, "f0 24 ff*18 f0 00"},
		{"endless table OA", wideOA, "f0 fc*30"}, {"endless table BE", wideBE, "ff*40"},
		{"table without end OA", wideOA, "f0 fc fc"},
		{"13 frames OA", wideOA, "f0 fc*12 7c"}, {"13 frames BE", narrowBE, "ff*9 f7 c0"},
	} {
		if n := tc.f.Scan(unhex(t, tc.payload)); n != 0 {
			t.Errorf("%s: %d frames", tc.name, n)
		}
		p := filled(tc.f.Codec, 3, 0)
		if err := p.Parse(tc.f, unhex(t, tc.payload)); !errors.Is(err, ErrMalformed) || p.Len() != 0 {
			t.Errorf("%s: %v, %d frames", tc.name, err, p.Len())
		}
	}
	if n := wideOA.Scan(unhex(t, "f0 fc*11 7c")); n != MaxFrames {
		t.Errorf("240 ms: %d frames", n)
	}
	// Reserved frame types: 9 to 14 of AMR, 10 to 13 of AMR-WB, whatever the length.
	for _, c := range []Codec{Narrow, Wide} {
		for ft := range uint8(16) {
			exists := c.Speech(ft) || ft == c.SID() || ft == NoData || c == Wide && ft == SpeechLost
			if (c.Bits(ft) >= 0) != exists || (c.Octets(ft) >= 0) != exists {
				t.Errorf("codec %d: frame type %d has %d bits", c, ft, c.Bits(ft))
			}
			if exists {
				continue
			}
			for n := range 70 {
				b := make([]byte, 2+n)
				b[0], b[1] = 0xf0, header(ft, 1)
				if (Format{c, true}).Scan(b) != 0 {
					t.Errorf("codec %d: frame type %d in %d bytes taken", c, ft, n)
				}
			}
		}
	}
}

// Reserved bits and padding of the sender's are no reason to refuse, and do not get into the frames.
func TestRFC4867_4_4_ReservedBitsAreIgnored(t *testing.T) {
	var p Packet
	if err := p.Parse(narrowOA, unhex(t, "ff 27 ff*19")); err != nil || p.CMR != 15 || !bytes.Equal(p.Frame(0), unhex(t, "24 ff*18 f0")) {
		t.Errorf("%v: % x", err, p.Frame(0))
	}
	if err := p.Parse(narrowBE, unhex(t, "f2 7f ff*18")); err != nil || !bytes.Equal(p.Frame(0), unhex(t, "24 ff*18 f0")) {
		t.Errorf("%v: % x", err, p.Frame(0))
	}
}

func TestAddAndBuildRefuse(t *testing.T) {
	p := filled(Narrow, 15, 7)
	out := make([]byte, MaxPayload)
	for _, f := range [][]byte{nil, {header(9, 1)}, {header(0, 1), 1, 2}} {
		if err := p.Add(f); !errors.Is(err, ErrMalformed) || p.Len() != 1 {
			t.Errorf("% x: %v", f, err)
		}
	}
	if _, err := p.Build(narrowBE, out[:p.Size(narrowBE)-1]); !errors.Is(err, ErrSpace) {
		t.Errorf("without room: %v", err)
	}
	if _, err := p.Build(wideBE, out); !errors.Is(err, ErrMalformed) {
		t.Errorf("as the other codec: %v", err)
	}
	for p.Len() < MaxFrames {
		if err := p.Add([]byte{header(NoData, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Add([]byte{header(NoData, 1)}); !errors.Is(err, ErrFull) {
		t.Errorf("frame %d: %v", MaxFrames+1, err)
	}
	if p.Trim(); p.Len() != 1 {
		t.Errorf("%d frames after Trim", p.Len())
	}
	p.Reset(Narrow, 15)
	if n, err := p.Build(narrowBE, out); !errors.Is(err, ErrMalformed) || p.Size(narrowBE) != 0 {
		t.Errorf("empty: %d, %v", n, err)
	}
}

// random is a packet of random frames.
func random(r *rand.Rand, c Codec) *Packet {
	var p Packet
	p.Reset(c, uint8(r.UintN(16)))
	for range 1 + r.IntN(MaxFrames) {
		ft := uint8(r.UintN(16))
		for c.Bits(ft) < 0 {
			ft = uint8(r.UintN(16))
		}
		f := make([]byte, FrameSize)
		for i := range f {
			f[i] = byte(r.UintN(256))
		}
		f[0] = header(ft, uint8(r.UintN(2)))
		if err := p.Add(f); err != nil {
			panic(err)
		}
	}
	return &p
}

func equal(a, b *Packet) bool {
	if a.CMR != b.CMR || a.n != b.n || a.codec != b.codec {
		return false
	}
	for i := range a.n {
		if !bytes.Equal(a.Frame(i), b.Frame(i)) || a.Good(i) != b.Good(i) || a.FT(i) != b.FT(i) {
			return false
		}
	}
	return true
}

// What is built is parsed to the same, in both formats, and repacking to and fro changes nothing.
func TestRoundTripOfRandomPackets(t *testing.T) {
	r := rand.New(rand.NewPCG(4867, 1))
	one, two, three := make([]byte, MaxPayload), make([]byte, MaxPayload), make([]byte, MaxPayload)
	for range 20000 {
		f := formats[r.IntN(len(formats))]
		p := random(r, f.Codec)
		n, err := p.Build(f, one)
		if err != nil {
			t.Fatal(err)
		}
		var q Packet
		if err := q.Parse(f, one[:n]); err != nil || !equal(p, &q) {
			t.Fatalf("%+v % x: %v", f, one[:n], err)
		}
		other := Format{f.Codec, !f.OctetAligned}
		k, err := q.Repack(f, other, one[:n], two)
		if err != nil || !equal(p, &q) {
			t.Fatalf("%+v % x: %v", f, one[:n], err)
		}
		m, err := q.Repack(other, f, two[:k], three)
		if err != nil || !bytes.Equal(one[:n], three[:m]) {
			t.Fatalf("%+v % x comes back as % x: %v", f, one[:n], three[:m], err)
		}
		// In place, as a forwarded packet is.
		if m, err = q.Repack(other, f, two[:k], two); err != nil || !bytes.Equal(one[:n], two[:m]) {
			t.Fatalf("in place: % x, %v", two[:m], err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	out := make([]byte, MaxPayload)
	var p, q Packet
	bad := unhex(t, "f0 4c 00")
	for _, f := range formats {
		src := filled(f.Codec, 2, 0, f.Codec.SID(), NoData, 5)
		n, err := src.Build(f, out)
		if err != nil {
			t.Fatal(err)
		}
		in := bytes.Clone(out[:n])
		frame := bytes.Clone(src.Frame(0))
		if a := testing.AllocsPerRun(100, func() {
			if f.Scan(in) != 4 || f.Scan(bad) != 0 {
				t.Fatal("scan")
			}
			if _, err := p.Repack(f, Format{f.Codec, !f.OctetAligned}, in, out); err != nil {
				t.Fatal(err)
			}
			q.Reset(f.Codec, NoRequest)
			if err := q.Add(frame); err != nil {
				t.Fatal(err)
			}
			if _, err := q.Build(f, out); err != nil {
				t.Fatal(err)
			}
			if p.Parse(f, bad) == nil {
				t.Fatal("bad payload taken")
			}
		}); a != 0 {
			t.Errorf("%+v: %v allocations", f, a)
		}
	}
}

func FuzzPayload(f *testing.F) {
	for i, s := range []string{"f2 7f ff*17 fc", "f0 24 ff*18 f0", "2c 5f 80 00*4", "20 c4 7c 80 00*4", "84 e0 00*3 00 40", "f0 f4 04 ff*16 f0", "ff*40", "f0 fc*30", ""} {
		f.Add(uint8(i), unhex(f, s))
		f.Add(uint8(i+2), unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, sel uint8, in []byte) {
		format := formats[sel%4]
		var p, q Packet
		err := p.Parse(format, in)
		if n := format.Scan(in); (n == 0) != (err != nil) || n != p.Len() {
			t.Fatalf("scanned %d frames, parsed %d: %v", n, p.Len(), err)
		}
		if err != nil {
			return
		}
		out := make([]byte, MaxPayload)
		n, err := p.Build(format, out)
		if err != nil || n != len(in) {
			t.Fatalf("%d bytes of %d: %v", n, len(in), err)
		}
		if err := q.Parse(format, out[:n]); err != nil || !equal(&p, &q) {
			t.Fatalf("% x: %v", out[:n], err)
		}
		other := Format{format.Codec, !format.OctetAligned}
		if n, err = q.Repack(format, other, in, out); err != nil {
			t.Fatal(err)
		}
		if err := q.Parse(other, out[:n]); err != nil || !equal(&p, &q) {
			t.Fatalf("repacked % x: %v", out[:n], err)
		}
	})
}

func BenchmarkRepack(b *testing.B) {
	in := make([]byte, MaxPayload)
	n, err := filled(Wide, 15, 2).Build(wideBE, in)
	if err != nil {
		b.Fatal(err)
	}
	var p Packet
	out := make([]byte, MaxPayload)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Repack(wideBE, wideOA, in[:n], out); err != nil {
			b.Fatal(err)
		}
	}
}
