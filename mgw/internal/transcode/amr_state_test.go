//go:build cgo && !noamr

package transcode

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func TestAMRResetForgets(t *testing.T) {
	for _, c := range []codec.Codec{narrow, wide} {
		rate := Rates(c)[0]
		enc, dec := pair(t, c, EncoderConfig{Rate: rate})
		payloads := code(t, enc, speech(rate, rate/2), rate/50)
		decode := func() (out []int16) {
			pcm := make([]int16, rate/50)
			for _, b := range payloads {
				if _, err := dec.Decode(b, pcm); err != nil {
					t.Fatal(err)
				}
				out = append(out, pcm...)
			}
			return out
		}
		first := decode()
		dec.Reset()
		dec.Reset()
		pcm := make([]int16, rate/50)
		dec.Conceal(pcm)
		if rms(pcm) != 0 {
			t.Errorf("%s: after a reset the past is continued at %.0f", c.Name, rms(pcm))
		}
		if distance16(first, decode()) != 0 {
			t.Errorf("%s: after a reset the same stream sounds different", c.Name)
		}
	}
}

func TestClosedAMRIsInert(t *testing.T) {
	for _, c := range []codec.Codec{narrow, wide} {
		rate := Rates(c)[0]
		enc, dec := pair(t, c, EncoderConfig{Rate: rate})
		b := code(t, enc, speech(rate, rate/50), rate/50)[0]
		if _, err := dec.Decode(b, make([]int16, rate/50)); err != nil {
			t.Fatal(err)
		}
		enc.Close()
		dec.Close()
		dec.Reset()
		enc.SetLoss(4)
		if _, err := enc.Encode(make([]int16, rate/50), make([]byte, 100)); err == nil {
			t.Error("a closed encoder encodes")
		}
		if _, err := dec.Decode(b, make([]int16, rate/50)); err == nil {
			t.Error("a closed decoder decodes")
		}
		pcm := tone(400, 1000, rate, 0, rate/50)
		dec.Conceal(pcm)
		if rms(pcm) != 0 {
			t.Error("a closed decoder conceals with something")
		}
	}
}

func TestAMRParametersRefused(t *testing.T) {
	for _, c := range []codec.Codec{with(narrow, "crc=1"), with(wide, "interleaving=4"), with(narrow, "mode-set=8"), {Name: "AMR", ClockRate: 8000, Channels: 2}} {
		if Supported(c) || Rates(c) != nil {
			t.Errorf("%s %q is supported", c.Name, c.Fmtp)
		}
		if _, err := NewDecoder(c, 8000); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s %q: %v", c.Name, c.Fmtp, err)
		}
	}
	if _, err := NewEncoder(with(narrow, "crc=1"), EncoderConfig{Rate: 8000}); !errors.Is(err, amr.ErrOption) || !strings.Contains(err.Error(), "crc") {
		t.Errorf("the reason is not told: %v", err)
	}
}

// The libraries must not share anything between instances: many at once, each on a thread of its own, yield what one alone does.
func TestAMRInstancesAreIndependent(t *testing.T) {
	type run struct {
		c    codec.Codec
		mode uint8
		dtx  bool
	}
	work := func(r run) ([]byte, error) {
		c := with(r.c, fmt.Sprintf("mode-set=%d", r.mode))
		rate := Rates(c)[0]
		enc, err := NewEncoder(c, EncoderConfig{Rate: rate, DTX: r.dtx})
		if err != nil {
			return nil, err
		}
		defer enc.Close()
		dec, err := NewDecoder(c, rate)
		if err != nil {
			return nil, err
		}
		defer dec.Close()
		in := speech(rate, rate/2)
		copy(in[rate/4:], noise(rate/4, 300+50*float64(r.mode)))
		var all []byte
		buf, pcm := make([]byte, MaxPayload), make([]int16, rate/50)
		for i := 0; i < len(in); i += rate / 50 {
			n, err := enc.Encode(in[i:i+rate/50], buf)
			if err != nil {
				return nil, err
			}
			all = append(all, buf[:n]...)
			if n == 0 || i%11 == 0 {
				dec.Conceal(pcm)
			} else if _, err = dec.Decode(buf[:n], pcm); err != nil {
				return nil, err
			}
			for _, v := range pcm {
				all = append(all, byte(v), byte(v>>8))
			}
		}
		return all, nil
	}
	var runs []run
	for mode := range uint8(8) {
		for _, dtx := range []bool{false, true} {
			runs = append(runs, run{narrow, mode, dtx}, run{wide, mode + 1, dtx})
		}
	}
	want := make([][]byte, len(runs))
	for i, r := range runs {
		var err error
		if want[i], err = work(r); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i, r := range runs {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for range 2 {
				if got, err := work(r); err != nil || !bytes.Equal(got, want[i]) {
					t.Errorf("%+v: other output beside others: %v", r, err)
				}
			}
		})
	}
	wg.Wait()
}

// What a codec takes outside Go's heap, in use.
func TestMemoryPerAMRCodec(t *testing.T) {
	const n = 1000
	for _, c := range []codec.Codec{narrow, wide} {
		rate := Rates(c)[0]
		in, buf, pcm := speech(rate, rate/50), make([]byte, MaxPayload), make([]int16, rate/50)
		var encs []Encoder
		var decs []Decoder
		start := resident(t)
		for range n {
			enc, err := NewEncoder(c, EncoderConfig{Rate: rate})
			if err != nil {
				t.Fatal(err)
			}
			defer enc.Close()
			if _, err := enc.Encode(in, buf); err != nil {
				t.Fatal(err)
			}
			encs = append(encs, enc)
		}
		mid := resident(t)
		k, err := encs[0].Encode(in, buf)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			dec, err := NewDecoder(c, rate)
			if err != nil {
				t.Fatal(err)
			}
			defer dec.Close()
			if _, err := dec.Decode(buf[:k], pcm); err != nil {
				t.Fatal(err)
			}
			decs = append(decs, dec)
		}
		end := resident(t)
		e, d := (mid-start)/n, (end-mid)/n
		t.Logf("%s: encoder %d KiB, decoder %d KiB", c.Name, e, d)
		if e > 64 || d > 40 {
			t.Errorf("%s: encoder %d KiB, decoder %d KiB", c.Name, e, d)
		}
		runtime.KeepAlive(decs)
	}
}

// resident is the memory of the process in RAM, KiB; on systems without /proc always 0.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return n * os.Getpagesize() / 1024
}

func FuzzAMRDecode(f *testing.F) {
	codecs := []codec.Codec{narrow, with(narrow, "octet-align=1"), wide, with(wide, "octet-align=1")}
	var decs []Decoder
	for i, c := range codecs {
		rate := Rates(c)[0]
		enc, dec := pair(f, c, EncoderConfig{Rate: rate, DTX: true})
		decs = append(decs, dec)
		for _, b := range code(f, enc, append(speech(rate, rate/5), make([]int16, rate/2)...), 3*rate/50) {
			if b != nil {
				f.Add(uint8(i), b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, sel uint8, in []byte) {
		i := int(sel) % len(codecs)
		dec, rate := decs[i].(FrameDecoder), Rates(codecs[i])[0]
		pcm := make([]int16, rate*Longest(codecs[i])/1000)
		n, err := dec.Decode(in, pcm)
		if (err == nil) != (dec.Ticks(in) != 0) || err == nil && uint32(n) != dec.Ticks(in) {
			t.Fatalf("%d samples, %d ticks announced: %v", n, dec.Ticks(in), err)
		}
		dec.Recover(in, pcm[:rate/50+7])
	})
}
