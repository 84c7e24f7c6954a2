package audio

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// needAMR reports whether the build has AMR; a build without cgo has not, and nothing of it to test.
func needAMR(t testing.TB) bool {
	if !transcode.Supported(narrow) {
		t.Log("build without AMR")
		return false
	}
	return true
}

// Every codec to every other, AMR in both packings: a tone comes out as it went in.
func TestCOD01_ToneThroughEveryPairWithAMR(t *testing.T) {
	race.Slow(t)
	all := []codec.Codec{opus, pcmu, pcma, g722, narrow, narrowOctets, wide, wideOctets}
	for _, src := range all {
		for _, dst := range all {
			if !src.IsAMR() && !dst.IsAMR() || !transcode.Supported(src) || !transcode.Supported(dst) {
				continue
			}
			ptimes := []int64{20}
			if dst.IsAMR() && (src == opus || src == pcma) {
				ptimes = []int64{20, 40, 60}
			}
			for _, ptime := range ptimes {
				t.Run(fmt.Sprintf("%s%d to %s%d %d ms", src.Name, src.PT, dst.Name, dst.PT, ptime), func(t *testing.T) {
					from, to := rateOf(src, dst), rateOf(dst, src)
					d := direction(t, Config{Src: src, Dst: dst, Ptime: time.Duration(ptime * ms)})
					h := listen(t, d, source(t, src, from, tone(1000, 8000, from, 3*from), 0), to, 5*ms, 5*int64(time.Second))
					tail := h.pcm[to : 2*to]
					if l := dB(level(tail, 1000, to), 8000); math.Abs(l) > 3 {
						t.Errorf("level off by %.2f dB", l)
					}
					if f := peak(tail, to); math.Abs(f-1000) > 3 {
						t.Errorf("heard %.0f Hz", f)
					}
					if s := d.Stats(); len(h.frames) < 150*20/int(ptime) || s.Concealed > 60 || s.Decoded != 150 {
						t.Errorf("%d frames, %+v", len(h.frames), s)
					}
					for i, f := range h.frames {
						if f.PT != dst.PT || f.Kind != Audio || f.Marker != (i == 0) {
							t.Fatalf("frame %d: %+v", i, f)
						}
						if i > 0 && (f.Seq != h.frames[i-1].Seq+1 || f.TS-h.frames[i-1].TS != dst.ClockRate/1000*uint32(ptime)) {
							t.Fatalf("frame %d: %+v after %+v", i, f, h.frames[i-1])
						}
					}
				})
			}
		}
	}
}

// Opus speaks at the rate of its peer, so that nothing is converted.
func TestOpusTakesTheRateOfAMR(t *testing.T) {
	if !needAMR(t) || !transcode.Supported(opus) {
		return
	}
	for _, tc := range []struct {
		c    codec.Codec
		rate int
	}{{narrow, 8000}, {wide, 16000}} {
		for _, cfg := range []Config{{Src: opus, Dst: tc.c}, {Src: tc.c, Dst: opus}} {
			if d := direction(t, cfg); d.decRate != tc.rate || d.encRate != tc.rate || d.rate != nil {
				t.Errorf("%s to %s: %d and %d Hz", cfg.Src.Name, cfg.Dst.Name, d.decRate, d.encRate)
			}
		}
	}
}

// format is how c packs.
func format(t testing.TB, c codec.Codec) amr.Format {
	t.Helper()
	p, err := amr.ParseParams(c)
	if err != nil {
		t.Fatal(err)
	}
	return p.Format
}

// repeating makes packets that each hold the frame before too, as senders do that met with loss (RFC 4867 §3.7.1): payload and timestamp
// begin one frame earlier.
func repeating(t testing.TB, c codec.Codec, in []sent) []sent {
	t.Helper()
	f := format(t, c)
	var out []sent
	buf := make([]byte, amr.MaxPayload)
	for i := 1; i < len(in); i++ {
		var both, one amr.Packet
		p := rtp.Packet(in[i].pkt)
		if err := both.Parse(f, rtp.Packet(in[i-1].pkt).Payload()); err != nil {
			t.Fatal(err)
		}
		if err := one.Parse(f, p.Payload()); err != nil {
			t.Fatal(err)
		}
		if err := both.Add(one.Frame(0)); err != nil {
			t.Fatal(err)
		}
		n, err := both.Build(f, buf)
		if err != nil {
			t.Fatal(err)
		}
		h := rtp.Header{PT: c.PT, Seq: p.Seq(), TS: p.TS() - f.Codec.FrameTicks(), SSRC: p.SSRC()}
		out = append(out, sent{in[i].at, packet(h, buf[:n])})
	}
	return out
}

// Repetition costs no time and makes up for every lost packet whose successor comes.
func TestRFC4867_3_7_1_RepetitionReplacesLostPackets(t *testing.T) {
	if !needAMR(t) {
		return
	}
	for _, c := range []codec.Codec{narrow, wideOctets} {
		rate := rateOf(c, c)
		in := repeating(t, c, source(t, c, rate, tone(1000, 8000, rate, 10*rate), 0))
		var left []sent
		for i, s := range in {
			if i%5 != 3 {
				left = append(left, s)
			}
		}
		clean, lossy := direction(t, Config{Src: c, Dst: pcma}), direction(t, Config{Src: c, Dst: pcma})
		until := int64(10 * time.Second)
		want, got := listen(t, clean, in, 8000, 5*ms, until), listen(t, lossy, left, 8000, 5*ms, until)
		for _, h := range []heard{want, got} {
			if f := peak(h.pcm[8*8000:], 8000); math.Abs(f-1000) > 3 {
				t.Errorf("%s: heard %.0f Hz", c.Name, f)
			}
			weak := 0
			for i := 8000; i+160 <= len(h.pcm); i += 160 {
				if dB(rms(h.pcm[i:i+160]), 8000/math.Sqrt2) < -3 {
					weak++
				}
			}
			if weak > 0 {
				t.Errorf("%s: %d frames collapse", c.Name, weak)
			}
		}
		if s := lossy.Stats(); s.Concealed > clean.Stats().Concealed+2 || s.Jitter.Lost < 80 || s.Malformed != 0 {
			t.Errorf("%s: clean %+v, lossy %+v", c.Name, clean.Stats(), s)
		}
		if s := clean.Stats(); s.Shortened+s.Stretched > 5 || s.Jitter.Delay > 60*time.Millisecond {
			t.Errorf("%s: %+v", c.Name, s)
		}
	}
}

// pauses is a source that stops sending in silence; every second of four it speaks.
func pauses(t testing.TB, c codec.Codec, seconds int) []sent {
	t.Helper()
	rate := rateOf(c, c)
	enc, err := transcode.NewEncoder(c, transcode.EncoderConfig{Rate: rate, DTX: true})
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	talk, code := voice(rate, rate*seconds), make([]byte, transcode.MaxPayload)
	r := rand.New(rand.NewPCG(1, 2))
	var out []sent
	seq := uint16(65500)
	for i := 0; i < 50*seconds; i++ {
		pcm := talk[i*rate/50 : (i+1)*rate/50]
		if i/50%4 != 0 {
			for k := range pcm {
				pcm[k] = int16(r.IntN(40) - 20)
			}
		}
		n, err := enc.Encode(pcm, code)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			seq++
			out = append(out, sent{int64(time.Second) + int64(i)*20*ms, packet(rtp.Header{PT: c.PT, Seq: seq, TS: uint32(i) * c.ClockRate / 50, SSRC: 7}, code[:n])})
		}
	}
	return out
}

// COD-12: where the source pauses, its comfort noise fills the output without a gap, and does not count as loss.
func TestCOD12_PausesOfTheSourceAreFilled(t *testing.T) {
	if !needAMR(t) {
		return
	}
	for _, c := range []codec.Codec{narrow, wideOctets} {
		in := pauses(t, c, 12)
		if len(in) > 50*5 {
			t.Fatalf("%s: %d packets: the source does not pause", c.Name, len(in))
		}
		d := direction(t, Config{Src: c, Dst: pcma})
		h := listen(t, d, in, 8000, 5*ms, 13*int64(time.Second))
		checkTimeline(t, h, pcma)
		if len(h.frames) < 590 {
			t.Errorf("%s: %d frames", c.Name, len(h.frames))
		}
		noise := h.pcm[2*8000 : 4*8000-4000]
		for i := 0; i+800 <= len(noise); i += 800 {
			if r := rms(noise[i : i+800]); r < 1 || r > 100 {
				t.Fatalf("%s: pause of %.0f after %d ms", c.Name, r, i/8)
			}
		}
		if s := d.Stats(); s.Concealed > 30 || int(s.Decoded) < len(in)-5 {
			t.Errorf("%s: %d packets, %+v", c.Name, len(in), s)
		}
	}
}

// Towards a peer with DTX: the time line goes on through pauses, packet numbers have no gaps, and only the first packet with speech is
// marked (RFC 4867 §4.1).
func TestCOD12_DTXTowardsThePeer(t *testing.T) {
	if !needAMR(t) {
		return
	}
	for _, dst := range []codec.Codec{narrow, wideOctets} {
		for _, ptime := range []int64{20, 40} {
			rate := 8000
			pcm, r := voice(rate, 8*rate), rand.New(rand.NewPCG(3, 4))
			for i := range pcm {
				if i/rate%4 >= 1 {
					pcm[i] = int16(r.IntN(40) - 20)
				}
			}
			d := direction(t, Config{Src: pcma, Dst: dst, DTX: true, Ptime: time.Duration(ptime * ms)})
			in, f := source(t, pcma, rate, pcm, 0), format(t, dst)
			out, next, marks := make([]byte, transcode.MaxPayload), 0, 0
			var first, last Frame
			packets, spoke := 0, false
			for now := int64(0); now < 9*int64(time.Second); now += 5 * ms {
				for ; next < len(in) && in[next].at <= now; next++ {
					d.Push(in[next].at, in[next].pkt)
				}
				for d.NextTick() <= now {
					n, fr := d.Tick(now, out)
					if fr.Kind == None {
						spoke = false
						continue
					}
					var p amr.Packet
					if err := p.Parse(f, out[:n]); err != nil {
						t.Fatal(err)
					}
					speech := f.Codec.Speech(p.FT(0))
					if packets == 0 {
						first = fr
					} else if fr.Seq != last.Seq+1 || (fr.TS-first.TS)%d.step != 0 || fr.TS == last.TS {
						t.Fatalf("%+v after %+v", fr, last)
					}
					if fr.Marker != (speech && !spoke) {
						t.Fatalf("packet %d: marker %v, speech %v after %v", packets, fr.Marker, speech, spoke)
					}
					if fr.Marker {
						marks++
					}
					packets, last, spoke = packets+1, fr, speech
				}
			}
			if passed := last.TS - first.TS; passed < 7*dst.ClockRate || packets > int(4*1000/ptime) || marks < 2 || marks > 12 {
				t.Errorf("%s %d ms: %d packets, %d marked, %d ticks", dst.Name, ptime, packets, marks, passed)
			}
		}
	}
}

// The request of the newest packet counts, in whatever order they come.
func TestRFC4867_4_3_1_NewestRequestCounts(t *testing.T) {
	if !needAMR(t) {
		return
	}
	d := direction(t, Config{Src: wide, Dst: pcma})
	if d.Asked() != (transcode.Request{}) {
		t.Errorf("asked for %+v without a packet", d.Asked())
	}
	base := source(t, wide, 16000, tone(1000, 8000, 16000, 16000), 0)
	for _, x := range []struct {
		i         int
		cmr, want uint8
	}{{0, 3, 3}, {1, 15, 15}, {3, 8, 8}, {2, 1, 8}, {4, 0, 0}, {4, 7, 0}} {
		p := rtp.Packet(base[x.i].pkt)
		p.Payload()[0] = p.Payload()[0]&15 | x.cmr<<4
		d.Push(base[x.i].at, p)
		if want := (transcode.Request{Made: true, Codec: amr.Wide, Mode: x.want}); d.Asked() != want {
			t.Errorf("packet %d with request %d: asked for %+v", x.i, x.cmr, d.Asked())
		}
	}
	none := direction(t, Config{Src: pcma, Dst: pcmu})
	none.Push(1, base[0].pkt)
	none.Request(transcode.Request{Made: true})
	if none.Asked() != (transcode.Request{}) {
		t.Error("G.711 asks for a mode")
	}
}

// COD-03: a peer that takes a change of mode every second frame gets them at such places of its time line, also after key presses, a pause
// and a worker that stood still have kept frames from being made.
func TestCOD03_PeriodIsKeptThroughKeysAndStalls(t *testing.T) {
	if !needAMR(t) {
		return
	}
	dst := narrow
	dst.Fmtp = "mode-set=0,2,4,7;mode-change-period=2;mode-change-neighbor=1"
	d := direction(t, Config{Src: pcma, Dst: dst, SrcDTMF: event(pcma, 101), DstDTMF: event(dst, 99)})
	in := dial(source(t, pcma, 8000, voice(8000, 12*8000), 0), *event(pcma, 101), []uint8{1, 2, 3, 4, 5}, map[int]bool{2: true})
	for i := range in {
		if i > 420 {
			in[i].at += 1000*ms + 20*ms*int64(i%2) // a pause, and then an uneven talker
		}
	}
	f, r := format(t, dst), rand.New(rand.NewPCG(5, 5))
	out, next, changes := make([]byte, transcode.MaxPayload), 0, 0
	last, lastTS, changed := uint8(255), uint32(0), uint32(0)
	for now := int64(0); now < 14*int64(time.Second); now += 5 * ms {
		if now%(700*ms) == 0 {
			now += 100*ms + 20*ms*r.Int64N(5)
		}
		for ; next < len(in) && in[next].at <= now; next++ {
			d.Push(in[next].at, in[next].pkt)
		}
		for d.NextTick() <= now {
			n, fr := d.Tick(now, out)
			d.Request(transcode.Request{Made: true, Mode: uint8(r.UintN(9))})
			if fr.Kind != Audio {
				continue
			}
			var p amr.Packet
			if err := p.Parse(f, out[:n]); err != nil {
				t.Fatal(err)
			}
			switch ft := p.FT(0); {
			case last == 255:
				changed = fr.TS
			case ft != last:
				// The pause itself may be of any length; what counts are frames.
				if gap := fr.TS - lastTS; gap < 8000 && (fr.TS-changed)%320 != 0 {
					t.Fatalf("mode %d after %d, %d ticks after the change before", ft, last, fr.TS-changed)
				}
				changed = fr.TS
				changes++
			}
			last, lastTS = p.FT(0), fr.TS
		}
	}
	if changes < 50 {
		t.Errorf("%d changes", changes)
	}
}

// The longest packets that are allowed come through, also with a change of rate.
func TestR4867_PacketsOf240Milliseconds(t *testing.T) {
	if !needAMR(t) {
		return
	}
	for _, tc := range [][2]codec.Codec{{narrow, g722}, {wideOctets, pcma}, {wide, wideOctets}} {
		rate, to := rateOf(tc[0], tc[1]), rateOf(tc[1], tc[0])
		f := format(t, tc[0])
		short := source(t, tc[0], rate, tone(1000, 8000, rate, 6*rate), 0)
		var in []sent
		for i := 0; i+12 <= len(short); i += 12 {
			var all, one amr.Packet
			all.Reset(f.Codec, amr.NoRequest)
			for _, s := range short[i : i+12] {
				if err := one.Parse(f, rtp.Packet(s.pkt).Payload()); err != nil {
					t.Fatal(err)
				}
				if err := all.Add(one.Frame(0)); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, amr.MaxPayload)
			n, err := all.Build(f, buf)
			if err != nil {
				t.Fatal(err)
			}
			h := rtp.Header{PT: tc[0].PT, Seq: uint16(i / 12), TS: rtp.Packet(short[i].pkt).TS(), SSRC: 7}
			in = append(in, sent{short[i+11].at, packet(h, buf[:n])})
		}
		d := direction(t, Config{Src: tc[0], Dst: tc[1]})
		h := listen(t, d, in, to, 5*ms, 8*int64(time.Second))
		tail := h.pcm[3*to : 4*to]
		if f := peak(tail, to); math.Abs(f-1000) > 3 || math.Abs(dB(level(tail, 1000, to), 8000)) > 3 {
			t.Errorf("%s to %s: %.0f Hz at %.1f dB, %+v", tc[0].Name, tc[1].Name, f, dB(level(tail, 1000, to), 8000), d.Stats())
		}
		if s := d.Stats(); int(s.Decoded) != len(in) || s.Jitter.Refused != 0 {
			t.Errorf("%d packets, %+v", len(in), s)
		}
	}
}
