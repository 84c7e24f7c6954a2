package signals

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// play fills in frames of 20 ms until the source ends, at most so many frames.
func play(s *Source, rate, frames int) (pcm []int16) {
	frame := make([]int16, rate/50)
	for range frames {
		n := s.Fill(frame, rate)
		pcm = append(pcm, frame[:n]...)
		if n < len(frame) {
			break
		}
	}
	return pcm
}

// amplitude of a frequency in pcm.
func amplitude(pcm []int16, hz float64, rate int) float64 {
	var re, im float64
	for i, s := range pcm {
		a := 2 * math.Pi * hz * float64(i) / float64(rate)
		re += float64(s) * math.Cos(a)
		im += float64(s) * math.Sin(a)
	}
	return 2 * math.Hypot(re, im) / float64(len(pcm))
}

// rhythm tells the loud and the quiet parts of pcm, ms, as "on 500, off 500, ...".
func rhythm(pcm []int16, rate int) string {
	var parts []string
	state, from := false, 0
	tell := func(to int) {
		if to > from {
			parts = append(parts, fmt.Sprintf("%s %d", map[bool]string{true: "on", false: "off"}[state], (to-from)*1000/rate/5*5))
		}
	}
	for at := 0; at+rate/200 <= len(pcm); at += rate / 200 { // 5 ms
		top := 0
		for _, v := range pcm[at : at+rate/200] {
			top = max(top, int(v), -int(v))
		}
		if loud := top > 1500; loud != state {
			tell(at)
			state, from = loud, at
		}
	}
	tell(len(pcm) / (rate / 200) * (rate / 200))
	return strings.Join(parts, ", ")
}

// TestE180_Plans: each tone has its cadence, its frequencies and its level, at both rates, and nothing else.
func TestE180_Plans(t *testing.T) {
	want := map[string]string{ // first 6 s
		"eu cg/dt": "on 6000 | 425", "eu cg/rt": "on 1000, off 4000, on 1000 | 425", "eu cg/ct": "on 250, off 250, on 250, off 250 | 425",
		"eu cg/bt": "on 500, off 500, on 500, off 500 | 425", "eu cg/sit": "on 990, off 1000, on 990 | 950", "eu srvtn/conf": "on 1000 | 425",
		"eu cg/cw": "on 150, off 150, on 150, off 5000 | 425",
		"us cg/dt": "on 6000 | 350 440", "us cg/rt": "on 2000, off 4000 | 440 480", "us cg/bt": "on 500, off 500 | 480 620",
		"us cg/ct": "on 250, off 250 | 480 620", "us cg/sit": "on 990, off 1000 | 950", "us cg/cw": "on 300, off 5700 | 440",
		"us srvtn/conf": "on 100, off 100, on 100, off 100, on 100 | 350 440",
		"uk cg/dt":      "on 6000 | 350 450", "uk cg/rt": "on 400, off 200, on 400, off 2000, on 400 | 400 450",
		"uk cg/bt": "on 375, off 375 | 400", "uk cg/ct": "on 400, off 350, on 225, off 525, on 400 | 400", "uk cg/sit": "on 990, off 1000 | 950",
		"uk cg/cw": "on 100, off 2000, on 100 | 400", "uk srvtn/conf": "on 100, off 100, on 100, off 100, on 100 | 350 450",
	}
	seen := 0
	for _, country := range Plans {
		plan, ok := PlanOf(country)
		if !ok {
			t.Fatalf("no plan %q", country)
		}
		for name, tone := range plan {
			seen++
			text, freqs, _ := strings.Cut(want[country+" "+name], " | ")
			var hz []float64
			for _, f := range strings.Fields(freqs) {
				var x float64
				fmt.Sscan(f, &x)
				hz = append(hz, x)
			}
			for _, rate := range []int{8000, 16000} {
				pcm := play(NewTone(tone, tone.Brief, 0), rate, 300)
				// The SIT's parts touch: its edges are 10 ms in all, which is not quiet for 5 ms.
				if got := rhythm(pcm, rate); text == "" || !near(got, text) {
					t.Errorf("%s %s at %d: %q, want %q", country, name, rate, got, text)
				}
				level := 7219.0
				if len(hz) == 2 {
					level = 5110
				}
				middle := pcm[rate/50 : rate/50+rate*7/100] // 70 ms from 20 ms on
				rest := rms(middle)
				for _, f := range hz {
					a := amplitude(middle, f, rate)
					if len(hz) == 1 && math.Abs(a-level) > 0.05*level || len(hz) == 2 && math.Abs(a-level) > 0.35*level {
						t.Errorf("%s %s at %d: %.0f of %.0f Hz, want %.0f", country, name, rate, a, f, level)
					}
				}
				if want := level * math.Sqrt(float64(len(hz))/2); math.Abs(rest-want) > 0.25*want {
					t.Errorf("%s %s at %d: %.0f RMS, want %.0f", country, name, rate, rest, want)
				}
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d tones, %d expected", seen, len(want))
	}
}

// near compares rhythms: each part within 10 ms, as many parts as want has.
func near(got, want string) bool {
	g, w := strings.Split(got, ", "), strings.Split(want, ", ")
	if len(g) < len(w) {
		return false
	}
	for i := range w {
		var kindG, kindW string
		var msG, msW int
		fmt.Sscan(g[i], &kindG, &msG)
		fmt.Sscan(w[i], &kindW, &msW)
		if kindG != kindW || msG < msW-10 || msG > msW+10 {
			return false
		}
	}
	return true
}

func rms(pcm []int16) float64 {
	sum := 0.0
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(pcm)))
}

// click is the largest second difference of pcm: a sine of the highest frequency has a bounded one, an edge exceeds it.
func click(pcm []int16) (top int) {
	for i := 2; i < len(pcm); i++ {
		d := int(pcm[i]) - 2*int(pcm[i-1]) + int(pcm[i-2])
		top = max(top, d, -d)
	}
	return top
}

// TestNoClicks: wherever a tone or a file begins, pauses, is stopped or is cut by its limit, the wave goes on smoothly.
func TestNoClicks(t *testing.T) {
	plan, _ := PlanOf("eu")
	loud := make([]int16, 8000) // a cosine: it begins and ends at its top
	for i := range loud {
		loud[i] = int16(7219 * math.Cos(2*math.Pi*425*float64(i)/8000))
	}
	clip := Make(loud, 8000)
	for name, make := range map[string]func(limit time.Duration) *Source{
		"tone": func(l time.Duration) *Source { return NewTone(plan[Busy], 0, l) },
		"dial": func(l time.Duration) *Source { return NewTone(plan[Dial], 0, l) },
		"clip": func(l time.Duration) *Source { return NewClip(clip, 0, l) },
	} {
		for stop := 101; stop < 140; stop += 3 { // ms
			whole := append(play(make(time.Duration(stop)*time.Millisecond), 8000, 200), 0, 0)
			s := make(0)
			cut := play(s, 8000, stop/20)
			s.Stop()
			cut = append(append(cut, play(s, 8000, 10)...), 0, 0)
			if !s.Over() || len(cut) > stop/20*160+42 {
				t.Fatalf("%s: %d samples after Stop", name, len(cut)-stop/20*160)
			}
			// A sine of 425 Hz and 7219 has at most 7219*(2π·425/8000)² = 804; the edges add a little.
			for what, pcm := range map[string][]int16{"limit": whole, "stop": cut} {
				if c := click(append([]int16{0, 0}, pcm...)); c > 1000 {
					t.Errorf("%s, %s after %d ms: second difference %d", name, what, stop, c)
				}
			}
			if want := stop * 8; len(whole)-2 != want {
				t.Errorf("%s: %d samples within %d ms", name, len(whole)-2, stop)
			}
		}
	}
}

// TestRateChange: a tone and a file go on where they were when the codec changes.
func TestRateChange(t *testing.T) {
	plan, _ := PlanOf("eu")
	ramp := make([]int16, 16000)
	for i := range ramp {
		ramp[i] = int16(i)
	}
	tone, clip := NewTone(plan[Busy], 1, 0), NewClip(Make(ramp, 16000), 1, 0)
	frame := make([]int16, 960)
	ms := map[string]float64{}
	for i := 0; i < 100; i++ {
		rate := []int{8000, 16000, 48000}[i%3]
		ms["tone"] += float64(tone.Fill(frame[:rate/50], rate)) / float64(rate)
		n := clip.Fill(frame[:rate/50], rate)
		ms["clip"] += float64(n) / float64(rate)
		if n > 0 && i > 0 && i < 49 && math.Abs(float64(frame[0])-float64(i*320)) > 200 {
			t.Fatalf("frame %d begins with %d", i, frame[0])
		}
	}
	if math.Abs(ms["tone"]-1) > 1e-9 || math.Abs(ms["clip"]-1) > 1e-9 {
		t.Errorf("seconds played: %v", ms)
	}
}

// TestRounds: as often as asked, or without end.
func TestRounds(t *testing.T) {
	clip := Make(make([]int16, 800), 8000)
	for rounds, want := range map[int]int{1: 800, 3: 2400, 0: 160 * 40} {
		if n := len(play(NewClip(clip, rounds, 0), 8000, 40)); n != want {
			t.Errorf("%d rounds: %d samples, want %d", rounds, n, want)
		}
	}
}

// TestResample: what both rates can carry stays, what the lower one cannot goes.
func TestResample(t *testing.T) {
	for _, from := range []int{8000, 16000, 48000} {
		for _, hz := range []float64{300, 1000, 3000, 6000, 11000} {
			if hz > 0.45*float64(from) {
				continue
			}
			in := make([]int16, from)
			for i := range in {
				in[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/float64(from)))
			}
			c := Make(in, from)
			for rate, pcm := range map[int][]int16{8000: c.narrow, 16000: c.wide} {
				if len(pcm) != rate {
					t.Fatalf("%d to %d: %d samples", from, rate, len(pcm))
				}
				middle := pcm[rate/10 : rate*9/10]
				if a := amplitude(middle, hz, rate); hz < 0.45*float64(rate) {
					if math.Abs(a-8000) > 200 || math.Abs(rms(middle)-8000/math.Sqrt2) > 150 {
						t.Errorf("%.0f Hz from %d to %d: %.0f, %.0f RMS", hz, from, rate, a, rms(middle))
					}
				} else if rms(middle) > 40 {
					t.Errorf("%.0f Hz from %d to %d: %.0f RMS is left", hz, from, rate, rms(middle))
				}
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	plan, _ := PlanOf("us")
	s, c := NewTone(plan[Ringing], 0, 0), NewClip(Make(make([]int16, 100), 8000), 0, 0)
	frame := make([]int16, 320)
	if n := testing.AllocsPerRun(100, func() { s.Fill(frame, 16000); c.Fill(frame, 8000) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
