//go:build cgo && !noamr

package transcode

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

var (
	narrow = codec.Codec{Name: "AMR", PT: 97, ClockRate: 8000, Channels: 1}
	wide   = codec.Codec{Name: "AMR-WB", PT: 96, ClockRate: 16000, Channels: 1}
)

// with is c with format parameters.
func with(c codec.Codec, fmtp string) codec.Codec {
	c.Fmtp = fmtp
	return c
}

// parse takes a payload of c apart.
func parse(t testing.TB, c codec.Codec, payload []byte) *amr.Packet {
	t.Helper()
	p, err := amr.ParseParams(c)
	if err != nil {
		t.Fatal(err)
	}
	var pkt amr.Packet
	if err := pkt.Parse(p.Format, payload); err != nil {
		t.Fatalf("%s: % x: %v", c.Name, payload, err)
	}
	return &pkt
}

// code is the payloads of pcm, one per packet of n samples; nil where nothing is sent. It sees to it that pcm stays as it is.
func code(t testing.TB, enc Encoder, pcm []int16, n int) [][]byte {
	t.Helper()
	var out [][]byte
	buf := make([]byte, MaxPayload)
	before := slices.Clone(pcm)
	defer func() {
		if !slices.Equal(before, pcm) {
			t.Error("the encoder has changed its input")
		}
	}()
	for i := 0; i+n <= len(pcm); i += n {
		k, err := enc.Encode(pcm[i:i+n], buf)
		if err != nil {
			t.Fatal(err)
		}
		var b []byte
		if k > 0 {
			b = bytes.Clone(buf[:k])
		}
		out = append(out, b)
	}
	return out
}

// Every mode, in both packings, carries a tone at its level.
func TestAMRToneInEveryMode(t *testing.T) {
	for _, c := range []codec.Codec{narrow, wide} {
		set, _ := c.ModeSet()
		for mode := range uint8(9) {
			if !set.Has(mode) {
				continue
			}
			for _, packing := range []string{"", ";octet-align=1"} {
				t.Run(fmt.Sprintf("%s %d%s", c.Name, mode, packing), func(t *testing.T) {
					c := with(c, fmt.Sprintf("mode-set=%d%s", mode, packing))
					rate := Rates(c)[0]
					enc, dec := pair(t, c, EncoderConfig{Rate: rate})
					in := tone(1000, 8000, rate, 0, rate)
					for _, b := range code(t, enc, in[:rate/10], rate/50) {
						p := parse(t, c, b)
						if p.CMR != amr.NoRequest || p.Len() != 1 || p.FT(0) != mode || !p.Good(0) {
							t.Fatalf("CMR %d, %d frames, mode %d", p.CMR, p.Len(), p.FT(0))
						}
					}
					out := through(t, enc, dec, in, rate/50)
					if d := dB(level(out[rate/2:], 1000, rate), 8000); math.Abs(d) > 3 {
						t.Errorf("level off by %.2f dB", d)
					}
					if q := snr(out[rate/2:], 1000, rate); q < 8 {
						t.Errorf("signal to noise %.1f dB", q)
					}
				})
			}
		}
	}
}

func TestAMRPacketsOfSeveralFrames(t *testing.T) {
	for _, c := range []codec.Codec{narrow, with(narrow, "octet-align=1"), wide, with(wide, "octet-align=1")} {
		rate := Rates(c)[0]
		for _, ms := range []int{20, 40, 60} {
			enc, dec := pair(t, c, EncoderConfig{Rate: rate, Ptime: time.Duration(ms) * time.Millisecond})
			in := tone(1000, 8000, rate, 0, 12*rate/10)
			payloads := code(t, enc, in[:6*rate*ms/1000], rate*ms/1000)
			for _, b := range payloads {
				if n := parse(t, c, b).Len(); n != ms/20 || dec.Ticks(b) != uint32(rate*ms/1000) {
					t.Errorf("%s %d ms: %d frames, %d ticks", c.Name, ms, n, dec.Ticks(b))
				}
			}
			if out := through(t, enc, dec, in, rate*ms/1000); math.Abs(dB(level(out[rate/2:], 1000, rate), 8000)) > 3 {
				t.Errorf("%s %d ms: level off", c.Name, ms)
			}
		}
		if _, err := NewEncoder(c, EncoderConfig{Rate: rate, Ptime: 10 * time.Millisecond}); !errors.Is(err, ErrFrame) {
			t.Errorf("%s in 10 ms: %v", c.Name, err)
		}
		enc, dec := pair(t, c, EncoderConfig{Rate: rate})
		if _, err := enc.Encode(make([]int16, rate/100), make([]byte, 100)); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: half a frame: %v", c.Name, err)
		}
		// The longest that anyone may send is taken.
		b := code(t, enc, make([]int16, rate*240/1000), rate*240/1000)[0]
		if n, err := dec.Decode(b, make([]int16, rate*Longest(c)/1000)); err != nil || n != rate*240/1000 {
			t.Errorf("%s: 240 ms decode to %d, %v", c.Name, n, err)
		}
		if _, err := dec.Decode(b, make([]int16, rate/10)); !errors.Is(err, ErrSpace) {
			t.Errorf("%s: no room: %v", c.Name, err)
		}
	}
}

// COD-03: what the encoder sends keeps to the peer's mode-set, period and neighbour rule while requests come.
func TestCOD03_EncoderKeepsToTheModesOfThePeer(t *testing.T) {
	c := with(narrow, "mode-set=0,2,4,7; mode-change-period=2; mode-change-neighbor=1")
	enc, _ := pair(t, c, EncoderConfig{Rate: 8000})
	fe, ok := enc.(FrameEncoder)
	if !ok {
		t.Fatal("no FrameEncoder")
	}
	in := speech(8000, 8000)
	modes := ""
	next := func(n int) {
		for range n {
			modes += strconv.Itoa(int(parse(t, c, code(t, enc, in[:160], 160)[0]).FT(0)))
		}
	}
	next(2)
	fe.Request(Request{Made: true, Codec: amr.Wide, Mode: 0}) // not about this codec
	fe.Request(Request{})
	next(2)
	fe.Request(Request{Made: true, Mode: 0})
	next(7)
	fe.Skip(160) // one frame time passes
	fe.Request(Request{Made: true, Mode: 12})
	fe.Request(Request{Made: true, Mode: amr.NoRequest})
	next(6)
	if want := "77" + "77" + "4422000" + "224477"; modes != want {
		t.Errorf("modes %s, want %s", modes, want)
	}
	if e, _ := pair(t, wide, EncoderConfig{Rate: 16000, Bitrate: 24000}); parse(t, wide, code(t, e, make([]int16, 320), 320)[0]).FT(0) != 8 {
		t.Error("the bit rate of the configuration does not choose the mode")
	}
}

// COD-12: in silence one comfort noise frame comes per 160 ms, and the decoder makes noise of it without a gap.
func TestCOD12_DTX(t *testing.T) {
	for _, c := range []codec.Codec{narrow, with(wide, "octet-align=1")} {
		for _, frames := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%s %d", c.Name, frames), func(t *testing.T) {
				rate := Rates(c)[0]
				n := rate / 50 * frames
				enc, dec := pair(t, c, EncoderConfig{Rate: rate, DTX: true, Ptime: time.Duration(20*frames) * time.Millisecond})
				fd := dec.(FrameDecoder)
				in := append(speech(rate, 2*rate), noise(4*rate, 60)...)
				payloads := code(t, enc, in, n)
				buf, pcm := make([]byte, MaxPayload), make([]int16, n)
				sent, quiet := 0, 0
				var heard []int16
				for i, b := range payloads {
					if b == nil {
						fd.Conceal(pcm)
					} else {
						k, err := fd.Decode(b, pcm)
						if err != nil {
							t.Fatal(err)
						}
						if k < n { // frames without data at the end are not sent
							fd.Conceal(pcm[k:])
						}
						if p := parse(t, c, b); p.FT(p.Len()-1) == amr.NoData {
							t.Errorf("packet %d ends without data", i)
						}
					}
					if i*n >= 4*rate {
						heard = append(heard, pcm...)
						quiet++
						if b != nil {
							sent++
						}
						if !fd.Silent() {
							t.Errorf("packet %d: not silent", i)
						}
					}
				}
				if want := quiet * frames / 8; sent < want-2 || sent > want+2 {
					t.Errorf("%d of %d packets sent in silence, want %d", sent, quiet, want)
				}
				if r := rms(heard); r < 5 || r > 200 {
					t.Errorf("comfort noise of %.0f, the noise has %.0f", r, rms(in[4*rate:]))
				}
				for i := 0; i+n/frames*4 <= len(heard); i += n / frames * 4 {
					if rms(heard[i:i+n/frames*4]) < 1 {
						t.Fatalf("gap at sample %d", i)
					}
				}
				fe := enc.(FrameEncoder)
				if fe.Speech() {
					t.Error("silence counts as speech")
				}
				for range 5 { // speech comes back
					if _, err := enc.Encode(speech(rate, 2*rate)[rate/10:][:n], buf); err != nil {
						t.Fatal(err)
					}
				}
				if !fe.Speech() {
					t.Error("speech counts as silence")
				}
			})
		}
	}
}

// noise is white noise of the given effective value.
func noise(n int, effective float64) []int16 {
	pcm := make([]int16, n)
	rng := uint32(1)
	for i := range pcm {
		rng = rng*1664525 + 1013904223
		pcm[i] = int16((float64(rng>>8)/float64(1<<24)*2 - 1) * effective * math.Sqrt(3))
	}
	return pcm
}

// A lost frame is bridged, many fade; a damaged frame (Q=0) and a lost one (FT 14, 15) are the same as none.
func TestR4867_MissingFramesAreConcealed(t *testing.T) {
	for _, c := range []codec.Codec{narrow, wide} {
		rate := Rates(c)[0]
		n := rate / 50
		enc, dec := pair(t, c, EncoderConfig{Rate: rate})
		_, other := pair(t, c, EncoderConfig{Rate: rate})
		payloads := code(t, enc, tone(440, 8000, rate, 0, rate), n)
		params, err := amr.ParseParams(c)
		if err != nil {
			t.Fatal(err)
		}
		pcm, same := make([]int16, n), make([]int16, n)
		for i, b := range payloads {
			if i < 10 || i%9 != 0 {
				for _, d := range []Decoder{dec, other} {
					if _, err := d.Decode(b, pcm); err != nil {
						t.Fatal(err)
					}
				}
				continue
			}
			dec.Conceal(pcm)
			// The libraries turn a single gap in a tone down by 6 to 10 dB, on their own judgement.
			if d := dB(rms(pcm), 8000/math.Sqrt2); d > 1 || d < -12 {
				t.Errorf("%s: %.1f dB where frame %d is lost", c.Name, d, i)
			}
			p := parse(t, c, b)
			switch i % 2 {
			case 0: // damaged
				p.Frame(0)[0] &^= 4
			case 1:
				p.Reset(params.Codec, amr.NoRequest)
				ft := amr.NoData
				if c.Is(codec.AMRWB) {
					ft = amr.SpeechLost
				}
				if err := p.Add([]byte{ft << 3}); err != nil {
					t.Fatal(err)
				}
			}
			out := make([]byte, MaxPayload)
			k, err := p.Build(params.Format, out)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Decode(out[:k], same); err != nil || distance16(pcm, same) != 0 {
				t.Errorf("%s: frame %d: not as if it were lost: %v", c.Name, i, err)
			}
		}
		for range 50 {
			dec.Conceal(pcm)
		}
		if rms(pcm) > 80 {
			t.Errorf("%s: a second of loss ends at %.0f", c.Name, rms(pcm))
		}
	}
}

func distance16(a, b []int16) (e float64) {
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		e += d * d
	}
	return e
}

// Packets that repeat the frame before: with those left out that were played, the audio is that of packets without repetition, and a
// lost packet costs nothing.
func TestRFC4867_3_7_1_RepeatedFrames(t *testing.T) {
	for _, c := range []codec.Codec{narrow, with(wide, "octet-align=1")} {
		rate := Rates(c)[0]
		n := rate / 50
		enc, plain := pair(t, c, EncoderConfig{Rate: rate})
		_, dec := pair(t, c, EncoderConfig{Rate: rate})
		params, err := amr.ParseParams(c)
		if err != nil {
			t.Fatal(err)
		}
		payloads := code(t, enc, speech(rate, rate), n)
		want, got, out := make([]int16, n), make([]int16, 2*n), make([]byte, MaxPayload)
		for i := 1; i < len(payloads); i++ {
			both := parse(t, c, payloads[i-1])
			if err := both.Add(parse(t, c, payloads[i]).Frame(0)); err != nil {
				t.Fatal(err)
			}
			k, err := both.Build(params.Format, out)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := plain.Decode(payloads[i-1], want); err != nil {
				t.Fatal(err)
			}
			first := slices.Clone(want)
			if i == 1 || i%5 == 0 { // the packet before was lost: both frames are new
				if m, err := dec.(FrameDecoder).DecodeAfter(0, out[:k], got); err != nil || m != 2*n || distance16(first, got[:n]) != 0 {
					t.Fatalf("%s packet %d: %d samples, %v", c.Name, i, m, err)
				}
				continue
			}
			if i%5 == 4 {
				continue // lost
			}
			if m, err := dec.(FrameDecoder).DecodeAfter(uint32(n), out[:k], got); err != nil || m != n {
				t.Fatalf("%s packet %d: %d samples, %v", c.Name, i, m, err)
			}
		}
		if m, err := dec.(FrameDecoder).DecodeAfter(uint32(9*n), out[:0], got); !errors.Is(err, ErrPayload) {
			t.Errorf("%d samples of nothing, %v", m, err)
		}
	}
}

func TestAMRRequestInAPayload(t *testing.T) {
	for kind, c := range map[amr.Codec]codec.Codec{amr.Narrow: narrow, amr.Wide: with(wide, "octet-align=1")} {
		_, dec := pair(t, c, EncoderConfig{Rate: Rates(c)[0]})
		if r := dec.(FrameDecoder).Request([]byte{0x34, 0x7c}); r != (Request{Made: true, Codec: kind, Mode: 3}) {
			t.Errorf("%+v", r)
		}
	}
}
