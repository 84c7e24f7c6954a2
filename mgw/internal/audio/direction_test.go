package audio

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// rateOf is the PCM rate to test c at beside other.
func rateOf(c, other codec.Codec) int {
	cfg := Config{Src: c, Dst: other}
	r, _ := cfg.rates()
	return r
}

func TestIQ18_ToneThroughEveryPair(t *testing.T) {
	for _, src := range []codec.Codec{opus, pcma, pcmu, g722} {
		for _, dst := range []codec.Codec{opus, pcma, pcmu, g722} {
			if !transcode.Supported(src) || !transcode.Supported(dst) {
				continue
			}
			t.Run(src.Name+" to "+dst.Name, func(t *testing.T) {
				from, to := rateOf(src, dst), rateOf(dst, src)
				d := direction(t, Config{Src: src, Dst: dst})
				h := listen(t, d, source(t, src, from, tone(700, 8000, from, 3*from), 0), to, 5*ms, 5*int64(time.Second))
				tail := h.pcm[to : 2*to]
				if l := dB(level(tail, 700, to), 8000); math.Abs(l) > 1 {
					t.Errorf("level off by %.2f dB", l)
				}
				if f := peak(tail, to); math.Abs(f-700) > 3 {
					t.Errorf("heard %.0f Hz", f)
				}
				s := d.Stats()
				if len(h.frames) < 150 || s.Concealed > 60 || s.Decoded != 150 {
					t.Errorf("%d frames, %+v", len(h.frames), s)
				}
				checkTimeline(t, h, dst)
			})
		}
	}
}

// checkTimeline: numbers without gap, timestamps by one packet each, the first marked.
func checkTimeline(t *testing.T, h heard, dst codec.Codec) {
	t.Helper()
	for i, f := range h.frames {
		if f.PT != dst.PT || f.Kind != Audio || f.Marker != (i == 0) {
			t.Fatalf("frame %d: %+v", i, f)
		}
		if i > 0 && (f.Seq != h.frames[i-1].Seq+1 || f.TS-h.frames[i-1].TS != dst.ClockRate/50) {
			t.Fatalf("frame %d: %+v after %+v", i, f, h.frames[i-1])
		}
	}
}

// Under loss and jitter nothing may click or collapse: no 20 ms of the output far below the clean run, no step that the clean run
// does not have.
func TestLossAndJitterAgainstCleanRun(t *testing.T) {
	for _, tc := range []struct {
		src, dst codec.Codec
		loss     float64
		jitter   int64
	}{{opus, pcma, 0.05, 0}, {opus, pcma, 0.10, 30 * ms}, {pcma, opus, 0.05, 20 * ms}, {pcma, pcmu, 0.10, 0}, {g722, pcma, 0.05, 20 * ms}} {
		if !transcode.Supported(tc.src) || !transcode.Supported(tc.dst) {
			continue
		}
		t.Run(fmt.Sprintf("%s to %s %.0f%% %dms", tc.src.Name, tc.dst.Name, tc.loss*100, tc.jitter/ms), func(t *testing.T) {
			from, to := rateOf(tc.src, tc.dst), rateOf(tc.dst, tc.src)
			in := source(t, tc.src, from, voice(from, 12*from), 10)
			clean := listen(t, direction(t, Config{Src: tc.src, Dst: tc.dst}), in, to, 5*ms, 12*int64(time.Second))
			d := direction(t, Config{Src: tc.src, Dst: tc.dst})
			h := listen(t, d, mangle(in, 5, tc.loss, tc.jitter), to, 5*ms, 12*int64(time.Second))
			n := to / 50
			weak, total := 0, 0
			for i := 50 * n; i+n <= len(h.pcm); i += n {
				total++
				if dB(rms(h.pcm[i:i+n]), rms(clean.pcm[to:2*to])) < -6 {
					weak++
				}
			}
			if share := float64(weak) / float64(total); share > 0.02 {
				t.Errorf("%.1f %% of the frames collapse", 100*share)
			}
			limit := 1.4 * largestStep(clean.pcm[to:])
			got := 0
			for i := to + 1; i < len(h.pcm); i++ {
				if math.Abs(float64(h.pcm[i])-float64(h.pcm[i-1])) > limit {
					got++
				}
			}
			if got > total/100 {
				t.Errorf("%d clicks in %d frames", got, total)
			}
			if l := dB(rms(h.pcm[to:]), rms(clean.pcm[to:])); math.Abs(l) > 1.5 {
				t.Errorf("level %.2f dB", l)
			}
			t.Logf("weak %d clicks %d of %d, %+v", weak, got, total, d.Stats())
		})
	}
}

// largestStep is the greatest difference between neighbours.
func largestStep(pcm []int16) (m float64) {
	for i := 1; i < len(pcm); i++ {
		m = math.Max(m, math.Abs(float64(pcm[i])-float64(pcm[i-1])))
	}
	return m
}

// In-band FEC must be used, and must bring the output nearer to the clean one than concealment alone.
func TestOpusFECIsDecoded(t *testing.T) {
	if !transcode.Supported(opus) {
		t.Log("build without Opus: nothing to recover")
		return
	}
	d := direction(t, Config{Src: opus, Dst: pcma})
	in := mangle(source(t, opus, 8000, speech(8000, 20*8000), 10), 11, 0.08, 0)
	listen(t, d, in, 8000, 5*ms, 20*int64(time.Second))
	s := d.Stats()
	if lost := 1000 - len(in); int(s.Recovered) < lost/2 {
		t.Errorf("%d of %d lost frames recovered; %+v", s.Recovered, lost, s)
	}
}

func TestDelayStaysInItsBudget(t *testing.T) {
	for _, dst := range []codec.Codec{pcma, opus} {
		if !transcode.Supported(opus) {
			continue
		}
		src := opus
		if dst.Is("opus") {
			src = pcma
		}
		pcm := make([]int16, 8000)
		for i := 6400; i < 8000; i++ { // a burst after 800 ms
			pcm[i] = int16(12000 * math.Sin(float64(i)))
		}
		h := listen(t, direction(t, Config{Src: src, Dst: dst}), source(t, src, 8000, pcm, 0), 8000, ms, 3*int64(time.Second))
		first := 0
		for first < len(h.pcm) && h.pcm[first] < 4000 {
			first++
		}
		if first == len(h.pcm) {
			t.Fatalf("to %s: burst never heard", dst.Name)
		}
		// The burst begins 800 ms into the signal; its packet is complete 20 ms later, at the arrival time of packet 40.
		heardAt := h.times[first/160] - int64(time.Second) + int64(first%160)*ms/8
		if delay := heardAt - 800*ms; delay > 40*ms || delay < 0 {
			t.Errorf("to %s: %d ms beyond packetisation", dst.Name, delay/ms)
		}
	}
}

func TestClockDriftNeitherGrowsNorStarves(t *testing.T) {
	for _, ppm := range []int64{-500, 500} {
		d := direction(t, Config{Src: pcma, Dst: pcmu})
		in := source(t, pcma, 8000, tone(300, 8000, 8000, 60*8000), 0)
		for i := range in {
			in[i].at += (in[i].at - int64(time.Second)) * ppm / 1_000_000
		}
		listen(t, d, in, 8000, 5*ms, 59*int64(time.Second))
		s := d.Stats()
		if s.Jitter.Delay > 32*time.Millisecond || s.Jitter.Delay < 10*time.Millisecond || s.Concealed > 8 || s.Jitter.Skipped > 0 {
			t.Errorf("%d ppm: %+v", ppm, s)
		}
		if s.Shifted == 0 || s.Shortened+s.Stretched > 0 {
			t.Errorf("%d ppm: the frame clock does not follow: %+v", ppm, s)
		}
	}
}

func TestHoldAndResume(t *testing.T) {
	d := direction(t, Config{Src: pcma, Dst: pcmu})
	in := source(t, pcma, 8000, tone(300, 8000, 8000, 4*8000), 0)
	for i := 100; i < len(in); i++ { // after 2 s a pause of 10 s
		in[i].at += 10 * int64(time.Second)
	}
	h := listen(t, d, in, 8000, 5*ms, 20*int64(time.Second))
	gaps := 0
	for i := 1; i < len(h.frames); i++ {
		f, g := h.frames[i-1], h.frames[i]
		if g.Seq != f.Seq+1 {
			t.Fatalf("frame %d: number %d after %d", i, g.Seq, f.Seq)
		}
		if step := g.TS - f.TS; step != 160 {
			gaps++
			want := float64(h.times[i]-h.times[i-1]) / 1e9 * 8000
			if !g.Marker || math.Abs(float64(step)-want) > 400 {
				t.Errorf("resumes with %+v, %d ticks after %.0f ticks of time", g, step, want)
			}
		}
	}
	if gaps != 1 || d.NextTick() != Idle {
		t.Errorf("%d gaps; next tick %d", gaps, d.NextTick())
	}
	if tail := h.pcm[len(h.pcm)-12000 : len(h.pcm)-10000]; math.Abs(dB(level(tail, 300, 8000), 8000)) > 1 {
		t.Errorf("after resuming the tone is at %.1f dB", dB(level(tail, 300, 8000), 8000))
	}
}

func TestSourceSwitchAndPtimes(t *testing.T) {
	for _, p := range []time.Duration{10, 20, 40, 60} {
		p *= time.Millisecond
		d := direction(t, Config{Src: pcma, Dst: pcmu, Ptime: p})
		in := source(t, pcma, 8000, tone(300, 8000, 8000, 2*8000), 0)
		for _, s := range source(t, pcma, 8000, tone(300, 8000, 8000, 2*8000), 0) {
			s.at += 2 * int64(time.Second)
			rtp.Packet(s.pkt).SetSSRC(99)
			rtp.Packet(s.pkt).SetSeq(rtp.Packet(s.pkt).Seq() + 12345)
			in = append(in, s)
		}
		h := listen(t, d, in, 8000, 5*ms, 5*int64(time.Second))
		for i, n := range h.sizes {
			if n != int(p/time.Millisecond)*8 {
				t.Fatalf("ptime %v frame %d: %d bytes", p, i, n)
			}
			if i > 0 && h.frames[i].TS-h.frames[i-1].TS != uint32(n) {
				t.Fatalf("ptime %v frame %d: step of %d", p, i, h.frames[i].TS-h.frames[i-1].TS)
			}
		}
		if s := d.Stats(); s.Jitter.Restarts != 1 || s.Decoded < 198 || len(h.pcm) < 31000 {
			t.Errorf("ptime %v: %+v, %d samples", p, s, len(h.pcm))
		}
	}
}

func TestPacketsOf10To60MsIn(t *testing.T) {
	for _, frames := range []int{1, 4, 6} { // of 10 ms
		d := direction(t, Config{Src: pcma, Dst: pcmu})
		var in []sent
		enc, err := transcode.NewEncoder(pcma, transcode.EncoderConfig{Rate: 8000})
		if err != nil {
			t.Fatal(err)
		}
		n := frames * 80
		pcm, code := tone(300, 8000, 8000, 4*8000), make([]byte, n)
		for i := 0; (i+1)*n <= len(pcm); i++ {
			if _, err := enc.Encode(pcm[i*n:(i+1)*n], code); err != nil {
				t.Fatal(err)
			}
			in = append(in, sent{int64(time.Second) + int64(i*frames)*10*ms, packet(rtp.Header{PT: 8, Seq: uint16(i), TS: uint32(i * n), SSRC: 4}, code)})
		}
		h := listen(t, d, in, 8000, 5*ms, 5*int64(time.Second))
		if l := dB(level(h.pcm[8000:16000], 300, 8000), 8000); math.Abs(l) > 1 {
			t.Errorf("%d ms packets: level %.1f dB; %+v", frames*10, l, d.Stats())
		}
	}
}

func TestSlowWorkerSkipsInsteadOfBursting(t *testing.T) {
	d := direction(t, Config{Src: pcma, Dst: pcmu})
	h := listen(t, d, source(t, pcma, 8000, tone(300, 8000, 8000, 4*8000), 0), 8000, 310*ms, 5*int64(time.Second))
	burst := map[int64]int{}
	for _, at := range h.times {
		if burst[at]++; burst[at] > 2 {
			t.Fatalf("%d packets at once", burst[at])
		}
	}
	if d.Stats().Resynced == 0 {
		t.Error("the frame clock was never set anew")
	}
}

func TestPushVerdicts(t *testing.T) {
	cn := &codec.Codec{Name: codec.ComfortNoise, PT: 13, ClockRate: 8000}
	d := direction(t, Config{Src: pcma, Dst: pcmu, SrcCN: cn, SrcDTMF: event(pcma, 101)})
	push := func(pt uint8, seq uint16, payload []byte) Verdict {
		p, err := rtp.Parse(packet(rtp.Header{PT: pt, Seq: seq, TS: uint32(seq) * 160, SSRC: 1}, payload))
		if err != nil {
			t.Fatal(err)
		}
		return d.Push(int64(seq)*20*ms, p)
	}
	audio := make([]byte, 160)
	for i, tc := range []struct {
		pt      uint8
		seq     uint16
		payload []byte
		want    Verdict
	}{
		{8, 1, audio, Accepted}, {8, 1, audio, Duplicate}, {0, 2, audio, Unexpected}, {8, 2, nil, Malformed}, {13, 3, []byte{60}, Accepted},
		{101, 4, []byte{1, 0, 0, 160}, Accepted}, {101, 5, []byte{1, 0}, Malformed}, {8, 40000, audio, Jump}, {8, 6, make([]byte, 1400), Malformed},
	} {
		if got := push(tc.pt, tc.seq, tc.payload); got != tc.want {
			t.Errorf("step %d: %v, want %v", i, got, tc.want)
		}
	}
	d.Close()
	d.Close()
	if push(8, 7, audio) == Accepted || d.NextTick() != Idle {
		t.Error("a closed direction takes packets")
	}
	if n, f := d.Tick(1<<40, make([]byte, 1500)); n != 0 || f.Kind != None {
		t.Error("a closed direction speaks")
	}
}

func TestConfigRefused(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Src: pcma, Dst: codec.Codec{Name: "EVS", ClockRate: 16000}},
		{Src: pcma, Dst: pcmu, SrcDTMF: &codec.Codec{Name: "PCMA", ClockRate: 8000}},
		{Src: pcma, Dst: pcmu, DstDTMF: event(opus, 110)},
	} {
		if d, err := New(cfg); !errors.Is(err, ErrConfig) || d != nil {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := New(Config{Src: pcma, Dst: pcmu, Ptime: 15 * time.Millisecond}); !errors.Is(err, transcode.ErrFrame) {
		t.Errorf("ptime 15 ms: %v", err)
	}
}

func TestSetLossFollowsReports(t *testing.T) {
	d := direction(t, Config{Src: pcmu, Dst: pcma})
	d.SetLoss(12)
	if d.loss != 12 {
		t.Errorf("rises to %d at once, want 12", d.loss)
	}
	d.SetLoss(0)
	if d.loss == 0 || d.loss > 11 {
		t.Errorf("falls to %d after one good report", d.loss)
	}
	for range 20 {
		d.SetLoss(0)
	}
	if d.loss != 0 {
		t.Errorf("stays at %d", d.loss)
	}
	d.SetLoss(1000)
	if d.loss != maxLoss {
		t.Errorf("a report of 1000 %% sets %d", d.loss)
	}
}

func TestNoAllocations(t *testing.T) {
	for _, c := range [][2]codec.Codec{{pcma, opus}, {opus, pcma}, {g722, pcmu}, {pcmu, pcma}, {opus, wide}, {narrow, pcma}, {wideOctets, narrow}} {
		if !transcode.Supported(c[0]) || !transcode.Supported(c[1]) {
			continue
		}
		in := source(t, c[0], rateOf(c[0], c[1]), speech(rateOf(c[0], c[1]), 16000), 10)
		d := direction(t, Config{Src: c[0], Dst: c[1], SrcDTMF: event(c[0], 101), DstDTMF: event(c[1], 102)})
		out := make([]byte, transcode.MaxPayload)
		i, frames := 0, 0
		key := packet(rtp.Header{PT: 101, SSRC: 77}, []byte{5, 10, 0, 160})
		if n := testing.AllocsPerRun(300, func() {
			i++
			now := int64(i) * 20 * ms
			d.SetLoss(i % 15)
			if i%20 != 7 {
				p, err := rtp.Parse(in[i%len(in)].pkt)
				if err != nil {
					t.Fatal(err)
				}
				p.SetSeq(uint16(i))
				p.SetTS(uint32(i) * c[0].ClockRate / 50)
				d.Push(now, p)
			}
			if i%50 == 9 {
				k, err := rtp.Parse(key)
				if err != nil {
					t.Fatal(err)
				}
				k.SetTS(uint32(i))
				d.Push(now, k)
			}
			for d.NextTick() <= now {
				if _, f := d.Tick(now, out); f.Kind != None {
					frames++
				}
			}
			d.TakeDTMF()
			d.Stats()
		}); n != 0 {
			t.Errorf("%s to %s: %v allocations per frame", c[0].Name, c[1].Name, n)
		}
		if frames < 250 {
			t.Errorf("%s to %s: only %d frames", c[0].Name, c[1].Name, frames)
		}
	}
}

// On a network that only loses packets the redundancy is there for nearly every single loss from the beginning, at any phase of the frame
// clock and with a little jitter, and the audio is cut or stretched hardly ever for it.
func TestOpusFECFromTheFirstLoss(t *testing.T) {
	transcodetest.Need(t, opus)
	in := source(t, opus, 16000, voice(16000, 10*16000), 10)
	for phase := range int64(5) {
		late := mangle(in, uint64(phase), 0.02, 9*ms)
		single := 0
		for i := range late {
			late[i].at += phase * 4 * ms
			if i > 0 && rtp.Packet(late[i].pkt).Seq()-rtp.Packet(late[i-1].pkt).Seq() == 2 {
				single++
			}
		}
		d := direction(t, Config{Src: opus, Dst: pcma})
		listen(t, d, late, 8000, 2*ms, 11*int64(time.Second)+200*ms)
		if s := d.Stats(); int(s.Recovered) < single || s.Shortened+s.Stretched > 4 || s.Jitter.Late > 0 {
			t.Errorf("phase %d ms: %d of %d recovered: %+v", phase*4, s.Recovered, single, s)
		}
	}
}
