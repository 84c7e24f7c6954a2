package audio

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

const ms = int64(time.Millisecond)

var (
	opus = codec.Codec{Name: "opus", PT: 111, ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}
	pcma = codec.Codec{Name: "PCMA", PT: 8, ClockRate: 8000, Channels: 1}
	pcmu = codec.Codec{Name: "PCMU", PT: 0, ClockRate: 8000, Channels: 1}
	g722 = codec.Codec{Name: "G722", PT: 9, ClockRate: 8000, Channels: 1}
	// AMR in both packings (RFC 4867 §4.3, §4.4).
	narrow       = codec.Codec{Name: "AMR", PT: 97, ClockRate: 8000, Channels: 1}
	narrowOctets = codec.Codec{Name: "AMR", PT: 98, ClockRate: 8000, Channels: 1, Fmtp: "octet-align=1"}
	wide         = codec.Codec{Name: "AMR-WB", PT: 104, ClockRate: 16000, Channels: 1}
	wideOctets   = codec.Codec{Name: "AMR-WB", PT: 105, ClockRate: 16000, Channels: 1, Fmtp: "octet-align=1"}
)

// event is the telephone-event beside c.
func event(c codec.Codec, pt uint8) *codec.Codec {
	return &codec.Codec{Name: codec.TelephoneEvent, PT: pt, ClockRate: c.ClockRate}
}

// sent is a packet on its way, arriving at at.
type sent struct {
	at  int64
	pkt []byte
}

// packet makes the bytes of an RTP packet.
func packet(h rtp.Header, payload []byte) []byte {
	b := make([]byte, rtp.HeaderLen, rtp.HeaderLen+len(payload))
	rtp.PutHeader(b, h)
	return append(b, payload...)
}

// source encodes pcm (at the codec's first rate, or 8 kHz for Opus with rate 8000) in 20 ms packets that leave every 20 ms from 1 s on.
func source(t testing.TB, c codec.Codec, rate int, pcm []int16, loss int) []sent {
	t.Helper()
	enc, err := transcode.NewEncoder(c, transcode.EncoderConfig{Rate: rate, Loss: loss})
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	var out []sent
	code := make([]byte, transcode.MaxPayload)
	n := rate / 50
	for i := 0; (i+1)*n <= len(pcm); i++ {
		k, err := enc.Encode(pcm[i*n:(i+1)*n], code)
		if err != nil {
			t.Fatal(err)
		}
		h := rtp.Header{PT: c.PT, Seq: uint16(65000 + i), TS: uint32(i) * c.ClockRate / 50, SSRC: 77, Marker: i == 0}
		out = append(out, sent{int64(time.Second) + int64(i)*20*ms, packet(h, code[:k])})
	}
	return out
}

// mangle loses and delays packets at random and returns the rest in order of arrival.
func mangle(in []sent, seed uint64, loss float64, jitter int64) []sent {
	r := rand.New(rand.NewPCG(seed, 3))
	var out []sent
	for _, s := range in {
		if r.Float64() < loss {
			continue
		}
		if jitter > 0 {
			s.at += r.Int64N(jitter)
		}
		out = append(out, s)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].at < out[j].at })
	return out
}

// heard is what the peer of a direction gets.
type heard struct {
	pcm    []int16 // decoded without loss
	frames []Frame
	sizes  []int
	last   []byte
	times  []int64
}

// listen runs packets through d with a worker that looks once per step and decodes the output at rate.
func listen(t testing.TB, d *Direction, in []sent, rate int, step, until int64) heard {
	t.Helper()
	dec, err := transcode.NewDecoder(d.cfg.Dst, rate)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var h heard
	out, pcm := make([]byte, transcode.MaxPayload), make([]int16, rate*transcode.Longest(d.cfg.Dst)/1000)
	next := 0
	for now := int64(0); now < until; now += step {
		for next < len(in) && in[next].at <= now {
			p, err := rtp.Parse(in[next].pkt)
			if err != nil {
				t.Fatal(err)
			}
			d.Push(in[next].at, p)
			next++
		}
		for d.NextTick() <= now {
			n, f := d.Tick(now, out)
			if f.Kind == None {
				continue
			}
			h.frames = append(h.frames, f)
			h.sizes = append(h.sizes, n)
			h.times = append(h.times, now)
			h.last = append(h.last[:0], out[:n]...)
			if f.Kind == Audio {
				k, err := dec.Decode(out[:n], pcm)
				if err != nil {
					t.Fatalf("frame %d: %v", len(h.frames), err)
				}
				h.pcm = append(h.pcm, pcm[:k]...)
			}
		}
	}
	return h
}

// direction makes one that is closed with the test.
func direction(t testing.TB, cfg Config) *Direction {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func tone(freq, peak float64, rate, n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(peak * math.Sin(2*math.Pi*freq*float64(i)/float64(rate))))
	}
	return pcm
}

// level is the amplitude of pcm at freq Hz.
func level(pcm []int16, freq float64, rate int) float64 {
	var s, c float64
	for i, v := range pcm {
		a := 2 * math.Pi * freq * float64(i) / float64(rate)
		s += float64(v) * math.Sin(a)
		c += float64(v) * math.Cos(a)
	}
	return 2 * math.Hypot(s, c) / float64(max(len(pcm), 1))
}

func rms(pcm []int16) float64 {
	var e float64
	for _, v := range pcm {
		e += float64(v) * float64(v)
	}
	return math.Sqrt(e / float64(max(len(pcm), 1)))
}

func dB(a, b float64) float64 { return 20 * math.Log10(a/b) }

// peak is the frequency between 200 and 3700 Hz with most energy, Hz, to 2 Hz: a coarse search, then a fine one around its best.
func peak(pcm []int16, rate int) float64 {
	pcm = pcm[:rate/8] // 8 Hz of resolution for the coarse search
	best, at := 0.0, 0.0
	for f := 200.0; f < 3700; f += 6 {
		if l := level(pcm, f, rate); l > best {
			best, at = l, f
		}
	}
	best = 0
	for f, to := at-6, at+6; f <= to; f++ {
		if l := level(pcm, f, rate); l > best {
			best, at = l, f
		}
	}
	return at
}

// speech imitates voiced speech: harmonics of a wandering pitch under a syllable envelope.
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
		pcm[i] = int16(4000 * v * (0.25 + 0.75*math.Max(0, math.Sin(2*math.Pi*2.5*t))))
	}
	return pcm
}

// voice is a steady vowel: harmonics of 140 Hz.
func voice(rate, n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		v := 0.0
		for h := 1; h <= 14; h++ {
			v += math.Sin(2*math.Pi*140*float64(h*i)/float64(rate)+float64(h*h)) / math.Sqrt(float64(h))
		}
		pcm[i] = int16(2500 * v)
	}
	return pcm
}
