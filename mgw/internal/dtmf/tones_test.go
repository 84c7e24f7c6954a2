package dtmf

import (
	"math"
	"testing"
)

// power of a frequency in pcm, mean square of its component.
func power(pcm []int16, hz, rate float64) float64 {
	var re, im float64
	for i, s := range pcm {
		a := 2 * math.Pi * hz * float64(i) / rate
		re += float64(s) * math.Cos(a)
		im += float64(s) * math.Sin(a)
	}
	n := float64(len(pcm))
	return 2 * (re*re + im*im) / (n * n)
}

// spans are the loud parts of pcm, ms: begin and end.
func spans(pcm []int16, rate int) (out [][2]int) {
	quiet := true
	for at := 0; at+rate/200 <= len(pcm); at += rate / 200 { // 5 ms
		loud := false
		for _, s := range pcm[at : at+rate/200] {
			loud = loud || s > 1000 || s < -1000
		}
		switch ms := at * 1000 / rate; {
		case loud && quiet:
			out = append(out, [2]int{ms, ms})
			fallthrough
		case loud:
			out[len(out)-1][1] = ms + 5
		}
		quiet = !loud
	}
	return out
}

func play(t *Tones, frames, step int) (pcm []int16) {
	frame := make([]int16, step)
	for range frames {
		if !t.Active() {
			pcm = append(pcm, make([]int16, step)...)
			continue
		}
		t.Fill(frame)
		pcm = append(pcm, frame...)
	}
	return pcm
}

// TestQ23_EveryKey: two tones of the right frequencies and levels, nothing else, at both rates and from each event clock.
func TestQ23_EveryKey(t *testing.T) {
	for _, rate := range []uint32{8000, 16000} {
		for _, clock := range []uint32{8000, 16000, 48000} {
			for code := range uint8(16) {
				x := NewTones(clock, rate)
				x.Update(Press{ID: 1, Code: code, Ticks: uint64(clock / 5), Ended: true})
				pcm := play(x, 20, int(rate/50))
				got := spans(pcm, int(rate))
				if len(got) != 1 || got[0][0] > 5 || got[0][1] < 190 || got[0][1] > 205 {
					t.Fatalf("%d Hz, clock %d, key %c: loud %v, want 0 to 200 ms", rate, clock, Digit(code), got)
				}
				middle := pcm[rate/50 : rate*9/50] // 160 ms
				row, column := int(places[code]>>2), int(places[code]&3)
				if "123A456B789C*0#D"[row*4+column] != Digit(code) {
					t.Fatalf("key %c is in row %d, column %d", Digit(code), row, column)
				}
				for i, f := range rows {
					if p := math.Sqrt(2 * power(middle, f, float64(rate))); math.Abs(p-lowTone) > 300 == (i == row) {
						t.Errorf("key %c: %.0f of %.0f Hz", Digit(code), p, f)
					}
				}
				for i, f := range columns {
					if p := math.Sqrt(2 * power(middle, f, float64(rate))); math.Abs(p-highTone) > 300 == (i == column) {
						t.Errorf("key %c: %.0f of %.0f Hz", Digit(code), p, f)
					}
				}
			}
		}
	}
}

// TestTonesAreToldApart: short presses are long enough to be heard, quick ones have a pause between them, a long one ends with its key.
func TestTonesAreToldApart(t *testing.T) {
	x := NewTones(8000, 8000)
	for id := range uint32(3) {
		x.Update(Press{ID: id + 1, Code: 5, Ticks: 160, Ended: true}) // 20 ms
	}
	got := spans(play(x, 30, 160), 8000)
	if len(got) != 3 {
		t.Fatalf("loud %v, want three times", got)
	}
	for i, s := range got {
		if s[1]-s[0] < leastTone-10 || s[1]-s[0] > leastTone+5 || i > 0 && s[0]-got[i-1][1] < pauseTone-5 {
			t.Errorf("loud %v", got)
		}
	}
	if x.Active() {
		t.Error("still active")
	}
	// A key that is held: its length is not known before it is let go.
	var pcm []int16
	for k := range uint64(25) {
		x.Update(Press{ID: 9, Code: 1, Ticks: 160 * (k + 1), Ended: k == 24})
		pcm = append(pcm, play(x, 1, 160)...)
	}
	pcm = append(pcm, play(x, 10, 160)...)
	if got := spans(pcm, 8000); len(got) != 1 || got[0][1] < 495 || got[0][1] > 515 {
		t.Errorf("held for 500 ms: loud %v", got)
	}
	x.Update(Press{ID: 10, Code: 16, Ticks: 800, Ended: true}) // flash
	if got := spans(play(x, 10, 160), 8000); len(got) != 0 || x.Active() {
		t.Errorf("flash: loud %v", got)
	}
}
