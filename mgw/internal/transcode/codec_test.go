package transcode

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

var (
	pcma = codec.Codec{Name: "pcma", PT: 8, ClockRate: 8000, Channels: 1}
	pcmu = codec.Codec{Name: "PCMU", PT: 0, ClockRate: 8000, Channels: 1}
	g722 = codec.Codec{Name: "G722", PT: 9, ClockRate: 8000, Channels: 1}
	opus = codec.Codec{Name: "opus", PT: 111, ClockRate: 48000, Channels: 2, Fmtp: "useinbandfec=1"}
)

// pair makes an encoder and a decoder of c at rate.
func pair(t testing.TB, c codec.Codec, cfg EncoderConfig) (Encoder, Decoder) {
	t.Helper()
	enc, err := NewEncoder(c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := NewDecoder(c, cfg.Rate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { enc.Close(); dec.Close(); enc.Close(); dec.Close() })
	return enc, dec
}

// through sends in through both in frames of n samples.
func through(t testing.TB, enc Encoder, dec Decoder, in []int16, n int) []int16 {
	t.Helper()
	var out []int16
	code, pcm := make([]byte, MaxPayload), make([]int16, 1920)
	for i := 0; i+n <= len(in); i += n {
		k, err := enc.Encode(in[i:i+n], code)
		if err != nil {
			t.Fatal(err)
		}
		m, err := dec.Decode(code[:k], pcm)
		if err != nil || m != n {
			t.Fatalf("decoded %d samples of %d: %v", m, n, err)
		}
		out = append(out, pcm[:m]...)
	}
	return out
}

func TestToneKeepsLevelAndFrequency(t *testing.T) {
	for _, tc := range []struct {
		name   string
		c      codec.Codec
		rate   int
		freq   float64
		minSNR float64
	}{
		{"PCMA", pcma, 8000, 1004, 35}, {"PCMU", pcmu, 8000, 1004, 35}, {"PCMA high", pcma, 8000, 3300, 35},
		{"G722", g722, 16000, 1004, 35}, {"G722 upper band", g722, 16000, 5500, 12},
		{"opus 8k", opus, 8000, 700, 12}, {"opus 16k", opus, 16000, 1500, 12},
		{"AMR", codec.Codec{Name: "AMR", ClockRate: 8000}, 8000, 700, 12}, {"AMR-WB", codec.Codec{Name: "AMR-WB", ClockRate: 16000}, 16000, 3000, 8},
	} {
		if !Supported(tc.c) {
			continue // build without cgo
		}
		t.Run(tc.name, func(t *testing.T) {
			enc, dec := pair(t, tc.c, EncoderConfig{Rate: tc.rate})
			in := tone(tc.freq, 8000, tc.rate, 0, tc.rate)
			out := through(t, enc, dec, in, tc.rate/50)
			tail := out[tc.rate/2:]
			if d := dB(level(tail, tc.freq, tc.rate), 8000); math.Abs(d) > 1 {
				t.Errorf("level off by %.2f dB", d)
			}
			if q := snr(tail, tc.freq, tc.rate); q < tc.minSNR {
				t.Errorf("signal to noise %.1f dB, want %.0f", q, tc.minSNR)
			}
		})
	}
}

// Every code word decodes to a value that encodes to the same code word; mu-law has two zeros.
func TestG711_CodeWordsRoundTrip(t *testing.T) {
	for i := range 256 {
		c := byte(i)
		if got := alawCompress(alawToLinear[c]); got != c {
			t.Errorf("A-law %#02x -> %d -> %#02x", c, alawToLinear[c], got)
		}
		if got := ulawCompress(ulawToLinear[c]); got != c && !(c == 0x7f && got == 0xff) {
			t.Errorf("mu-law %#02x -> %d -> %#02x", c, ulawToLinear[c], got)
		}
	}
}

// Anchor values of G.711 tables 1 and 2: extremes and the words of silence.
func TestG711_Anchors(t *testing.T) {
	for _, tc := range []struct {
		got, want int16
	}{
		{alawToLinear[0xd5], 8}, {alawToLinear[0x55], -8}, {alawToLinear[0xaa], 32256}, {alawToLinear[0x2a], -32256},
		{ulawToLinear[0xff], 0}, {ulawToLinear[0x80], 32124}, {ulawToLinear[0x00], -32124},
	} {
		if tc.got != tc.want {
			t.Errorf("decoded %d, want %d", tc.got, tc.want)
		}
	}
	// Quantisation never strays further than half a step: 1/32 of the value, at least 8 (A) or 4 (mu) around zero.
	for s := -32768; s <= 32767; s++ {
		a, u := int(alawToLinear[alawCompress(int16(s))]), int(ulawToLinear[ulawCompress(int16(s))])
		lim := max(16, abs(s)/24)
		if abs(s) < 32000 && (abs(a-s) > lim || abs(u-s) > lim) {
			t.Fatalf("%d: A-law %d, mu-law %d", s, a, u)
		}
	}
}

func abs(v int) int { return max(v, -v) }

func TestRatesAndRefusals(t *testing.T) {
	if _, err := NewDecoder(g722, 8000); !errors.Is(err, ErrRate) {
		t.Errorf("G.722 at 8 kHz: %v", err)
	}
	if _, err := NewEncoder(codec.Codec{Name: "G729", ClockRate: 8000}, EncoderConfig{Rate: 8000}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("G.729: %v", err)
	}
	if _, err := NewDecoder(codec.Codec{Name: "PCMA", ClockRate: 16000}, 16000); !errors.Is(err, ErrUnsupported) {
		t.Errorf("PCMA/16000: %v", err)
	}
	if Supported(codec.Codec{Name: "PCMA", ClockRate: 8000, Channels: 2}) {
		t.Error("stereo G.711 taken")
	}
	if _, err := NewEncoder(pcma, EncoderConfig{Rate: 8000, Ptime: 25 * time.Millisecond}); !errors.Is(err, ErrFrame) {
		t.Errorf("25 ms: %v", err)
	}
	for _, c := range Available() {
		if Rates(c) == nil {
			t.Errorf("%s is available but has no rate", c.Name)
		}
		for _, r := range Rates(c) {
			enc, dec := pair(t, c, EncoderConfig{Rate: r})
			if _, err := enc.Encode(nil, make([]byte, 100)); err == nil {
				t.Errorf("%s encodes an empty frame", c.Name)
			}
			if _, err := enc.Encode(make([]int16, r/50), nil); !errors.Is(err, ErrSpace) {
				t.Errorf("%s without room: %v", c.Name, err)
			}
			if _, err := dec.Decode(nil, make([]int16, 4000)); !errors.Is(err, ErrPayload) {
				t.Errorf("%s decodes an empty payload: %v", c.Name, err)
			}
			if dec.Ticks(make([]byte, 5000)) != 0 && !c.Is("opus") {
				t.Errorf("%s takes 5000 bytes", c.Name)
			}
		}
	}
}

// A tone with single frames missing must go on: no drop in energy, no step larger than the tone's own.
func TestConcealmentOfWaveformCodecs(t *testing.T) {
	for _, c := range []codec.Codec{pcma, pcmu, g722} {
		rate := Rates(c)[0]
		enc, dec := pair(t, c, EncoderConfig{Rate: rate})
		n := rate / 50
		in := tone(440, 8000, rate, 0, rate)
		maxStep := 8000*2*math.Pi*440/float64(rate)*1.3 + 300
		code, pcm := make([]byte, MaxPayload), make([]int16, 1920)
		last := int16(0)
		for f := range 50 {
			k, err := enc.Encode(in[f*n:(f+1)*n], code)
			if err != nil {
				t.Fatal(err)
			}
			if f > 5 && f%10 == 7 {
				dec.Conceal(pcm[:n])
			} else if _, err := dec.Decode(code[:k], pcm); err != nil {
				t.Fatal(err)
			}
			if f > 5 {
				if d := dB(rms(pcm[:n]), 8000/math.Sqrt2); math.Abs(d) > 2 {
					t.Errorf("%s frame %d: level %.1f dB", c.Name, f, d)
				}
				for i, v := range pcm[:n] {
					if step := math.Abs(float64(v) - float64(last)); step > maxStep {
						t.Errorf("%s frame %d sample %d: step of %.0f, tone has %.0f", c.Name, f, i, step, maxStep)
					}
					last = v
				}
			}
			last = pcm[n-1]
		}
		for range 6 {
			dec.Conceal(pcm[:n])
		}
		if rms(pcm[:n]) != 0 {
			t.Errorf("%s: 120 ms of loss end at %.0f, want silence", c.Name, rms(pcm[:n]))
		}
	}
}

func TestConcealBeforeAnythingIsSilence(t *testing.T) {
	for _, c := range Available() {
		_, dec := pair(t, c, EncoderConfig{Rate: Rates(c)[0]})
		pcm := tone(500, 5000, 8000, 0, 160)
		dec.Conceal(pcm)
		if rms(pcm) > 1 {
			t.Errorf("%s invents %.0f", c.Name, rms(pcm))
		}
	}
}

func TestResamplerKeepsToneAndStopsAlias(t *testing.T) {
	down, err := NewResampler(16000, 8000)
	if err != nil {
		t.Fatal(err)
	}
	up, err := NewResampler(8000, 16000)
	if err != nil {
		t.Fatal(err)
	}
	run := func(r *Resampler, in []int16, frame int) []int16 {
		var out []int16
		buf := make([]int16, 2*frame)
		for i := 0; i+frame <= len(in); i += frame {
			out = append(out, buf[:r.Process(in[i:i+frame], buf)]...)
		}
		return out
	}
	for _, f := range []float64{100, 1000, 3000, 3400} {
		got := run(down, tone(f, 10000, 16000, 0, 16000), 320)
		if d := dB(level(got[1000:7000], f, 8000), 10000); len(got) != 8000 || math.Abs(d) > 1 {
			t.Errorf("halving %v Hz: %.2f dB, %d samples", f, d, len(got))
		}
		back := run(up, tone(f, 10000, 8000, 0, 8000), 160)
		if d := dB(level(back[1000:14000], f, 16000), 10000); len(back) != 16000 || math.Abs(d) > 1 {
			t.Errorf("doubling %v Hz: %.2f dB, %d samples", f, d, len(back))
		}
		if d := dB(level(back[1000:15000], 8000-f, 16000), 10000); d > -50 && f < 3400 {
			t.Errorf("doubling %v Hz leaves an image at %.0f dB", f, d)
		}
	}
	for _, f := range []float64{4700, 5500, 7500} {
		if got := run(down, tone(f, 10000, 16000, 0, 16000), 320); dB(rms(got[1000:]), 10000) > -45 {
			t.Errorf("%v Hz folds at %.0f dB", f, dB(rms(got[1000:]), 10000))
		}
	}
	if _, err := NewResampler(8000, 8000); !errors.Is(err, ErrRate) {
		t.Errorf("8 to 8 kHz: %v", err)
	}
}

func TestNoAllocations(t *testing.T) {
	code, pcm := make([]byte, MaxPayload), make([]int16, 1920)
	for _, c := range Available() {
		for _, rate := range Rates(c) {
			enc, dec := pair(t, c, EncoderConfig{Rate: rate, Loss: 10})
			in := tone(300, 8000, rate, 0, rate/50)
			if n := testing.AllocsPerRun(50, func() {
				k, err := enc.Encode(in, code)
				if err != nil {
					t.Fatal(err)
				}
				enc.SetLoss(int(code[0]) % 20)
				if _, err := dec.Decode(code[:k], pcm); err != nil {
					t.Fatal(err)
				}
				dec.Conceal(pcm[:rate/50])
				dec.Recover(code[:k], pcm[:rate/50])
			}); n != 0 {
				t.Errorf("%s at %d Hz: %v allocations per frame", c.Name, rate, n)
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range Available() {
		for _, rate := range Rates(c) {
			b.Run(name(c, rate), func(b *testing.B) {
				enc, _ := pair(b, c, EncoderConfig{Rate: rate, Loss: 5})
				in := speech(rate, 2*rate)
				code := make([]byte, MaxPayload)
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					if _, err := enc.Encode(in[i:i+rate/50], code); err != nil {
						b.Fatal(err)
					}
					i = (i + rate/50) % len(in)
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range Available() {
		for _, rate := range Rates(c) {
			b.Run(name(c, rate), func(b *testing.B) {
				enc, dec := pair(b, c, EncoderConfig{Rate: rate, Loss: 5})
				in := speech(rate, 2*rate)
				var codes [][]byte
				for i := 0; i < len(in); i += rate / 50 {
					code := make([]byte, MaxPayload)
					n, err := enc.Encode(in[i:i+rate/50], code)
					if err != nil {
						b.Fatal(err)
					}
					codes = append(codes, code[:n])
				}
				pcm := make([]int16, 1920)
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					if _, err := dec.Decode(codes[i], pcm); err != nil {
						b.Fatal(err)
					}
					i = (i + 1) % len(codes)
				}
			})
		}
	}
}

func name(c codec.Codec, rate int) string {
	if rate == 8000 {
		return c.Name + "_8k"
	}
	return c.Name + "_16k"
}

// speech imitates voiced speech: harmonics of a wandering pitch under a syllable envelope, with pauses.
func speech(rate, n int) []int16 {
	pcm := make([]int16, n)
	phase := 0.0
	for i := range pcm {
		t := float64(i) / float64(rate)
		phase += 2 * math.Pi * (120 + 30*math.Sin(2*math.Pi*0.7*t)) / float64(rate)
		v := 0.0
		for h := 1; h <= 12; h++ {
			v += math.Sin(float64(h)*phase) / float64(h)
		}
		pcm[i] = int16(4000 * v * math.Max(0, math.Sin(2*math.Pi*2.5*t)))
	}
	return pcm
}
