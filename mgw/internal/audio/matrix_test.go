package audio

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// packets encodes pcm in packets of a duration, which leave when they are full, from 1 s on.
func packets(t testing.TB, c codec.Codec, rate int, ptime time.Duration, pcm []int16) []sent {
	t.Helper()
	enc, err := transcode.NewEncoder(c, transcode.EncoderConfig{Rate: rate, Ptime: ptime})
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	var out []sent
	code := make([]byte, transcode.MaxPayload)
	n := int(rtp.Ticks(int64(ptime), uint32(rate)))
	for i := 0; (i+1)*n <= len(pcm); i++ {
		k, err := enc.Encode(pcm[i*n:(i+1)*n], code)
		if err != nil {
			t.Fatal(err)
		}
		h := rtp.Header{PT: c.PT, Seq: uint16(65000 + i), TS: uint32(i) * uint32(rtp.Ticks(int64(ptime), c.ClockRate)), SSRC: 77, Marker: i == 0}
		out = append(out, sent{int64(time.Second) + int64(i+1)*int64(ptime), packet(h, code[:k])})
	}
	return out
}

// Every codec to every other in both packings, and packets of every length to packets of every other: a tone keeps its frequency and its level
// within 0.5 dB, no packet is longer than what was asked for, and the output's numbers have no gap. Each ordered pair is crossed with several pairs of
// lengths; over all pairs each length asked for meets each.
func TestIQ18_COD07_MatrixOfCodecsAndPacketLengths(t *testing.T) {
	race.Slow(t)
	all := []codec.Codec{opus, pcmu, pcma, g722, narrow, narrowOctets, wide, wideOctets}
	asked := []time.Duration{10, 20, 30, 40, 60, 80, 120, 160, 240}
	next := 0
	for _, src := range all {
		for _, dst := range all {
			if !transcode.Supported(src) || !transcode.Supported(dst) {
				continue
			}
			for range 2 {
				in, out := asked[next%len(asked)], asked[(next/len(asked)+next)%len(asked)]
				next++
				in, out = transcode.Ptime(src, in*time.Millisecond), transcode.Ptime(dst, out*time.Millisecond)
				t.Run(fmt.Sprintf("%s%d %v to %s%d %v", src.Name, src.PT, in, dst.Name, dst.PT, out), func(t *testing.T) {
					crossTone(t, src, dst, in, out)
				})
			}
		}
	}
}

func crossTone(t *testing.T, src, dst codec.Codec, in, out time.Duration) {
	t.Helper()
	const hz, seconds = 1000, 4
	from, to := rateOf(src, dst), rateOf(dst, src)
	// What the codec itself does to a tone's level is not the gateway's: the reference is the tone through encoder and decoder alone.
	ref := level(alone(t, dst, to, out, alone(t, src, from, in, tone(hz, 8000, from, 2*from)), from)[to/2:to/2*3], hz, to)
	d := direction(t, Config{Src: src, Dst: dst, Ptime: out})
	h := listen(t, d, packets(t, src, from, in, tone(hz, 8000, from, seconds*from)), to, 5*ms, (seconds+2)*int64(time.Second))
	if len(h.pcm) < 3*to {
		t.Fatalf("%d samples heard", len(h.pcm))
	}
	tail := h.pcm[2*to : 3*to]
	if l := dB(level(tail, hz, to), ref); math.Abs(l) > 0.5 {
		t.Errorf("level off by %.2f dB", l)
	}
	if f := peak(tail, to); math.Abs(f-hz) > 3 {
		t.Errorf("heard %.0f Hz", f)
	}
	step := uint32(rtp.Ticks(int64(out), dst.ClockRate))
	for i, f := range h.frames {
		if f.PT != dst.PT || f.Kind != Audio || i > 0 && (f.Seq != h.frames[i-1].Seq+1 || f.TS-h.frames[i-1].TS != step) {
			t.Fatalf("frame %d: %+v", i, f)
		}
	}
	if s := d.Stats(); s.Malformed != 0 || s.Jitter.Refused != 0 || s.Decoded != s.Jitter.Pushed || int(s.Decoded) != seconds*1000/int(in/time.Millisecond) {
		t.Errorf("%+v", s)
	}
}

// alone is pcm of one rate through a codec without gateway, network and loss, at rate.
func alone(t testing.TB, c codec.Codec, rate int, ptime time.Duration, pcm []int16, was ...int) []int16 {
	t.Helper()
	if len(was) > 0 && was[0] != rate {
		r, err := transcode.NewResampler(was[0], rate)
		if err != nil {
			t.Fatal(err)
		}
		var conv []int16
		buf := make([]int16, 2*len(pcm))
		for n := was[0] / 50; len(pcm) >= n; pcm = pcm[n:] {
			conv = append(conv, buf[:r.Process(pcm[:n], buf)]...)
		}
		pcm = conv
	}
	dec, err := transcode.NewDecoder(c, rate)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var out []int16
	buf := make([]int16, rate*transcode.Longest(c)/1000)
	for _, s := range packets(t, c, rate, ptime, pcm) {
		n, err := dec.Decode(rtp.Packet(s.pkt).Payload(), buf)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, buf[:n]...)
	}
	return out
}
