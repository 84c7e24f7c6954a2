package tone

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func take(s Source, n int) []int16 {
	pcm := make([]int16, n)
	for i := 0; i+FrameLen <= n; i += FrameLen {
		s.Fill(pcm[i : i+FrameLen])
	}
	return pcm
}

func TestDetectFrequencyAndLevel(t *testing.T) {
	for _, f := range []float64{200, 440, 697, 1000, 1004, 1633, 2600, 3400} {
		for _, level := range []float64{-3, -20, -40} {
			d := Detect(take(NewSine(f, level), 1600))
			if math.Abs(d.Freq-f) > 1 || math.Abs(d.Level-level) > 0.5 || d.Purity < 0.95 {
				t.Errorf("sine %v Hz %v dBFS: detected %+v", f, level, d)
			}
			if !d.IsTone(f, 5) || d.IsTone(f+20, 5) {
				t.Errorf("sine %v Hz: IsTone is wrong for %+v", f, d)
			}
		}
	}
}

func TestDetectRefusesNoiseAndSilence(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]int16, 1600)
	for i := range noise {
		noise[i] = int16(r.IntN(20000) - 10000)
	}
	if d := Detect(noise); d.Purity > 0.3 {
		t.Errorf("noise looks like a tone: %+v", d)
	}
	if d := Detect(make([]int16, 1600)); d.Freq != 0 || d.Level > -100 {
		t.Errorf("silence: %+v", d)
	}
	two := take(&Mix{A: NewSine(500, -10), B: NewSine(1500, -10)}, 1600)
	if d := Detect(two); d.IsTone(500, 5) || d.IsTone(1500, 5) {
		t.Errorf("two tones pass for one: %+v", d)
	}
}

func TestG711RoundTrip(t *testing.T) {
	for _, law := range []Law{ALaw, MuLaw} {
		for s := -32768; s <= 32767; s++ {
			b := law.Encode(nil, []int16{int16(s)})
			got := int(law.Decode(nil, b)[0])
			// Half of the widest step of the segment, plus mu-law's clip level of 32124.
			if diff, lim := abs(got-s), abs(s)/16+32; diff > lim && abs(s) < 32124 {
				t.Fatalf("law %d: %d -> %#x -> %d", law, s, b[0], got)
			}
		}
		for c := 0; c < 256; c++ {
			pcm := law.Decode(nil, []byte{byte(c)})
			back := law.Encode(nil, pcm)[0]
			if int(back) != c && !(law == MuLaw && c == 0x7f) { // two codes for zero
				t.Errorf("law %d: code %#x decodes to %d which codes %#x", law, c, pcm[0], back)
			}
		}
	}
}

func abs(v int) int {
	if v < 0 {
		return -v
	}
	return v
}

// Values of ITU-T G.711 tables 1a and 2a (decoder output values), scaled to 16 bit.
func TestG711KnownValues(t *testing.T) {
	for _, c := range []struct {
		law  Law
		code byte
		want int16
	}{
		{ALaw, 0xd5, 8}, {ALaw, 0x55, -8}, {ALaw, 0xaa, 32256}, {ALaw, 0x2a, -32256},
		{MuLaw, 0xff, 0}, {MuLaw, 0x80, 32124}, {MuLaw, 0x00, -32124},
	} {
		if got := c.law.Decode(nil, []byte{c.code})[0]; got != c.want {
			t.Errorf("law %d code %#x = %d, want %d", c.law, c.code, got, c.want)
		}
	}
}

func TestG711KeepsTone(t *testing.T) {
	for _, law := range []Law{ALaw, MuLaw} {
		pcm := law.Decode(nil, law.Encode(nil, take(NewSine(1000, -15), 1600)))
		if d := Detect(pcm); !d.IsTone(1000, 2) || math.Abs(d.Level+15) > 0.5 {
			t.Errorf("law %d: %+v", law, d)
		}
	}
}

func TestDTMFAllDigits(t *testing.T) {
	for i := range len(Digits) {
		pcm := take(DTMF(Digits[i], -10), 320)
		if got := DetectDTMF(pcm); got != Digits[i] {
			t.Errorf("digit %c heard as %q", Digits[i], got)
		}
	}
	if DetectDTMF(take(NewSine(1000, -10), 320)) != 0 || DetectDTMF(take(NewSine(697, -10), 320)) != 0 {
		t.Error("a single tone passes for a digit")
	}
	if DetectDTMF(take(&Mix{A: DTMF('5', -30), B: NewSine(1000, -10)}, 320)) != 0 {
		t.Error("a digit drowned by something else is heard")
	}
	if DTMF('x', -10) != nil {
		t.Error("x is no digit")
	}
}

func TestWAVRoundTrip(t *testing.T) {
	pcm := take(NewSine(440, -6), 800)
	var b bytes.Buffer
	if err := WriteWAV(&b, pcm); err != nil {
		t.Fatal(err)
	}
	got, err := ReadWAV(b.Bytes())
	if err != nil || len(got) != len(pcm) || got[100] != pcm[100] {
		t.Fatalf("read back %d samples, %v", len(got), err)
	}
	if _, err := ReadWAV(b.Bytes()[:60]); !errors.Is(err, ErrWAV) {
		t.Errorf("cut file: %v", err)
	}
	if _, err := ReadWAV([]byte("RIFFxxxxJUNK")); !errors.Is(err, ErrWAV) {
		t.Errorf("no WAVE: %v", err)
	}
}

func TestMeterFindsLongestTone(t *testing.T) {
	var m Meter
	m.Write(take(NewSine(500, -10), 1600))
	m.Write(make([]int16, 3200))
	for range 25 {
		m.Write(take(NewSine(1000, -10), 320)) // phase restarts at whole periods
	}
	m.Write(make([]int16, 1600))
	d, secs := m.Heard()
	if !d.IsTone(1000, 3) || secs < 0.9 || secs > 1.1 {
		t.Errorf("heard %+v for %v s", d, secs)
	}
	if m.Last().Freq != 0 {
		t.Errorf("last block is silence, got %+v", m.Last())
	}
}

func TestSources(t *testing.T) {
	c := Chain{&Clip{PCM: []int16{1, 2, 3}}, &Clip{PCM: make([]int16, 320)}}
	buf := make([]int16, FrameLen)
	first, second, third := c.Fill(buf), c.Fill(buf), c.Fill(buf)
	if !first || !second || third {
		t.Error("chain must give both clips, then run dry")
	}
	cad := &Cadence{Src: NewSine(425, -10), On: 80, Off: 80}
	cad.Fill(buf)
	if Level(buf[:80]) < -20 || Level(buf[80:]) > -100 {
		t.Error("cadence must sound, then rest")
	}
	if m := Melody(); len(m) < 6*Rate || Level(m) < -30 || Level(m) > -3 {
		t.Errorf("melody of %d samples at %v dBFS", len(m), Level(m))
	}
}
