package g722

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
)

// input is the signal of the recorded transcript: a sweep, silence, noise and a quiet tone, 16 kHz.
func input() []int16 {
	pcm := make([]int16, 0, 16000)
	rng := uint32(1)
	phase, step := int32(0), int32(40)
	for i := range 16000 {
		rng = rng*1664525 + 1013904223
		var v int32
		switch {
		case i < 6000: // triangle of rising pitch
			phase += step + int32(i/8)
			if phase > 20000 || phase < -20000 {
				step = -step
				phase = max(-20000, min(20000, phase))
			}
			if step < 0 {
				phase -= 2 * int32(i/8)
			}
			v = phase
		case i < 7000:
			v = 0
		case i < 12000:
			v = int32(int16(rng>>16)) / 8
		default:
			v = int32(i%32-16) * 20
		}
		pcm = append(pcm, int16(v))
	}
	return pcm
}

// The files hold what another implementation (libspandsp 0.0.6) made of input: its 64 kbit/s stream, and its decoding of it.
func TestForeignTranscript(t *testing.T) {
	wantCode, err := os.ReadFile("testdata/spandsp.bin")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/spandsp.pcm")
	if err != nil {
		t.Fatal(err)
	}
	in := input()
	enc, dec := NewEncoder(), NewDecoder()
	code, pcm := make([]byte, 160), make([]int16, 320)
	for f := 0; f < len(in); f += 320 {
		enc.Encode(in[f:f+320], code)
		if want := wantCode[f/2 : f/2+160]; !bytes.Equal(code, want) {
			t.Fatalf("frame %d: stream differs\n%x\n%x", f/320, code, want)
		}
		dec.Decode(code, pcm)
		for i, v := range pcm {
			if want := int16(binary.LittleEndian.Uint16(raw[2*(f+i):])); v != want {
				t.Fatalf("sample %d: decoded %d, want %d", f+i, v, want)
			}
		}
	}
}

// After Reset the transcript decodes again to the same samples: nothing of the first run is left.
func TestResetStartsAnew(t *testing.T) {
	code, err := os.ReadFile("testdata/spandsp.bin")
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder()
	first, again := make([]int16, 320), make([]int16, 320)
	d.Decode(code[:160], first)
	d.Decode(code[160:320], again)
	d.Reset()
	d.Decode(code[:160], again)
	for i := range first {
		if first[i] != again[i] {
			t.Fatalf("sample %d: %d, before %d", i, again[i], first[i])
		}
	}
}
