//go:build cgo && !noopus

package transcode

import (
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func TestRFC6716_3_1_TicksFromTOC(t *testing.T) {
	for _, tc := range []struct {
		in   []byte
		want uint32
	}{
		{nil, 0}, {[]byte{0 << 3}, 480}, {[]byte{3 << 3}, 2880}, {[]byte{9 << 3}, 960}, {[]byte{12 << 3}, 480}, {[]byte{15 << 3}, 960},
		{[]byte{16 << 3}, 120}, {[]byte{31 << 3}, 960}, {[]byte{1<<3 | 1}, 1920}, {[]byte{1<<3 | 2}, 1920}, {[]byte{1<<3 | 3}, 0},
		{[]byte{1<<3 | 3, 6}, 5760}, {[]byte{1<<3 | 3, 7}, 0}, {[]byte{1<<3 | 3, 0}, 0}, {[]byte{3<<3 | 1}, 5760},
	} {
		if got := opusTicks(tc.in); got != tc.want {
			t.Errorf("% x: %d ticks, want %d", tc.in, got, tc.want)
		}
	}
}

// The packet after a lost one brings it back: what Recover yields is far nearer to the lost frame than concealment is.
func TestRFC6716_2_1_7_InBandFEC(t *testing.T) {
	const rate, n = 8000, 160
	in := jumpy(rate, 6*rate)
	var fecErr, plcErr, sig float64
	for _, fec := range []bool{true, false} {
		enc, dec := pair(t, opus, EncoderConfig{Rate: rate, Loss: 20})
		_, clean := pair(t, opus, EncoderConfig{Rate: rate})
		code, next := make([]byte, MaxPayload), make([]byte, MaxPayload)
		pcm, want := make([]int16, n), make([]int16, n)
		k, err := enc.Encode(in[:n], code)
		if err != nil {
			t.Fatal(err)
		}
		for f := 1; f < len(in)/n; f++ {
			m, err := enc.Encode(in[f*n:(f+1)*n], next)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := clean.Decode(code[:k], want); err != nil {
				t.Fatal(err)
			}
			switch {
			case f%7 != 0:
				if _, err := dec.Decode(code[:k], pcm); err != nil {
					t.Fatal(err)
				}
			case fec:
				dec.Recover(next[:m], pcm)
				fecErr += distance(pcm, want)
				sig += distance(want, make([]int16, n))
			default:
				dec.Conceal(pcm)
				plcErr += distance(pcm, want)
			}
			code, next, k = next, code, m
		}
	}
	if fecErr > plcErr/2 || fecErr > sig {
		t.Errorf("error with FEC %.3g, with concealment %.3g, signal %.3g", fecErr, plcErr, sig)
	}
}

// jumpy is voiced sound whose pitch and colour change every 60 ms, so that nobody can guess a lost frame from the one before.
func jumpy(rate, n int) []int16 {
	pcm := make([]int16, n)
	rng, phase := uint32(7), 0.0
	pitch, tilt := 100.0, 1.0
	for i := range pcm {
		if i%(rate*60/1000) == 0 {
			rng = rng*1664525 + 1013904223
			pitch = 90 + float64(rng>>24)
			tilt = 0.5 + float64(rng>>16&0xff)/128
		}
		phase += 2 * math.Pi * pitch / float64(rate)
		for h := 1; h <= 10; h++ {
			pcm[i] += int16(3000 * math.Sin(float64(h)*phase) / math.Pow(float64(h), tilt))
		}
	}
	return pcm
}

func distance(a, b []int16) (e float64) {
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		e += d * d
	}
	return e
}

// Unless a peer or the configuration wants it otherwise: wide band with redundancy within 24 to 32 kbit/s, narrow band a little less; and no peer gets
// more than it takes.
func TestR7587_BitRates(t *testing.T) {
	for _, x := range []struct {
		name           string
		cfg            EncoderConfig
		fmtp           string
		plain, guarded int
	}{
		{"wide band", EncoderConfig{Rate: 16000}, "", 32000, 32000},
		{"narrow band", EncoderConfig{Rate: 8000}, "", 24000, 28000},
		{"configured low", EncoderConfig{Rate: 16000, Bitrate: 20000}, "", 20000, 24000},
		{"configured high", EncoderConfig{Rate: 16000, Bitrate: 48000}, "", 48000, 48000},
		{"maxaveragebitrate", EncoderConfig{Rate: 16000}, "maxaveragebitrate=22000", 22000, 22000},
		{"b=AS", EncoderConfig{Rate: 16000, MaxBitrate: 26000}, "", 26000, 26000},
		{"both", EncoderConfig{Rate: 16000, MaxBitrate: 26000}, "maxaveragebitrate=22000", 22000, 22000},
		{"both the other way", EncoderConfig{Rate: 8000, MaxBitrate: 16000}, "maxaveragebitrate=22000", 16000, 16000},
		{"b=AS below any rate of Opus", EncoderConfig{Rate: 8000, MaxBitrate: 1}, "", 6000, 6000},
	} {
		c := opus
		c.Fmtp = x.fmtp + ";cbr=1" // else the rate follows the signal
		enc, _ := pair(t, c, x.cfg)
		in, code := speech(x.cfg.Rate, 3*x.cfg.Rate), make([]byte, MaxPayload)
		for _, loss := range []int{0, 10} {
			enc.SetLoss(loss)
			want, n, total := x.plain, x.cfg.Rate/50, 0
			if loss > 0 {
				want = x.guarded
			}
			for i := 0; i < len(in); i += n {
				k, err := enc.Encode(in[i:i+n], code)
				if err != nil {
					t.Fatal(err)
				}
				total += k
			}
			if got := total * 8 / 3; got > want || got < want*95/100 {
				t.Errorf("%s, %d %% loss: %d bit/s, want %d", x.name, loss, got, want)
			}
		}
	}
}

// What lies below a voice is kept as it comes: the ends filter it.
func TestOpusKeepsWhatIsLow(t *testing.T) {
	const rate, n = 16000, 320
	enc, dec := pair(t, opus, EncoderConfig{Rate: rate})
	code, pcm := make([]byte, MaxPayload), make([]int16, n)
	said, heard := 0.0, 0.0
	for i := range 100 {
		in := tone(65, 8000, rate, i*n, n)
		k, err := enc.Encode(in, code)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dec.Decode(code[:k], pcm); err != nil {
			t.Fatal(err)
		}
		if i >= 50 {
			said, heard = said+distance(in, make([]int16, n)), heard+distance(pcm, make([]int16, n))
		}
	}
	if db := 10 * math.Log10(heard/said); math.Abs(db) > 0.5 {
		t.Errorf("65 Hz at %+.1f dB", db)
	}
}

func TestR7587_PeerWishesBind(t *testing.T) {
	size := func(fmtp string) float64 {
		c := opus
		c.Fmtp = fmtp
		enc, _ := pair(t, c, EncoderConfig{Rate: 16000, Bitrate: 40000, Loss: 20})
		in, code, total := speech(16000, 3*16000), make([]byte, MaxPayload), 0
		for i := 0; i < len(in); i += 320 {
			n, err := enc.Encode(in[i:i+320], code)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		return float64(total) * 8 / 3
	}
	free, capped := size(""), size("maxaveragebitrate=12000")
	if capped > 15000 || free < 1.5*capped {
		t.Errorf("%.0f bit/s with a cap of 12000, %.0f without", capped, free)
	}
	enc, err := NewEncoder(codec.Codec{Name: "opus", ClockRate: 48000, Channels: 2, Fmtp: "maxplaybackrate=8000"}, EncoderConfig{Rate: 16000})
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	code := make([]byte, MaxPayload)
	for i := range 10 {
		if _, err := enc.Encode(tone(500, 8000, 16000, i*320, 320), code); err != nil {
			t.Fatal(err)
		}
	}
	if config := code[0] >> 3; config >= 4 && config < 16 || config >= 20 {
		t.Errorf("TOC configuration %d is not narrow band", config)
	}
	if _, err := NewEncoder(codec.Codec{Name: "opus", ClockRate: 48000, Fmtp: "maxaveragebitrate=;useinbandfec=x"}, EncoderConfig{Rate: 8000}); err != nil {
		t.Errorf("unreadable parameters must not refuse the call: %v", err)
	}
}

func TestR7587_DTXSendsNothingInSilence(t *testing.T) {
	enc, _ := pair(t, opus, EncoderConfig{Rate: 8000, DTX: true})
	code, sent := make([]byte, MaxPayload), 0
	for range 100 {
		n, err := enc.Encode(make([]int16, 160), code)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			sent++
		}
	}
	if sent == 0 || sent > 40 {
		t.Errorf("%d of 100 silent frames sent", sent)
	}
}

func TestOpusFrameLengths(t *testing.T) {
	for _, p := range []time.Duration{10, 20, 40, 60} {
		enc, dec := pair(t, opus, EncoderConfig{Rate: 8000, Ptime: p * time.Millisecond})
		out := through(t, enc, dec, tone(700, 8000, 8000, 0, 8000), int(p)*8)
		if d := dB(level(out[4000:], 700, 8000), 8000); math.Abs(d) > 1 {
			t.Errorf("ptime %d ms: level %.2f dB", p, d)
		}
	}
}

func TestOpusResetForgets(t *testing.T) {
	enc, dec := pair(t, opus, EncoderConfig{Rate: 8000})
	through(t, enc, dec, speech(8000, 8000), 160)
	dec.Reset()
	pcm := make([]int16, 160)
	dec.Conceal(pcm)
	if rms(pcm) > 1 {
		t.Errorf("after a reset the past is still continued at %.0f", rms(pcm))
	}
}

func TestClosedOpusIsInert(t *testing.T) {
	enc, dec := pair(t, opus, EncoderConfig{Rate: 8000})
	enc.Close()
	dec.Close()
	if _, err := enc.Encode(make([]int16, 160), make([]byte, 100)); err == nil {
		t.Error("a closed encoder encodes")
	}
	if _, err := dec.Decode([]byte{9 << 3, 0, 0}, make([]int16, 160)); err == nil {
		t.Error("a closed decoder decodes")
	}
	pcm := tone(400, 1000, 8000, 0, 160)
	dec.Conceal(pcm)
	enc.SetLoss(5)
	if rms(pcm) != 0 {
		t.Error("a closed decoder conceals with something")
	}
}

func FuzzOpusDecode(f *testing.F) {
	enc, _ := pair(f, opus, EncoderConfig{Rate: 8000})
	code := make([]byte, MaxPayload)
	n, err := enc.Encode(tone(500, 8000, 8000, 0, 160), code)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(code[:n])
	f.Add([]byte{0xff, 0xff, 0xff})
	f.Add([]byte{11, 6, 0, 0})
	dec, err := NewDecoder(opus, 8000)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(dec.Close)
	f.Fuzz(func(t *testing.T, in []byte) {
		pcm := make([]int16, 8*MaxFrame)
		n, err := dec.Decode(in, pcm)
		if err == nil && uint32(n)*6 != dec.Ticks(in) {
			t.Fatalf("%d samples, %d ticks announced", n, dec.Ticks(in))
		}
		dec.Recover(in, pcm[:160])
	})
}
